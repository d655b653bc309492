package engine

import (
	"context"
	"errors"
	"fmt"
	"os"

	"coracle/userns"

	"golang.org/x/sys/unix"
)

// startMapped starts a process as root of a new user namespace with the map,
// and of a new mount namespace; it dies with us. The last of steps is its exec.
func startMapped(ctx context.Context, m userns.Map, steps func(*userns.Program)) (*userns.Child, error) {
	return startMappedAfter(ctx, m, func(*userns.Program) {}, steps)
}

// startMappedAfter is startMapped with steps that the process takes before it
// becomes root of the namespace, with the caller's id.
func startMappedAfter(ctx context.Context, m userns.Map, before, steps func(*userns.Program)) (*userns.Child, error) {
	var p userns.Program
	before(&p)
	p.Call("become group 0", unix.SYS_SETRESGID, 0, 0, 0)
	p.Call("become user 0", unix.SYS_SETRESUID, 0, 0, 0)
	p.Call("die with the launcher", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	steps(&p)
	child, err := userns.Start(&p, unix.CLONE_NEWUSER|unix.CLONE_NEWNS)
	if err != nil {
		return nil, whyRefused(ctx, err)
	}
	err = userns.WriteMap(ctx, child.PID, m)
	if err == nil {
		err = errors.Join(child.Release(), child.WaitExec())
	}
	if err != nil {
		child.Abort()
		return nil, err
	}
	return child, nil
}

// whyRefused puts the host's reason in the place of an error about namespaces:
// it is a long story, told by trying.
func whyRefused(ctx context.Context, err error) error {
	var se *userns.StepError
	if errors.As(err, &se) && se.Step == "create namespaces" {
		if why := userns.Probe(ctx); why != nil {
			return why
		}
	}
	return err
}

// firstDir is the first descriptor of startSelfWith's directories: above all
// that this process has, its pipe to us among them.
const firstDir = 300

// startSelf starts this program again with args, and with fd3 as descriptor 3.
func startSelf(ctx context.Context, m userns.Map, args []string, fd3 *os.File) (*userns.Child, error) {
	return startSelfWith(ctx, m, args, fd3, nil)
}

// startSelfWith is startSelf with directories as descriptors from firstDir on.
// The process opens them in its own mount namespace, for those of another are
// nothing that it could mount, and while it still has the caller's id, for root
// of the map may not be let to them.
func startSelfWith(ctx context.Context, m userns.Map, args []string, fd3 *os.File, dirs []string) (*userns.Child, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("open our own executable: %w", err)
	}
	defer self.Close()
	open := func(p *userns.Program) {
		if len(dirs) == 0 {
			return
		}
		dir, placed := p.NewReg(), p.NewReg()
		for i, d := range dirs {
			p.Call("open "+d, unix.SYS_OPENAT, unix.AT_FDCWD, d, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).To(dir)
			p.Call("open "+d, unix.SYS_FCNTL, dir, unix.F_DUPFD_CLOEXEC, firstDir).To(placed)
			p.Need("open "+d+": its descriptor's number is taken", placed, uintptr(firstDir+i), unix.EMFILE)
			p.Call("", unix.SYS_CLOSE, dir)
		}
	}
	return startMappedAfter(ctx, m, open, execSelf(self, fd3, args, len(dirs)))
}

// startSelfIn starts this program again with args, and with fd3 as descriptor 3,
// as root of a user namespace that is there, with a mount namespace of its own;
// it dies with us. In there it can be traced until it forbids that, by who can
// name it: nobody in another pid namespace.
func startSelfIn(ns *os.File, args []string, fd3 *os.File) (*userns.Child, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("open our own executable: %w", err)
	}
	defer self.Close()
	var p userns.Program
	p.Call("join the user namespace", unix.SYS_SETNS, ns.Fd(), unix.CLONE_NEWUSER)
	p.Call("become group 0", unix.SYS_SETRESGID, 0, 0, 0)
	p.Call("become user 0", unix.SYS_SETRESUID, 0, 0, 0)
	p.Call("make a mount namespace", unix.SYS_UNSHARE, unix.CLONE_NEWNS)
	p.Call("die with the launcher", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	execSelf(self, fd3, args, 0)(&p)
	child, err := userns.Start(&p, 0)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(child.Release(), child.WaitExec()); err != nil {
		child.Abort()
		return nil, err
	}
	return child, nil
}

// execSelf are the steps that execute this program, with fd3 and so many
// directories from firstDir on.
func execSelf(self, fd3 *os.File, args []string, dirs int) func(p *userns.Program) {
	return func(p *userns.Program) {
		exe, conn := p.NewReg(), p.NewReg()
		p.Call("keep our executable", unix.SYS_FCNTL, self.Fd(), unix.F_DUPFD_CLOEXEC, 4).To(exe)
		p.Call("keep the socket", unix.SYS_FCNTL, fd3.Fd(), unix.F_DUPFD_CLOEXEC, 4).To(conn)
		p.Call("place the socket", unix.SYS_DUP3, conn, 3, 0)
		p.CloseExec(4)
		for i := range dirs {
			p.Call("keep a directory", unix.SYS_FCNTL, firstDir+i, unix.F_SETFD, 0)
		}
		p.Call("exec "+args[0], unix.SYS_EXECVEAT, exe, "", p.Strings(args), p.Strings(os.Environ()), unix.AT_EMPTY_PATH)
	}
}
