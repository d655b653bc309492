package spec

import (
	"fmt"
	"strings"
	"syscall"
	"unsafe"

	"coracle/userns"

	"golang.org/x/sys/unix"
)

// Where the child's programs find fields of struct stat and struct statx.
const (
	statSize  = unsafe.Sizeof(unix.Stat_t{})
	statMode  = unsafe.Offsetof(unix.Stat_t{}.Mode)
	statRdev  = unsafe.Offsetof(unix.Stat_t{}.Rdev)
	statBytes = unsafe.Offsetof(unix.Stat_t{}.Size)

	statfsFlags = unsafe.Offsetof(unix.Statfs_t{}.Flags)

	statxSize  = unsafe.Sizeof(unix.Statx_t{})
	statxMntID = unsafe.Offsetof(unix.Statx_t{}.Mnt_id)
)

// mountID writes the id of the mount that a descriptor is on into memory for
// Program.Same.
func (c *child) mountID(label string, dir any, name string, into []byte) []byte {
	flags := uintptr(unix.AT_EMPTY_PATH)
	c.p.Call(label, unix.SYS_STATX, dir, name, flags, unix.STATX_MNT_ID, into)
	return into[statxMntID:]
}

// sameMount fails with errno unless two descriptors are the same place of the
// same mount.
func (c *child) sameMount(label string, a, b userns.Reg, errno syscall.Errno) {
	if c.x.lacks.mountID {
		c.sameInfo(label, a, b, errno)
		return
	}
	if c.want == nil {
		c.want, c.got = c.p.Bytes(make([]byte, statxSize)), c.p.Bytes(make([]byte, statxSize))
	}
	c.p.Same(label, c.mountID(label, a, "", c.want), c.mountID(label, b, "", c.got), errno)
}

// infoSize is how much of /proc/self/fdinfo/N says which mount a descriptor is
// on: "pos:\t0\nflags:\t012000000\nmnt_id:\t", and up to ten digits. Whatever
// follows is about the place.
const infoSize = 48

// sameInfo asks procfs, as of Linux 3.15.
func (c *child) sameInfo(label string, a, b userns.Reg, errno syscall.Errno) {
	one, other := c.mountInfo(label, a), c.mountInfo(label, b)
	for at := 0; at < infoSize; at += 8 {
		c.p.Same(label, one[at:], other[at:], errno)
	}
}

// mountInfo reads the mount's number as text. The descriptor is opened anew, so
// that its flags, which come first, are always the same.
func (c *child) mountInfo(label string, r userns.Reg) []byte {
	if c.look == 0 {
		c.look = c.p.NewReg()
	}
	fd := c.look
	info, buf := fmt.Sprintf("self/fdinfo/%d", c.number(numLook)), c.p.Bytes(make([]byte, infoSize))
	self := strings.TrimPrefix(c.numbered(label, r, numLook), "/proc/")
	c.p.Call(label, unix.SYS_OPENAT, c.proc, self, unix.O_PATH|unix.O_CLOEXEC, 0).To(fd)
	c.numbered(label, fd, numLook)
	c.closeReg(fd)
	c.p.Call(label, unix.SYS_OPENAT, c.proc, info, unix.O_RDONLY|unix.O_CLOEXEC, 0).To(fd)
	c.p.Call(label, unix.SYS_READ, fd, buf, uintptr(len(buf)))
	c.closeReg(fd)
	c.p.Call(label, unix.SYS_CLOSE, c.number(numLook))
	return buf
}

// verify fails unless dest leads to the mount in c.mount: between the step
// that found the target and the one that mounted there, whoever can write to
// the directories on the way may have led it elsewhere.
func (c *child) verify(label, dest string) {
	label += ": look at it again"
	c.inRoot(label, dest, unix.O_PATH, 0, c.tmp)
	c.sameMount(label+": something else is there now", c.mount, c.tmp, unix.EXDEV)
	c.closeReg(c.tmp)
}
