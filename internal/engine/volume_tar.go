package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"coracle/images/layer"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// A volume's files are packed and unpacked in the store stage, which is given
// the archive's descriptor. An import is unpacked whole, beside the data, and
// then moved in: whoever is killed before that has changed nothing, and what was
// begun to be moved the next one finishes.
const (
	packOp  = "pack"
	mergeOp = "merge"

	volumeImporting = "import.tmp" // and in it fs
	volumeImport    = "import"
)

// volumeRequest names a volume: /volumes/NAME.
type volumeRequest struct {
	Volume string `json:"volume"`
	Merge  bool   `json:"merge,omitempty"` // what was unpacked is whole: move it in
}

// mergeResult says whether the archive has said whose the volume itself is.
type mergeResult struct {
	Owned bool `json:"owned"`
}

// ExportVolume writes what is in a volume as a tar archive.
func (e *Engine) ExportVolume(ctx context.Context, name string, to *os.File) error {
	return e.withVolume(ctx, name, "export", func(s *storeStage, _ userns.Resolved) error {
		return s.CallFile(ctx, packOp, volumeRequest{Volume: "/volumes/" + name}, nil, to)
	})
}

// ImportVolume adds what is in a tar archive to a volume.
func (e *Engine) ImportVolume(ctx context.Context, name string, from *os.File) error {
	return e.withVolume(ctx, name, "import", func(s *storeStage, ids userns.Resolved) error {
		dir := "volumes/" + name
		err := s.Call(ctx, mergeOp, volumeRequest{Volume: "/" + dir}, nil)
		if err != nil {
			return err
		}
		_, err = s.Unpack(ctx, layer.Request{Blob: from, Dir: dir + "/" + volumeImporting + "/fs", Plain: true, Record: ids.Single, Limits: e.limits})
		if err != nil {
			return errors.Join(err, s.Remove(context.WithoutCancel(ctx), dir+"/"+volumeImporting))
		}
		var res mergeResult
		if err := s.Call(ctx, mergeOp, volumeRequest{Volume: "/" + dir, Merge: true}, &res); err != nil {
			return err
		}
		v, err := e.readVolume(name)
		if err == nil && (v.NeedsCopyUp || v.NeedsChown && res.Owned) {
			v.NeedsCopyUp = false // it has something, and be it by an import
			v.NeedsChown = v.NeedsChown && !res.Owned
			err = writeJSON(e.volumeDir(name)+"/"+volumeRecord, v, true)
		}
		return err
	})
}

// withVolume has the store stage work on a volume that we hold.
func (e *Engine) withVolume(ctx context.Context, name, op string, work func(*storeStage, userns.Resolved) error) error {
	v, err := e.readVolume(name)
	if err != nil {
		return err
	}
	o, err := parseVolumeOptions(v.Options)
	if err != nil {
		return err
	}
	if !o.plain() {
		return &Error{Op: op + " volume " + name, Err: errors.New("its data is not in the store (--opt)"), Help: "use tar in a container that has it"}
	}
	lock, err := e.lockVolume(ctx, name)
	if err != nil {
		return fmt.Errorf("%s volume %s: %w", op, name, err)
	}
	defer lock.Release()
	ids, err := e.defaultIDs(ctx)
	if err != nil {
		return err
	}
	s := e.stage(ctx, ids.Base)
	err = errors.Join(work(s, ids), s.Close())
	if err == nil || op == "export" { // there it is another disk that may be full
		return err
	}
	return e.explainVolume(op+" volume "+name, err)
}

// openVolume is for the stage; what was begun to be moved in is moved.
func openVolume(r volumeRequest) (vol, data *os.File, err error) {
	if vol, err = openDirectory(unix.AT_FDCWD, r.Volume); err != nil {
		return nil, nil, err
	}
	if data, err = openDirectory(int(vol.Fd()), volumeData); err == nil {
		err = settle(vol, data)
	}
	if err != nil {
		vol.Close()
		return nil, nil, err
	}
	return vol, data, nil
}

func packVolume(ctx context.Context, r volumeRequest) (struct{}, error) {
	out := layer.HandedFile(ctx)
	vol, data, err := openVolume(r)
	if err != nil {
		return struct{}{}, err
	}
	defer vol.Close()
	defer data.Close()
	w := bufio.NewWriterSize(out, 1<<18)
	if err := layer.Pack(ctx, int(data.Fd()), w); err != nil {
		return struct{}{}, err
	}
	if err := w.Flush(); err != nil {
		return struct{}{}, fmt.Errorf("write the archive: %w", err)
	}
	return struct{}{}, nil
}

// mergeVolume makes room for what is to be unpacked, and moves it in when that
// is done.
func mergeVolume(_ context.Context, r volumeRequest) (res mergeResult, err error) {
	vol, data, err := openVolume(r)
	if err != nil {
		return res, err
	}
	defer vol.Close()
	defer data.Close()
	fd := int(vol.Fd())
	if !r.Merge {
		if err := layer.RemoveAll(fd, volumeImporting); err != nil {
			return res, err
		}
		return res, unix.Mkdirat(fd, volumeImporting, 0o700)
	}
	dir, err := openDirectory(fd, volumeImporting)
	if err != nil {
		return res, err
	}
	implied, err := impliedDirs(dir)
	dir.Close()
	if err != nil {
		return res, err
	}
	res.Owned = !implied["."]
	if err := unix.Renameat(fd, volumeImporting, fd, volumeImport); err != nil {
		return res, err
	}
	return res, settle(vol, data)
}

// settle finishes what somebody was killed at: moving a copy of the image's, or
// an import, into the data.
func settle(vol, data *os.File) error {
	if err := moveIn(vol, data, volumeCopy, nil); err != nil {
		return err
	}
	dir, err := openDirectory(int(vol.Fd()), volumeImport)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	implied, err := impliedDirs(dir)
	if err == nil {
		err = moveIn(dir, data, "fs", implied)
	}
	if err != nil {
		return err
	}
	return layer.RemoveAll(int(vol.Fd()), volumeImport)
}

// impliedDirs are the directories that an archive does not name, by what the
// unpacker has noted (layer.Unpack): "dNAME" and, if it does after all, "xNAME".
func impliedDirs(dir *os.File) (map[string]bool, error) {
	fd, err := unix.Openat(int(dir.Fd()), "pending", unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return map[string]bool{}, nil
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "pending")
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	implied := make(map[string]bool)
	for note := range strings.SplitSeq(string(text), "\x00") {
		switch {
		case strings.HasPrefix(note, "d"):
			implied[note[1:]] = true
		case strings.HasPrefix(note, "x"):
			delete(implied, note[1:])
		}
	}
	return implied, nil
}
