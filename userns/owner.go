package userns

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// OwnerOf opens the user namespace that a namespace belongs to (ioctl_ns(2)); nil when
// that is the caller's own.
func OwnerOf(ns *os.File) (*os.File, error) {
	fd, err := unix.IoctlRetInt(int(ns.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return nil, fmt.Errorf("find out whose it is: %w", err)
	}
	owner := os.NewFile(uintptr(fd), "user namespace")
	var a, b unix.Stat_t
	if err := errors.Join(unix.Fstat(fd, &a), unix.Stat("/proc/self/ns/user", &b)); err != nil {
		owner.Close()
		return nil, err
	}
	if a.Ino == b.Ino && a.Dev == b.Dev {
		owner.Close()
		return nil, nil
	}
	return owner, nil
}

// MapOf reads the id maps of a user namespace, as they look from ours.
func MapOf(user *os.File) (m Map, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return m, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()
	p := &Program{}
	reg := p.NewReg()
	p.Call("hide from the namespace's processes", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	p.Call("join the user namespace", unix.SYS_SETNS, user.Fd(), unix.CLONE_NEWUSER)
	for _, name := range []string{"/proc/thread-self/uid_map", "/proc/thread-self/gid_map"} {
		p.Call("open "+name, unix.SYS_OPENAT, ^uintptr(99), name, unix.O_RDONLY|unix.O_CLOEXEC, 0).To(reg)
		p.SendFD("send it", theirs.Fd(), reg)
	}
	var text [2][]byte
	err = Place{}.carryOut(p, func() error {
		theirs.Close()
		for i := range text {
			fd, err := receiveFD(ours)
			if err != nil {
				return err
			}
			f := os.NewFile(uintptr(fd), "map")
			text[i], err = io.ReadAll(io.LimitReader(f, maxMapText))
			f.Close()
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return m, fmt.Errorf("read the id maps of the user namespace: %w", err)
	}
	if m.UIDs, err = parseProcMap(string(text[0])); err == nil {
		m.GIDs, err = parseProcMap(string(text[1]))
	}
	return m, err
}

// Explicit is the request for exactly this map.
func (m Map) Explicit(r Request) Request {
	for _, e := range m.UIDs {
		r.UIDMaps = append(r.UIDMaps, fmt.Sprintf("%d:@%d:%d", e.ContainerID, e.HostID, e.Size))
	}
	for _, e := range m.GIDs {
		r.GIDMaps = append(r.GIDMaps, fmt.Sprintf("%d:@%d:%d", e.ContainerID, e.HostID, e.Size))
	}
	return r
}
