package engine

import (
	"context"
	"errors"
	"fmt"
	"os"

	"coracle/fuse"
	"coracle/images/layer"

	"golang.org/x/sys/unix"
)

// fillOp fills a volume in the store stage. What the image has is first copied
// whole, beside the data, and then moved in, name by name: whoever is killed in
// between leaves a copy that the next one throws away, or one that the next one
// moves in.
const fillOp = "fill"

// fillRequest asks for a volume to be filled and given to its owner.
type fillRequest struct {
	Volume string         `json:"volume"`           // /volumes/NAME
	Lowers []string       `json:"lowers,omitempty"` // what the image has there, topmost first; none: nothing is copied
	UIDs   []fuse.Segment `json:"uids,omitempty"`
	GIDs   []fuse.Segment `json:"gids,omitempty"`
	Owner  *dirMeta       `json:"owner,omitempty"` // of the volume's own directory
	Sync   bool           `json:"sync,omitempty"`
}

// dirMeta is what a volume's directory looks like; ids are the stage's.
type dirMeta struct {
	UID   uint32 `json:"uid"`
	GID   uint32 `json:"gid"`
	Mode  uint32 `json:"mode"`
	Sec   int64  `json:"sec,omitempty"` // mtime, 0 for now
	Nanos int64  `json:"nanos,omitempty"`
}

// fillResult says whether anything was copied now.
type fillResult struct {
	Copied bool `json:"copied"`
}

const (
	volumeCopying = "copy.tmp"
	volumeCopy    = "copy"
)

// fillVolume runs in the stage.
func fillVolume(ctx context.Context, r fillRequest) (res fillResult, err error) {
	vol, err := openDirectory(unix.AT_FDCWD, r.Volume)
	if err != nil {
		return res, fmt.Errorf("open the volume: %w", err)
	}
	defer vol.Close()
	data, err := openDirectory(int(vol.Fd()), volumeData)
	if err != nil {
		return res, fmt.Errorf("open the volume's data: %w", err)
	}
	defer data.Close()
	if err := settle(vol, data); err != nil {
		return res, err
	}
	if res.Copied, err = copyIn(ctx, r, vol, data); err != nil {
		return res, err
	}
	if r.Owner != nil {
		if err := r.Owner.give(data); err != nil {
			return res, fmt.Errorf("give the volume its owner: %w", err)
		}
	}
	return res, nil
}

func openDirectory(dirfd int, name string) (*os.File, error) {
	fd, err := unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// copyIn copies what the image has, unless the volume has something already.
func copyIn(ctx context.Context, r fillRequest, vol, data *os.File) (bool, error) {
	if len(r.Lowers) == 0 {
		return false, nil
	}
	if names, err := data.Readdirnames(1); err == nil && len(names) > 0 {
		return false, nil
	}
	if err := layer.RemoveAll(int(vol.Fd()), volumeCopying); err != nil {
		return false, err
	}
	tmp := r.Volume + "/" + volumeCopying
	stats, err := fuse.CopyLayers(ctx, fuse.TreeRequest{Lowers: r.Lowers, Dst: tmp, UIDs: r.UIDs, GIDs: r.GIDs})
	if err == nil && r.Sync {
		err = unix.Syncfs(int(vol.Fd()))
	}
	if err != nil {
		return false, errors.Join(fmt.Errorf("copy what the image has there: %w", err), layer.RemoveAll(int(vol.Fd()), volumeCopying))
	}
	if stats.Inodes <= 1 { // the directory itself
		return false, layer.RemoveAll(int(vol.Fd()), volumeCopying)
	}
	if err := unix.Renameat(int(vol.Fd()), volumeCopying, int(vol.Fd()), volumeCopy); err != nil {
		return false, err
	}
	return true, settle(vol, data)
}

func (m dirMeta) give(dir *os.File) error {
	fd := int(dir.Fd())
	if err := unix.Fchown(fd, int(m.UID), int(m.GID)); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, m.Mode&0o7777); err != nil {
		return err
	}
	if m.Sec == 0 {
		return nil
	}
	t := unix.Timespec{Sec: m.Sec, Nsec: m.Nanos}
	return unix.UtimesNanoAt(fd, ".", []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW) // the stage has no /proc
}
