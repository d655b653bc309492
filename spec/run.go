package spec

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"coracle/fuse"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// Process is a container's first process, seen from its launcher.
type Process struct {
	PID     int
	Console *os.File // the terminal's master, the caller's to close; nil without a terminal
	Tun     *os.File // the device of Extra.Tun, the caller's to close; nil without
	Scratch *os.File // the tmpfs of Extra.HandScratch, likewise; opened with O_PATH

	child *userns.Child
	fuse  *userns.Child // the file system's server, if there is one
	stub  *os.File      // of further guards, ours to close; nil: the caller's

	// The mount namespace is held so that the payload's end does not wait until
	// it is taken apart: the launcher has other things to do meanwhile.
	mounts    *os.File
	unmounted chan struct{} // closed when it is let go

	strays *os.File // the mount namespace, if those who are left in it are to end: endStrays

	mu    sync.Mutex
	guard *userns.Guard // nil once the end has begun
	over  *userns.Guard // it, then
}

func (p *Process) abort() {
	p.child.Abort()
	p.release()
	if p.Console != nil {
		p.Console.Close()
	}
	if p.Tun != nil {
		p.Tun.Close()
	}
	if p.Scratch != nil {
		p.Scratch.Close()
	}
}

// release ends what serves the container, which is over.
func (p *Process) release() {
	p.mu.Lock()
	g := p.guard
	p.guard = nil
	p.mu.Unlock()
	if g != nil {
		g.Stop()
	}
	p.endStrays()
	if p.mounts != nil { // it was not waited for
		p.mounts.Close()
		p.mounts = nil
	}
	if p.fuse != nil {
		// It ends with the mount's last user; that can be a process that
		// outlives the container (--pid host), which loses its root then.
		if !p.fuse.WaitFor(time.Second) {
			_ = p.fuse.Kill()
			_, _, _ = p.fuse.Wait()
		}
		p.fuse.Close()
		p.fuse = nil
	}
	if p.stub != nil {
		p.stub.Close()
		p.stub = nil
	}
}

// watch puts a new guard in the place of one that was killed; where that is not
// possible the container ends: it must not outlive its launcher.
func (p *Process) watch(stub *os.File) {
	for {
		p.mu.Lock()
		g := p.guard
		p.mu.Unlock()
		if g == nil {
			return
		}
		g.Wait()
		p.mu.Lock()
		if p.guard == nil {
			p.mu.Unlock()
			return
		}
		fresh, err := userns.StartGuard(stub, p.child.PIDFD)
		if err != nil {
			_ = p.Signal(unix.SIGKILL)
			p.mu.Unlock()
			return
		}
		p.guard = fresh
		p.mu.Unlock()
		g.Stop()
	}
}

// Signal sends a signal to the first process; one that is gone is no error.
func (p *Process) Signal(sig syscall.Signal) error {
	err := unix.PidfdSendSignal(int(p.child.PIDFD.Fd()), sig, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("send signal %d to the container: %w", sig, err)
	}
	return nil
}

// Wait reaps the first process, and with it the whole container, the guard
// and the file system's server.
func (p *Process) Wait() (syscall.WaitStatus, *syscall.Rusage, error) {
	ws, ru, err := p.WaitPayload()
	p.Release()
	return ws, ru, err
}

// WaitPayload is Wait without the guard and the server, which end meanwhile;
// Release, which must follow, waits for those.
func (p *Process) WaitPayload() (syscall.WaitStatus, *syscall.Rusage, error) {
	ws, ru, err := p.child.Wait()
	p.endStrays()
	if m := p.mounts; m != nil {
		p.mounts, p.unmounted = nil, make(chan struct{})
		go func() {
			m.Close()
			close(p.unmounted)
		}()
	}
	p.mu.Lock()
	if p.guard != nil {
		p.guard.HangUp()
		p.over, p.guard = p.guard, nil // no new one in its place
	}
	p.mu.Unlock()
	return ws, ru, err
}

// Release comes after WaitPayload.
func (p *Process) Release() {
	if p.unmounted != nil {
		<-p.unmounted
	}
	if p.over != nil {
		p.over.Wait()
	}
	p.release()
	p.child.Close()
}

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs"), nil
}

// receiveFD takes one descriptor; the other side's death is an error.
func receiveFD(sock *os.File) (*os.File, error) {
	buf, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	for {
		_, n, _, _, err := unix.Recvmsg(int(sock.Fd()), buf, oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("receive a descriptor: %w", err)
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil || len(msgs) != 1 {
			return nil, fmt.Errorf("receive a descriptor: the container's first process ended before it sent one")
		}
		fds, err := unix.ParseUnixRights(&msgs[0])
		if err != nil || len(fds) != 1 {
			return nil, fmt.Errorf("receive a descriptor: %w", err)
		}
		return os.NewFile(uintptr(fds[0]), "received"), nil
	}
}

// startFuse takes the file system's descriptor from the child and starts its
// server in the child's user namespace (and no other of its namespaces).
func startFuse(sock, ns, log *os.File, f *fuse.Fuse) (*userns.Child, error) {
	dev, err := receiveFD(sock)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", f.Argv[0], err)
	}
	defer dev.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", f.Argv[0], err)
	}
	defer null.Close()
	if log == nil {
		log = null
	}
	var p userns.Program
	fd := p.NewReg()
	all := p.Bytes([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	p.Call("join the user namespace", unix.SYS_SETNS, ns.Fd(), unix.CLONE_NEWUSER)
	p.Call("become group 0", unix.SYS_SETRESGID, 0, 0, 0)
	p.Call("become user 0", unix.SYS_SETRESUID, 0, 0, 0)
	p.Call("leave the session", unix.SYS_SETSID)
	p.Call("block signals", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, all, 0, 8)
	p.Call("set the umask to 0", unix.SYS_UMASK, 0)
	for i, to := range []*os.File{null, log, log} {
		p.Call("place a standard stream", unix.SYS_DUP3, to.Fd(), i, 0)
	}
	p.Call("keep the descriptor", unix.SYS_FCNTL, dev.Fd(), unix.F_DUPFD_CLOEXEC, f.ServerFD+1).To(fd)
	p.Call("place the descriptor", unix.SYS_DUP3, fd, f.ServerFD, 0)
	p.CloseExec(uint(f.ServerFD) + 1)
	p.Call("exec "+f.Argv[0], unix.SYS_EXECVE, f.Argv[0], p.Strings(f.Argv), p.Strings([]string{"PATH=/usr/bin:/bin"}))
	s, err := userns.Start(&p, 0)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", f.Argv[0], err)
	}
	if err := s.Release(); err != nil {
		s.Abort()
		return nil, fmt.Errorf("start %s: %w", f.Argv[0], err)
	}
	if err := s.WaitExec(); err != nil {
		s.Abort()
		return nil, fmt.Errorf("start %s: %w", f.Argv[0], err)
	}
	return s, nil
}

// Detach leaves the process to itself: it is not waited for, and has no guard.
func (p *Process) Detach() {
	if p.Console != nil {
		p.Console.Close()
	}
	if p.mounts != nil {
		p.mounts.Close()
	}
	p.child.Close()
}
