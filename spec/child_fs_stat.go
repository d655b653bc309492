package spec

import (
	"unsafe"

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

// verify fails unless dest leads to the mount in c.mount: between the step
// that found the target and the one that mounted there, whoever can write to
// the directories on the way may have led it elsewhere.
func (c *child) verify(label, dest string) {
	if c.want == nil {
		c.want, c.got = c.p.Bytes(make([]byte, statxSize)), c.p.Bytes(make([]byte, statxSize))
	}
	label += ": look at it again"
	want := c.mountID(label, c.mount, "", c.want)
	c.inRoot(label, dest, unix.O_PATH, 0, c.tmp)
	got := c.mountID(label, c.tmp, "", c.got)
	c.closeReg(c.tmp)
	c.p.Same(label+": something else is there now", want, got, unix.EXDEV)
}
