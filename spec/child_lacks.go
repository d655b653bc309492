package spec

import (
	"cmp"
	"fmt"
	"syscall"
	"unsafe"

	"coracle/userns"

	"golang.org/x/sys/unix"
)

// lacks says which system calls the kernel does not have, or a filter around us
// hides. For each there is another way; what has none is refused where it is
// asked for.
type lacks struct {
	openat2 bool // Linux 5.6; see child_fs_walk.go
	mounts  bool // open_tree(2) and its kin, Linux 5.2; see child_fs_stage.go
	setattr bool // mount_setattr(2), Linux 5.12; see child_fs_old.go
	mountID bool // statx(2) with STATX_MNT_ID, Linux 5.8; see child_fs_stat.go
}

func (l lacks) any() bool { return l != lacks{} }

// kernelCall is a system call and the first Linux with it.
type kernelCall struct {
	name  string
	nr    uintptr
	first string
	// eperm says that the kernel itself never answers EPERM to what we ask: it is
	// a filter's then.
	eperm  bool
	lacked func(*lacks) *bool
}

func kernelCalls() []kernelCall {
	openat2 := func(l *lacks) *bool { return &l.openat2 }
	mounts := func(l *lacks) *bool { return &l.mounts }
	setattr := func(l *lacks) *bool { return &l.setattr }
	return []kernelCall{
		{"openat2", unix.SYS_OPENAT2, "5.6", true, openat2},
		{"open_tree", unix.SYS_OPEN_TREE, "5.2", true, mounts},
		{"move_mount", unix.SYS_MOVE_MOUNT, "5.2", false, mounts},
		{"fsopen", unix.SYS_FSOPEN, "5.2", false, mounts},
		{"fsconfig", unix.SYS_FSCONFIG, "5.2", true, mounts},
		{"fsmount", unix.SYS_FSMOUNT, "5.2", false, mounts},
		{"mount_setattr", unix.SYS_MOUNT_SETATTR, "5.12", true, setattr},
	}
}

// missing asks for the call with arguments that no kernel takes: only the lack
// of it is ENOSYS.
func (k kernelCall) missing() bool {
	const none = ^uintptr(0)
	// mount_setattr(2) looks at its size, the fifth, before all else.
	fifth := none
	if k.nr == unix.SYS_MOUNT_SETATTR {
		fifth = 0
	}
	_, _, errno := syscall.RawSyscall6(k.nr, none, 0, 0, 0, fifth, 0)
	return errno == unix.ENOSYS || errno == unix.EPERM && k.eperm
}

func probeKernel() (l lacks) {
	for _, k := range kernelCalls() {
		if k.missing() {
			*k.lacked(&l) = true
		}
	}
	if l.any() { // a kernel that has them all has this one, too
		l.mountID = !haveMountID()
	}
	return l
}

// MissingCalls names the system calls that the kernel, or a filter around us,
// does not have, and for which containers are made in another way.
func MissingCalls() []string {
	var names []string
	for _, k := range kernelCalls() {
		if k.missing() {
			names = append(names, k.name)
		}
	}
	if !userns.HaveCloseRange() {
		names = append(names, "close_range")
	}
	return names
}

// probeExec is probeKernel for a process that joins a container: only a terminal
// takes a mount.
func probeExec(terminal bool) lacks {
	if terminal {
		return probeKernel()
	}
	return lacks{openat2: kernelCalls()[0].missing()}
}

func haveMountID() bool {
	var st unix.Statx_t
	root := [2]byte{'/'}
	_, _, errno := syscall.RawSyscall6(unix.SYS_STATX, ^uintptr(99), uintptr(unsafe.Pointer(&root)), 0, unix.STATX_MNT_ID, uintptr(unsafe.Pointer(&st)), 0)
	return errno == 0 && st.Mask&unix.STATX_MNT_ID != 0
}

// MissingCallError says that the kernel, or the filter of a container around
// us, does not have a system call.
type MissingCallError struct {
	Call, First, Release string // First: the Linux that brought it; Release: of this one
}

func (e *MissingCallError) Error() string {
	return fmt.Sprintf("the system call %s is missing: Linux %s brought it, this is %s, or a filter around us hides it", e.Call, e.First, e.Release)
}
func (e *MissingCallError) Unwrap() error { return unix.ENOSYS }

// errNoMounts is for what open_tree(2) alone can do.
func errNoMounts() error { return &MissingCallError{"open_tree", "5.2", release()} }

func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// Descriptor numbers that are the child's own where a call takes a path: it is
// /proc/self/fd/N then, and N has to be known beforehand.
const (
	numChanged = iota // a mount whose attributes change
	numMoved          // one that is moved
	numTarget
	numSource
	numDir  // where directories and
	numFile // files are staged
	numLook // what is looked at in fdinfo

	ownNumbers = 7
)

// numbers finds the descriptors with known numbers: handles, and for a kernel
// that lacks calls the child's own.
func (x *Extra) numbers(handles int) (err error) {
	if !x.lacks.any() {
		x.handleBase, err = freeHandles(handles)
		return err
	}
	if x.handleBase, err = freeHandles(handles + ownNumbers); err == nil {
		x.ownBase = x.handleBase + handles
	}
	return err
}

// numbered gives a descriptor one of the child's own numbers, too, and returns
// its path.
func (c *child) numbered(label string, fd any, which int) string {
	placed := c.p.NewSpot()
	c.p.Call(label, unix.SYS_DUP3, fd, c.number(which), unix.O_CLOEXEC).Catch(unix.EINVAL, placed) // it has the number already
	c.p.Mark(placed)
	return c.numberPath(which)
}

func (c *child) number(which int) int {
	return cmp.Or(c.x.ownBase, firstHandle+256) + which // 256: a plan that is only printed
}

func (c *child) numberPath(which int) string { return fmt.Sprintf("/proc/self/fd/%d", c.number(which)) }
