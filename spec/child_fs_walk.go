package spec

import (
	"encoding/binary"
	"fmt"
	"path"
	"strings"
	"unsafe"

	"coracle/userns"

	"golang.org/x/sys/unix"
)

// Without openat2(2) the kernel does not keep a walk inside the root. A list of
// system calls cannot do it either: where a link leads is known only when it has
// been read. So the carrier walks, component by component, while the child does
// all else as it always does: it asks with a message and gets a descriptor.

// walkAsked is what stands before the name in such a message: open_how's flags
// and resolve.
const walkAsked = 16

// startWalker starts the carrier once there is a root to walk in.
func (c *child) startWalker() {
	if !c.x.lacks.openat2 {
		return
	}
	const label = "start the walk inside the root"
	if c.ns.joined(unix.CLONE_NEWPID) {
		// Until it has hidden itself, a process of that namespace with all
		// capabilities could trace the carrier, and by it see the host's files.
		c.fail(fmt.Errorf("join a pid namespace: %w", &MissingCallError{"openat2", "5.6", release()}))
		return
	}
	theirs := c.p.NewReg()
	c.walker, c.walkerPID = c.p.NewReg(), c.p.NewReg()
	fds := c.p.Bytes(make([]byte, 8))
	c.p.Call(label, unix.SYS_SOCKETPAIR, unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0, fds)
	c.p.Peek(fds, c.walker)
	c.p.Peek(fds[4:], theirs)
	c.startCarrier(label, theirs, c.root, c.walkerPID, carryWalk)
	c.closeReg(theirs)
}

// endWalker ends it, before anything of the image's can run beside it.
func (c *child) endWalker() {
	if !c.x.lacks.openat2 {
		return
	}
	c.closeReg(c.walker)
	c.waitCarrier("end the walk inside the root", c.walkerPID)
}

// askWalker is openat2 with RESOLVE_IN_ROOT by the carrier.
func (c *child) askWalker(label, name string, flags, resolve uint64, to userns.Reg) userns.Step {
	if len(name) >= unix.PathMax {
		c.fail(fmt.Errorf("%s: %w", label, unix.ENAMETOOLONG))
	}
	ask := binary.NativeEndian.AppendUint64(nil, flags)
	ask = append(binary.NativeEndian.AppendUint64(ask, resolve), name...)
	c.p.Call(label, unix.SYS_SENDTO, c.walker, ask, uintptr(len(ask)), unix.MSG_NOSIGNAL, 0, 0)
	// A carrier that has died says nothing.
	errno := c.p.Bytes(binary.NativeEndian.AppendUint64(nil, uint64(unix.EPIPE)))
	oob := c.p.Bytes(make([]byte, unix.CmsgSpace(4)))
	iov := c.p.Bytes(make([]byte, unsafe.Sizeof(unix.Iovec{})))
	v := (*unix.Iovec)(unsafe.Pointer(&iov[0]))
	v.Base = &errno[0]
	v.SetLen(len(errno))
	msg := c.p.Bytes(make([]byte, unsafe.Sizeof(unix.Msghdr{})))
	m := (*unix.Msghdr)(unsafe.Pointer(&msg[0]))
	m.Iov, m.Control = v, &oob[0]
	m.SetIovlen(1)
	m.SetControllen(len(oob))
	c.p.Call(label, unix.SYS_RECVMSG, c.walker, msg, unix.MSG_CMSG_CLOEXEC)
	return c.p.Reply(label, errno, oob[unix.CmsgLen(0):]).To(to)
}

// walkHere is openat2 for a walk that follows no links, which takes no reading:
// in a container whose processes could reach a carrier.
func (c *child) walkHere(label, name string, flags, resolve uint64, to userns.Reg) userns.Step {
	if resolve&unix.RESOLVE_NO_SYMLINKS == 0 {
		c.fail(fmt.Errorf("%s: %w", label, &MissingCallError{"openat2", "5.6", release()}))
	}
	if c.look == 0 {
		c.look = c.p.NewReg()
	}
	const parent = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	at, next := c.dir, c.look
	c.p.Call(label, unix.SYS_OPENAT, c.root, ".", parent, 0).To(at)
	parts := plainParts(name)
	last := len(parts) - 1
	for _, part := range parts[:last] {
		c.p.Call(label, unix.SYS_OPENAT, at, part, parent, 0).To(next)
		c.closeReg(at)
		at, next = next, at
	}
	step := c.p.Call(label, unix.SYS_OPENAT, at, parts[last], flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0).To(to)
	c.closeReg(at)
	if flags&unix.O_PATH != 0 {
		c.refuseLink(label, to)
	}
	return step
}

// plainParts are the components of a name in which no link is followed: ".." is
// then what it looks like.
func plainParts(name string) []string {
	name = strings.Trim(path.Clean("/"+name), "/")
	return strings.Split(name+dotIfEmpty(name), "/")
}

// refuseLink: O_PATH opens also a link.
func (c *child) refuseLink(label string, r userns.Reg) {
	other, kind := c.p.NewSpot(), c.look
	st := c.p.Bytes(make([]byte, statSize))
	c.p.Call(label, unix.SYS_FSTAT, r, st)
	c.p.Peek(st[statMode:], kind)
	c.p.Blend(kind, unix.S_IFMT, 0)
	c.p.Need(label, kind, unix.S_IFLNK, unix.EEXIST).Catch(unix.EEXIST, other)
	c.p.Need(label, kind, 0, unix.ELOOP)
	c.p.Mark(other)
}
