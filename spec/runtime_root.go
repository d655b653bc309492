package spec

import (
	"fmt"
	"os"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// OpenRoot opens the root of a container that runs, as its processes see it with
// all that is mounted there; bare is the root's own mount alone, and without
// what its processes can still change of where it is mounted. The descriptor is
// for paths only (O_PATH); who uses it must resolve inside it.
func (c *Container) OpenRoot(bare bool) (*os.File, error) {
	t, err := c.firstProcess()
	if err != nil {
		return nil, err
	}
	defer t.close()
	f, err := openRoot(t, bare)
	if err != nil {
		return nil, fmt.Errorf("open the root of container %s: %w", c.ID, err)
	}
	return f, nil
}

func openRoot(t firstProcess, bare bool) (*os.File, error) {
	if bare && probeKernel().mounts {
		return nil, errNoMounts()
	}
	return fromInside(t, func(c *child, sock *os.File) {
		const label = "open the container's root"
		if bare {
			c.openTree(label, atFDCWD, "/", false)
			c.sendFD(label, sock.Fd(), c.mount)
		} else {
			c.p.Call(label, unix.SYS_OPENAT, atFDCWD, "/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).To(c.root)
			c.sendFD(label, sock.Fd(), c.root)
		}
	})
}

// fromInside gets a descriptor that a process opens which joins the container.
func fromInside(t firstProcess, open func(c *child, sock *os.File)) (*os.File, error) {
	const kinds = unix.CLONE_NEWUSER | unix.CLONE_NEWNS
	t.flags &= kinds
	inodes := make(map[string]uint64)
	for _, k := range namespaceKinds {
		if n, ok := t.inodes[k.file]; ok && k.flag&kinds != 0 {
			inodes[k.file] = n
		}
	}
	t.inodes = inodes
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer ours.Close()
	p, err := compileFromInside(t, theirs, open)
	if err == nil {
		err = carryOutMounts(p, t)
	}
	theirs.Close()
	if err != nil {
		return nil, err
	}
	return receiveFD(ours)
}

// compileFromInside is the program of a process that joins the container, where
// it is hidden as any that does, and sends what it opens.
func compileFromInside(t firstProcess, sock *os.File, open func(c *child, sock *os.File)) (*userns.Program, error) {
	c := newJoined(&specs.Spec{}, &Extra{lacks: probeKernel()}, t)
	c.join(t)
	open(c, sock)
	return c.reportAndExit()
}
