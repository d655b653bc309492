package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"coracle/fuse"
	"coracle/spec"

	"golang.org/x/sys/unix"
)

// makeVolumes makes the volumes of a new container that are missing, and fills
// those that are to have what the image has. The container is known as their
// user from before the first of them is looked at.
func (r *run) makeVolumes(ctx context.Context) (err error) {
	all := r.result.Mounted
	if err := r.e.noteMounts(r.id, all); err != nil {
		return err
	}
	stage := r.e.stage(ctx, r.ids.Base)
	defer func() { err = errors.Join(err, stage.Close()) }()
	for _, m := range all {
		if m.Type != "volume" {
			continue
		}
		if err := r.makeVolume(ctx, stage, m); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) makeVolume(ctx context.Context, stage *storeStage, m spec.Mounted) error {
	e := r.e
	lock, err := e.lockVolume(ctx, m.Name)
	if err != nil {
		return fmt.Errorf("use volume %s: %w", m.Name, err)
	}
	defer lock.Release()
	v, err := e.readVolume(m.Name)
	if isNotFound(err) {
		v, err = e.makeVolume(ctx, VolumeOptions{Name: m.Name, anonymous: m.Anonymous})
	}
	if err != nil {
		return err
	}
	req := fillRequest{Volume: "/volumes/" + m.Name, Sync: !v.Anonymous}
	r.plan(&req, v, m)
	_, err = os.Lstat(filepath.Join(e.volumeDir(m.Name), volumeCopy))
	interrupted := err == nil
	if req.Owner == nil && len(req.Lowers) == 0 && !interrupted {
		return nil
	}
	var res fillResult
	if interrupted || len(req.Lowers) > 0 || !e.giveOwn(m.Name, req.Owner) {
		if err := stage.Call(ctx, fillOp, req, &res); err != nil {
			return e.explainVolume("fill volume "+m.Name, err)
		}
	}
	if v.NeedsChown || res.Copied || interrupted {
		v.NeedsChown, v.NeedsCopyUp = false, v.NeedsCopyUp && !res.Copied && !interrupted
		return writeJSON(filepath.Join(e.volumeDir(m.Name), volumeRecord), v, !v.Anonymous)
	}
	return nil
}

// plan says what is to be done to a volume, as podman does: its first container
// gives it the owner and mode of the image's directory, or its user's; and as
// long as nothing was copied, the first image that has something there fills it.
func (r *run) plan(req *fillRequest, v Volume, m spec.Mounted) {
	copies := v.NeedsCopyUp && !m.NoCopy && r.root.imageID != ""
	if !copies && !v.NeedsChown {
		return
	}
	dirs, st, err := r.root.reader.Dirs(r.root.resolve(m.Destination))
	there := err == nil && !r.root.host
	if copies && there && !emptyDirs(dirs) && !hasEntries(v.Mountpoint) {
		req.Lowers = r.e.inStage(dirs)
		if !r.root.moved && !r.ids.Single {
			req.UIDs, err = fuse.Translate(r.ids.Base.UIDs, r.ids.Map.UIDs)
			if err == nil {
				req.GIDs, err = fuse.Translate(r.ids.Base.GIDs, r.ids.Map.GIDs)
			}
			if err != nil {
				req.Lowers = nil
			}
		}
	}
	if v.NeedsChown {
		req.Owner = r.owner(there, st)
	}
}

// owner is whose a volume is to be: in ids of the stage.
func (r *run) owner(there bool, st fuse.Stat) *dirMeta {
	if there {
		uid, ok1 := r.ids.Base.ContainerUID(st.UID)
		gid, ok2 := r.ids.Base.ContainerGID(st.GID)
		if !r.root.moved && ok1 && ok2 {
			uid, ok1 = r.ids.BaseUID(uid)
			gid, ok2 = r.ids.BaseGID(gid)
		}
		if ok1 && ok2 || r.ids.Single {
			return &dirMeta{UID: uid, GID: gid, Mode: st.Mode & 0o7777, Sec: st.Mtime.Sec, Nanos: st.Mtime.Nsec}
		}
	}
	u := r.result.Spec.Process.User
	uid, _ := r.ids.BaseUID(u.UID)
	gid, _ := r.ids.BaseGID(u.GID)
	return &dirMeta{UID: uid, GID: gid, Mode: 0o755}
}

// giveOwn does without the stage where the owner is the caller, who has made
// the volume; it says whether it could.
func (e *Engine) giveOwn(name string, m *dirMeta) bool {
	if m == nil || m.UID != 0 || m.GID != 0 {
		return m == nil
	}
	dir, err := openDirectory(unix.AT_FDCWD, e.volumeData(name))
	if err != nil {
		return false
	}
	defer dir.Close()
	var st unix.Stat_t
	if unix.Fstat(int(dir.Fd()), &st) != nil || int(st.Uid) != os.Geteuid() || int(st.Gid) != os.Getegid() {
		return false
	}
	own := *m
	own.UID, own.GID = st.Uid, st.Gid
	return own.give(dir) == nil
}

// inStage are paths of the store as the stage has them; nil where one is
// elsewhere.
func (e *Engine) inStage(dirs []string) []string {
	root, err := filepath.EvalSymlinks(e.root)
	if err != nil {
		return nil
	}
	out := make([]string, len(dirs))
	for i, d := range dirs {
		rel, err := filepath.Rel(root, d)
		if err != nil || strings.HasPrefix(rel, "..") {
			return nil
		}
		out[i] = "/" + rel
	}
	return out
}

// emptyDirs says that nothing is in any of the directories; what we may not
// look into may have something.
func emptyDirs(dirs []string) bool {
	for _, d := range dirs {
		f, err := os.Open(d)
		if err != nil {
			return false
		}
		names, _ := f.Readdirnames(1)
		f.Close()
		if len(names) > 0 {
			return false
		}
	}
	return true
}

func hasEntries(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false // the stage will see
	}
	defer f.Close()
	names, _ := f.Readdirnames(1)
	return len(names) > 0
}
