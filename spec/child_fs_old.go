package spec

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// kernelCall is a system call without which a container cannot be had, and the
// first Linux with it.
type kernelCall struct {
	name  string
	nr    uintptr
	first string
}

// kernelCalls are what the programs use beyond what every kernel has. Asked
// with arguments that no kernel takes: only the lack of the call is ENOSYS.
func kernelCalls() []kernelCall {
	return []kernelCall{
		{"openat2", unix.SYS_OPENAT2, "5.6"}, {"open_tree", unix.SYS_OPEN_TREE, "5.2"}, {"move_mount", unix.SYS_MOVE_MOUNT, "5.2"},
		{"fsopen", unix.SYS_FSOPEN, "5.2"}, {"fsconfig", unix.SYS_FSCONFIG, "5.2"}, {"fsmount", unix.SYS_FSMOUNT, "5.2"},
		{"close_range", unix.SYS_CLOSE_RANGE, "5.9"},
	}
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

// probeKernel says what is missing: an error for what nothing can stand in for.
func probeKernel() (noSetattr bool, err error) {
	const none = ^uintptr(0)
	for _, k := range kernelCalls() {
		if _, _, errno := syscall.RawSyscall6(k.nr, none, 0, 0, 0, none, 0); errno == unix.ENOSYS {
			return false, &MissingCallError{k.name, k.first, release()}
		}
	}
	// EPERM: a filter's; the kernel looks at the size first.
	_, _, errno := syscall.RawSyscall6(unix.SYS_MOUNT_SETATTR, none, 0, 0, 0, 0, 0)
	return errno == unix.ENOSYS || errno == unix.EPERM, nil
}

func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// changed is a change of a mount's attributes that waits until it is attached:
// without mount_setattr(2), from Linux 5.12, only then it can be changed.
type changed struct {
	label         string
	set, clr, how uint64
	recursive     bool
}

var errNoSetattr = errors.New("attributes of all mounts below take mount_setattr(2), from Linux 5.12")

// later keeps a change of c.mount for attached.
func (c *child) later(ch changed) {
	if ch.recursive && ch.set|ch.clr != 0 && !strings.HasSuffix(ch.label, readonlySuffix) {
		c.fail(fmt.Errorf("%s: %w; this is %s", ch.label, errNoSetattr, release()))
	}
	c.waiting = append(c.waiting, ch)
}

// attached carries out what was kept for the mount in c.mount.
func (c *child) attached() {
	for _, ch := range c.waiting {
		c.change(c.mount, ch)
	}
	c.waiting = nil
}

// change is mount_setattr(2) by mount(2), which takes a path, and all flags
// anew: those that the mount has are read first, so that none is lost.
func (c *child) change(r userns.Reg, ch changed) {
	fd := cmp.Or(c.x.handleBase, firstHandle) + handleCount(c.s, c.x.Root) - 1
	placed := c.p.NewSpot()
	c.p.Call(ch.label, unix.SYS_DUP3, r, fd, unix.O_CLOEXEC).Catch(unix.EINVAL, placed) // it has the number already
	c.p.Mark(placed)
	c.remount(ch, fmt.Sprintf("/proc/self/fd/%d", fd), r)
}

// changeBelow changes what is mounted below a bind's source, one after the
// other, by the list that the launcher has read.
func (c *child) changeBelow(label string, m *specs.Mount, o *mountOpts) {
	source, err := filepath.EvalSymlinks(c.x.hostPath(m.Source))
	if err != nil {
		c.fail(fmt.Errorf("%s: look for mounts below: %w", label, err))
		return
	}
	for _, point := range c.x.mountPoints {
		below, ok := strings.CutPrefix(point, strings.TrimSuffix(source, "/")+"/")
		if !ok || below == "" {
			continue
		}
		hidden := c.p.NewSpot() // by another mount, or not cloned at all
		c.inRoot(label, path.Join(m.Destination, below), unix.O_PATH, 0, c.target).Catch(unix.ENOENT, hidden)
		c.change(c.target, changed{label: label + ": " + below, set: o.rset, clr: o.rclr})
		c.closeReg(c.target)
		c.p.Mark(hidden)
	}
}

// mountPoints are those of this process's mount namespace.
func mountPoints() ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list the mounts: %w", err)
	}
	var points []string
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 4 {
			points = append(points, unescape.Replace(f[4]))
		}
	}
	return points, nil
}

func (c *child) remount(ch changed, name string, r userns.Reg) {
	if ch.set|ch.clr != 0 {
		// statfs(2) and mount(2) have these four in common; times stay as they are.
		const same = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
		st := c.p.Bytes(make([]byte, 256))
		c.p.Call(ch.label, unix.SYS_FSTATFS, r, st)
		c.p.Peek(st[statfsFlags:], c.tmp)
		c.p.Blend(c.tmp, same&^mountFlags(ch.clr&^unix.MOUNT_ATTR__ATIME), mountFlags(ch.set)|unix.MS_REMOUNT|unix.MS_BIND)
		c.p.Call(ch.label, unix.SYS_MOUNT, "none", name, 0, c.tmp, 0)
	}
	if ch.how != 0 {
		how := uintptr(ch.how)
		if ch.recursive {
			how |= unix.MS_REC
		}
		c.p.Call(ch.label, unix.SYS_MOUNT, "none", name, 0, how, 0)
	}
}
