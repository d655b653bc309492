package fuse

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// The extended attributes of overlay with userxattr
// (Documentation/filesystems/overlayfs.rst).
const (
	xattrPrefix   = "user.overlay."
	xattrOpaque   = "user.overlay.opaque"
	xattrWhiteout = "user.overlay.whiteout"
	xattrMetacopy = "user.overlay.metacopy"
	xattrRedirect = "user.overlay.redirect"

	xattrLent = "user.coracle.lent" // images/layer's: the data is somewhere else
)

// Mount does in an ordinary process what the child does in a raw one: for the
// probe, for `coracle unshare`, for tests. The process must be uid 0 in a user
// and a mount namespace of its own, and changes its working directory where
// the value says so. Kinds that need other processes (FuseOverlayFS, and Copy
// before its copy is made) are refused.
func (r Rootfs) Mount(target string) error {
	if r.Scratch != nil {
		if err := unix.Mount("tmpfs", r.Scratch.Target, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, r.Scratch.Data); err != nil {
			return fmt.Errorf("mount a tmpfs on %s: %w", r.Scratch.Target, err)
		}
	}
	for _, d := range r.Mkdirs {
		if err := mkdir(d.Path, d.Mode); err != nil {
			return err
		}
	}
	if r.Host != nil {
		if err := os.Chdir(r.Scratch.Target); err != nil {
			return fmt.Errorf("enter the scratch directory: %w", err)
		}
		return r.Host.mount(target)
	}
	if r.Dir != "" {
		if err := os.Chdir(r.Dir); err != nil {
			return fmt.Errorf("enter the layers' directory: %w", err)
		}
	}
	switch r.Kind {
	case OverlayFS:
		return mountFS(r.FSType, r.Params, int(r.Attrs), target)
	case OverlayMount:
		if err := unix.Mount("overlay", target, r.FSType, r.Flags, r.Data); err != nil {
			return fmt.Errorf("mount an overlay on %s: %w", target, err)
		}
		return nil
	case Bind, Copy:
		if err := unix.Mount(r.Source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("bind %s on %s: %w", r.Source, target, err)
		}
		return nil
	}
	return fmt.Errorf("%w: mount a root of kind %q in one process", ErrBadRequest, r.Kind)
}

// mkdir makes a directory with exactly that mode; one that exists is no error.
func mkdir(path string, mode uint32) error {
	err := unix.Mkdir(path, mode)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err == nil {
		err = unix.Chmod(path, mode) // whatever the umask
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	return nil
}

func mountFS(fstype string, params []Param, attrs int, target string) error {
	fd, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open file system %s: %w", fstype, err)
	}
	defer unix.Close(fd)
	for _, p := range params {
		if p.Flag {
			err = unix.FsconfigSetFlag(fd, p.Key)
		} else {
			err = unix.FsconfigSetString(fd, p.Key, p.Value)
		}
		if err != nil {
			return fmt.Errorf("set %s of %s: %w", p.Key, fstype, explain(fd, err))
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return fmt.Errorf("create %s: %w", fstype, explain(fd, err))
	}
	m, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return fmt.Errorf("mount %s: %w", fstype, explain(fd, err))
	}
	defer unix.Close(m)
	if err := unix.MoveMount(m, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach %s to %s: %w", fstype, target, err)
	}
	return nil
}

// explain adds what the kernel has written into the log of an fsopen'ed
// descriptor.
func explain(fd int, err error) error {
	var said []string
	buf := make([]byte, 512)
	for {
		n, rerr := unix.Read(fd, buf)
		if rerr != nil || n <= 0 {
			break
		}
		said = append(said, strings.TrimSpace(strings.TrimPrefix(string(buf[:n]), "e ")))
	}
	if len(said) == 0 {
		return err
	}
	return fmt.Errorf("%s: %w", strings.Join(said, "; "), err)
}
