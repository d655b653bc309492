package fuse

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mount carries the plan out in an ordinary process that stands in the
// mounted scratch directory.
func (p HostPlan) mount(target string) error {
	if err := mkdir(p.Root, 0o755); err != nil {
		return err
	}
	for _, m := range p.Mounts {
		if err := m.mount(filepath.Join(p.Root, m.Target)); err != nil {
			return err
		}
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, p.Root, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("take the view of the host: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach the view of the host to %s: %w", target, err)
	}
	return nil
}

func (m HostMount) mount(at string) error {
	var err error
	switch m.Kind {
	case HostDir:
		return mkdir(at, m.Mode)
	case HostSymlink:
		err = unix.Symlink(m.Source, at)
	case HostFile:
		err = os.WriteFile(at, m.Content, os.FileMode(m.Mode))
	case HostBind:
		err = m.bind(at)
	case HostOverlay:
		dirs := []Mkdir{{m.Upper, m.Mode}, {m.Work, 0o700}, {at, 0o755}}
		if m.Present {
			dirs = dirs[:2]
		}
		for _, d := range dirs {
			if err := mkdir(d.Path, d.Mode); err != nil {
				return err
			}
		}
		err = unix.Mount("overlay", at, "overlay", m.Flags, m.Data)
	}
	if err != nil {
		return fmt.Errorf("show /%s (%s): %w", m.Target, m.Kind, err)
	}
	return nil
}

func (m HostMount) bind(at string) error {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_NO_AUTOMOUNT)
	attr := uint(unix.AT_EMPTY_PATH)
	if m.Recursive {
		flags |= unix.AT_RECURSIVE
		attr |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, flags)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.MountSetattr(fd, "", attr, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
		return err
	}
	return unix.MoveMount(fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH)
}
