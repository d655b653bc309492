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
	Record bool   `json:"record,omitempty"` // see layer.Request
}

// ExportVolume writes what is in a volume as a tar archive.
func (e *Engine) ExportVolume(ctx context.Context, name string, to *os.File) error {
	return e.withVolume(ctx, name, packOp, to)
}

// ImportVolume adds what is in a tar archive to a volume.
func (e *Engine) ImportVolume(ctx context.Context, name string, from *os.File) error {
	return e.withVolume(ctx, name, mergeOp, from)
}

func (e *Engine) withVolume(ctx context.Context, name, op string, file *os.File) error {
	v, err := e.readVolume(name)
	if err != nil {
		return absent(err)
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
		return fmt.Errorf("use volume %s: %w", name, err)
	}
	defer lock.release()
	ids, err := e.defaultIDs(ctx)
	if err != nil {
		return err
	}
	s := e.stage(ctx, ids.Base)
	err = s.CallFile(ctx, op, volumeRequest{Volume: "/volumes/" + name, Record: ids.Single}, nil, file)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EROFS) {
		err = e.explainVolume("use volume "+name, err)
	}
	if err == nil && op == mergeOp && v.NeedsCopyUp {
		v.NeedsCopyUp = false // it has something, and be it by an import
		err = writeJSON(e.volumeDir(name)+"/"+volumeRecord, v, true)
	}
	return errors.Join(err, s.Close())
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

func mergeVolume(ctx context.Context, r volumeRequest) (none struct{}, err error) {
	vol, data, err := openVolume(r)
	if err != nil {
		return none, err
	}
	defer vol.Close()
	defer data.Close()
	if err := layer.RemoveAll(int(vol.Fd()), volumeImporting); err != nil {
		return none, err
	}
	if err := unix.Mkdirat(int(vol.Fd()), volumeImporting, 0o700); err != nil {
		return none, err
	}
	if err := unpackImport(ctx, r); err != nil {
		return none, errors.Join(err, layer.RemoveAll(int(vol.Fd()), volumeImporting))
	}
	if err := unix.Renameat(int(vol.Fd()), volumeImporting, int(vol.Fd()), volumeImport); err != nil {
		return none, err
	}
	return none, settle(vol, data)
}

func unpackImport(ctx context.Context, r volumeRequest) error {
	st, err := layer.Local("/")
	if err != nil {
		return err
	}
	dir := strings.TrimPrefix(r.Volume, "/") + "/" + volumeImporting + "/fs"
	_, err = st.Unpack(ctx, layer.Request{Blob: layer.HandedFile(ctx), Dir: dir, Plain: true, Record: r.Record})
	return errors.Join(err, st.Close())
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
