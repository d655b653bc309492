package spec

import (
	"encoding/binary"
	"os"

	"coracle/userns"

	"golang.org/x/sys/unix"
)

// Landlock are rules on files and ports that hold besides mounts and network, from
// before the exec on and for all that comes after it. Without Handled it restricts nothing.
type Landlock struct {
	Handled uint64 // LANDLOCK_ACCESS_FS_*: allowed only where a rule says so
	Net     uint64 // LANDLOCK_ACCESS_NET_*, likewise, and
	Scoped  uint64 // LANDLOCK_SCOPE_*; only where the kernel has them
	Rules   []LandlockRule
	Ports   []uint16 // of TCP, that may be connected to
}

// LandlockRule allows Access to what is at Path in the container, and below. One whose
// path is not there allows nothing.
type LandlockRule struct {
	Path   string
	Access uint64
}

// LandlockABI is the version that this kernel has; 0: none, or not for us.
func LandlockABI() int {
	n, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// landlockFile are the rights that a rule on something else than a directory can give.
const landlockFile = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE |
	unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV

// landlockNetPort is LANDLOCK_RULE_NET_PORT (linux/landlock.h, ABI 4).
const landlockNetPort = 2

// landlock makes the rules, before limits on descriptors hold. By system calls of our
// own: a library for it restricts the threads of the program that calls it, and here that
// is a child without a runtime.
func (c *child) landlock() (rules userns.Reg) {
	l := c.x.Landlock
	if l.Handled == 0 {
		return 0
	}
	const label = "landlock: make the rules"
	attr := binary.NativeEndian.AppendUint64(nil, l.Handled)
	if l.Net|l.Scoped != 0 {
		attr = binary.NativeEndian.AppendUint64(attr, l.Net)
	}
	if l.Scoped != 0 {
		attr = binary.NativeEndian.AppendUint64(attr, l.Scoped)
	}
	rules = c.p.NewReg()
	at := c.p.NewReg()
	c.p.Call(label, unix.SYS_LANDLOCK_CREATE_RULESET, attr, len(attr), 0).To(rules)
	allow := func(fd any, access uint64) {
		// struct landlock_path_beneath_attr, which is packed: 12 bytes.
		rule := c.p.Bytes(append(binary.NativeEndian.AppendUint64(nil, access&l.Handled), 0, 0, 0, 0))
		switch fd := fd.(type) {
		case int:
			binary.NativeEndian.PutUint32(rule[8:], uint32(fd))
		default:
			c.p.Poke(rule[8:], at)
		}
		// What is no directory takes fewer rights (EINVAL), a pipe none (EBADFD).
		plain, done := c.p.NewSpot(), c.p.NewSpot()
		c.p.Call(label, unix.SYS_LANDLOCK_ADD_RULE, rules, unix.LANDLOCK_RULE_PATH_BENEATH, rule, 0).Allow(unix.EBADFD, unix.EBADF).Catch(unix.EINVAL, plain)
		c.p.Jump(done)
		c.p.Mark(plain)
		less := c.p.Bytes(append(binary.NativeEndian.AppendUint64(nil, access&l.Handled&landlockFile), rule[8:]...))
		if _, ok := fd.(int); !ok {
			c.p.Poke(less[8:], at)
		}
		c.p.Call(label, unix.SYS_LANDLOCK_ADD_RULE, rules, unix.LANDLOCK_RULE_PATH_BENEATH, less, 0).Allow(unix.EBADFD, unix.EBADF, unix.ENOMSG)
		c.p.Mark(done)
	}
	for _, r := range l.Rules {
		next := c.p.NewSpot()
		c.p.Call(label+": "+r.Path, unix.SYS_OPENAT, uintptr(0), r.Path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0).To(at).Catch(0, next)
		allow(at, r.Access)
		c.closeReg(at)
		c.p.Mark(next)
	}
	for i, f := range c.x.Stdio {
		allow(i, streamAccess(i, f))
	}
	for _, port := range l.Ports {
		// struct landlock_net_port_attr: what is allowed, and the port as a number.
		rule := binary.NativeEndian.AppendUint64(nil, unix.LANDLOCK_ACCESS_NET_CONNECT_TCP)
		c.p.Call(label, unix.SYS_LANDLOCK_ADD_RULE, rules, landlockNetPort, binary.NativeEndian.AppendUint64(rule, uint64(port)), 0)
	}
	return rules
}

// landlocked is after no_new_privs, which it takes. The rules are closed on exec.
func (c *child) landlocked(rules userns.Reg) {
	if c.x.Landlock.Handled != 0 {
		c.p.Call("landlock: restrict the process", unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0)
	}
}

// streamAccess is what may be done to a standard stream that is opened once more, by
// /dev/stdout or the like: what its descriptor allows.
func streamAccess(i int, f *os.File) uint64 {
	fd := uintptr(i)
	if f != nil {
		fd = f.Fd()
	}
	const read, write = unix.LANDLOCK_ACCESS_FS_READ_FILE, unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	access := uint64(unix.LANDLOCK_ACCESS_FS_IOCTL_DEV)
	flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	switch {
	case err != nil:
		return access
	case flags&unix.O_ACCMODE == unix.O_RDONLY:
		return access | read
	case flags&unix.O_ACCMODE == unix.O_WRONLY:
		return access | write
	}
	return access | read | write
}
