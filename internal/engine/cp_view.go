package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"coracle/fuse"
	"coracle/spec"
	"coracle/userns"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// filesView is a container's files, open through a stage.
type filesView struct {
	*filesClient
	c    Container
	spec *specs.Spec
	lock func() // lets go of a container that does not run
	stop func() bool

	served bool // by a server of the stage's, see serveFuse
}

func (v *filesView) close() {
	if v.served {
		_, _ = v.call(filesRequest{Op: "close"}) // one that was killed has ended it, too
	}
	v.stop()
	v.filesClient.close()
	v.lock()
}

// openFiles opens a container's files: of one that runs what its processes see,
// with volumes; of another its root, which nobody can start meanwhile. bare is
// the root alone in both cases.
func (e *Engine) openFiles(ctx context.Context, name string, bare bool) (*filesView, error) {
	for try := 0; ; try++ {
		c, err := e.find(name)
		if err != nil {
			return nil, err
		}
		var v *filesView
		if c.Running() {
			v, err = e.openRunning(ctx, c, bare)
		} else {
			v, err = e.openStopped(ctx, c)
		}
		busy := errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, spec.ErrNotExist) || errors.Is(err, spec.ErrNotRunning)
		if !busy || try == 100 || ctx.Err() != nil {
			return v, err
		}
		time.Sleep(20 * time.Millisecond) // it is just starting or ending
	}
}

func (e *Engine) view(ctx context.Context, c Container, s *specs.Spec, start func() (*filesClient, error), lock func()) (*filesView, error) {
	client, err := start()
	if err != nil {
		lock()
		return nil, err
	}
	v := &filesView{filesClient: client, c: c, spec: s, lock: lock}
	v.stop = context.AfterFunc(ctx, func() { _ = client.child.Kill() })
	return v, nil
}

func mapOf(s *specs.Spec) userns.Map {
	return userns.Map{UIDs: s.Linux.UIDMappings, GIDs: s.Linux.GIDMappings}
}

func (e *Engine) openRunning(ctx context.Context, c Container, bare bool) (*filesView, error) {
	st, err := e.runtimeOf(c.ID).Load(c.ID)
	if err != nil {
		return nil, err
	}
	s, err := st.Spec()
	if err != nil {
		return nil, err
	}
	root, err := st.OpenRoot(bare)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	start := func() (*filesClient, error) { return startFiles(ctx, mapOf(s)) }
	var fs unix.Statfs_t
	if unix.Fstatfs(int(root.Fd()), &fs) == nil && fs.Type == unix.FUSE_SUPER_MAGIC {
		if !st.OwnPIDNamespace() {
			return nil, &Error{Op: "open the files of container " + c.Name, // it could trace who reads them
				Err: errors.New("its root is served by fuse-overlayfs, which shows it to processes in its user namespace only, and it sees all of ours"), Help: "let one of its own read or write: coracle exec -i " + c.Name + " tar …"}
		}
		ns, err := st.OpenNamespace(specs.UserNamespace)
		if err != nil {
			return nil, err
		}
		defer ns.Close()
		start = func() (*filesClient, error) { return startFilesIn(ns) }
	}
	v, err := e.view(ctx, c, s, start, func() {})
	if err != nil {
		return nil, err
	}
	if _, err := v.call(filesRequest{Op: "open"}, root); err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

func (e *Engine) openStopped(ctx context.Context, c Container) (*filesView, error) {
	lock, err := e.claim(c.ID, c.ImageID)
	if err != nil {
		return nil, err
	}
	release := func() { e.unclaim(c.ID, lock) }
	p, err := e.readBlueprint(c.ID)
	if err != nil {
		release()
		return nil, err
	}
	failed := func(err error) (*filesView, error) {
		return nil, fmt.Errorf("open the files of container %s: %w", c.Name, err)
	}
	root, err := e.storedRoot(ctx, c, p)
	if err != nil {
		release()
		return failed(err)
	}
	var dirs []string
	if outsider(p.IDs) && root.Kind != fuse.Bind && root.Kind != fuse.Copy { // its root may not enter the store
		root.Mkdirs, dirs = nil, layersOf(root)
	}
	v, err := e.view(ctx, c, p.Result.Spec, func() (*filesClient, error) { return startFiles(ctx, p.IDs.Map, dirs...) }, release)
	if err != nil {
		return nil, err
	}
	if err := v.mount(root); err != nil {
		v.close()
		return failed(err)
	}
	return v, nil
}

// mount has the stage mount a root, or use a directory as it is.
func (v *filesView) mount(root *fuse.Rootfs) error {
	if root.Kind != fuse.Bind && root.Kind != fuse.Copy {
		_, err := v.call(filesRequest{Op: "open", Root: root})
		v.served = err == nil && root.Kind == fuse.FuseOverlayFS
		return err
	}
	dir, err := os.OpenFile(root.Source, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	_, err = v.call(filesRequest{Op: "open"}, dir)
	return err
}

// storedRoot is how the root is mounted of a container that was made before.
func (e *Engine) storedRoot(ctx context.Context, c Container, p blueprint) (*fuse.Rootfs, error) {
	if p.Root.Host {
		return nil, &Error{Err: errors.New("its root is the host's own, which is put together only while it runs"), Help: "copy the host's files"}
	}
	dir := e.containerDir(c.ID)
	r := e.rebuild(&box{Container: c, e: e, dir: dir}, p).root
	root, err := r.choose(ctx, dir, false)
	if err != nil {
		return nil, err
	}
	if root.Kind == fuse.FuseOverlayFS && outsider(p.IDs) {
		return nil, &Error{Err: errors.New("fuse-overlayfs takes paths, and the root of its ids may not enter the store: it is served only while it runs"), Help: "coracle start " + c.Name}
	}
	made := root.Kind == fuse.Copy
	if made {
		_, err := os.Lstat(root.Source)
		made = err == nil
	}
	if !made {
		err = r.prepare(ctx, dir, p.IDs, root)
	}
	return root, err
}

// layersOf are the directories of an overlay, in the order of its parameters.
func layersOf(root *fuse.Rootfs) []string {
	var dirs []string
	for _, p := range root.Params {
		if !isLayer(p.Key) {
			continue
		}
		name := p.Value
		if p.Key == "upperdir" || p.Key == "workdir" {
			name = strings.ReplaceAll(name, `\\`, `\`) // as it is for the kernel
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(root.Dir, name)
		}
		dirs = append(dirs, name)
	}
	root.Dir = ""
	return dirs
}
