package denial

import (
	"encoding/binary"
	"errors"
	"os"
	"time"
	"unsafe"

	"coracle/spec/seccomp"

	"golang.org/x/sys/unix"
)

// Listener answers the notifications of a filter that seccomp.Observed has made.
type Listener struct {
	// Filter is the one that enforces: it decides, by the numbers of the call alone.
	Filter []unix.SockFilter
	// Refused hears of calls that the filter refuses, Tried of paths, Dialled of
	// internet addresses (without one: of the loopback, where only the host has that port),
	// Named of abstract sockets that only the host has. All come from one goroutine, and must
	// not wait.
	Refused func(d seccomp.Data)
	Tried   func(a Access)
	Dialled func(d Dial)
	Named   func(socket string)
	// Closed says that the sandbox's own loopback is: Dialled hears of all that is for it,
	// and of who wants to listen.
	Closed bool

	fd    *os.File
	stopR *os.File
	stopW *os.File
	ended chan struct{} // closed when nobody answers any more
	root  *os.File      // the sandbox's root, once a process of it was seen
}

// notification is struct seccomp_notif.
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	val   int64
	err   int32
	flags uint32
}

// Serve answers from a goroutine of its own, until Stop. The listener is closed then.
func (l *Listener) Serve(listener *os.File) error {
	l.fd = listener
	var err error
	if l.stopR, l.stopW, err = os.Pipe(); err != nil {
		return err
	}
	// The one who asks sleeps until it is answered: both may stay on one processor.
	const syncWakeUp = 1 // SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, Linux 6.6
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, listener.Fd(), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, syncWakeUp)
	l.ended = make(chan struct{})
	go l.loop(int32(l.stopR.Fd()), int32(l.fd.Fd()))
	return nil
}

// patience bounds the waiting for a path that is being looked at: it may be of a network
// file system that does not answer.
const patience = 2 * time.Second

// Stop comes after the end of the sandbox's processes: those that are left get ENOSYS.
// False: the last look at a path has not come to an end, and may go on.
func (l *Listener) Stop() bool {
	if l == nil || l.stopW == nil {
		return true
	}
	l.stopW.Close()
	l.stopW = nil
	select {
	case <-l.ended:
	case <-time.After(patience):
		return false // with its descriptors
	}
	l.stopR.Close()
	l.fd.Close()
	if l.root != nil {
		l.root.Close()
		l.root = nil
	}
	return true
}

func (l *Listener) loop(stop, fd int32) {
	defer close(l.ended)
	var waiting []notification
	for {
		fds := []unix.PollFd{{Fd: fd, Events: unix.POLLIN}, {Fd: stop, Events: unix.POLLIN}}
		timeout := -1
		if len(waiting) > 0 {
			timeout = 0
		}
		if _, err := unix.Poll(fds, timeout); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		switch {
		case fds[0].Revents&unix.POLLIN != 0:
			// All that ask are heard first: from then on no signal disturbs them.
			if n, ok := next(uintptr(fd)); ok {
				waiting = append(waiting, n)
			}
		case len(waiting) > 0:
			r := l.answer(uintptr(fd), &waiting[0])
			_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&r))) // ENOENT: it is gone
			waiting = waiting[1:]
		case fds[0].Revents != 0 || fds[1].Revents != 0:
			return // nobody has the filter any more, or it is over
		}
	}
}

// next takes a notification; none, where who asked was interrupted, and asks again.
func next(fd uintptr) (n notification, ok bool) {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n)))
	return n, errno == 0
}

// answer decides by what the filter says, which looks at nothing but numbers: these
// cannot change any more. What is told of paths decides nothing.
func (l *Listener) answer(fd uintptr, n *notification) response {
	d := seccomp.Data{Nr: uint32(n.nr), Arch: n.arch, Args: n.args}
	r := response{id: n.id}
	verdict := seccomp.Answer(l.Filter, d)
	switch action := verdict & unix.SECCOMP_RET_ACTION_FULL; {
	case action == unix.SECCOMP_RET_ERRNO:
		r.err = -int32(verdict & unix.SECCOMP_RET_DATA)
		l.Refused(d)
		return r
	case action != unix.SECCOMP_RET_ALLOW && action != unix.SECCOMP_RET_LOG:
		r.err = -int32(unix.EPERM)
		return r
	}
	r.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	l.look(fd, n)
	return r
}

// look finds out what a call is about, and tells it if the caller is still the one that
// was looked at.
func (l *Listener) look(fd uintptr, n *notification) {
	t := task{l: l, pid: int(n.pid)}
	nr, args := uint32(n.nr), n.args
	if !seccomp.Native(seccomp.Data{Nr: nr, Arch: n.arch}) {
		var known bool
		if nr, args, known = t.from386(nr, args); !known {
			return
		}
	}
	switch nr {
	case unix.SYS_CONNECT:
		l.tell(fd, n, t.connect(args))
		return
	case unix.SYS_BIND:
		l.tell(fd, n, t.bind(args))
		return
	}
	wants, count := wanted(nr, args)
	var seen []Access
	for _, w := range wants[:count] {
		if w.how != 0 {
			if how, ok := t.memory(w.how, 8); ok && len(how) == 8 {
				w.action, w.noFollow = openFlags(binary.NativeEndian.Uint64(how))
			}
		}
		if a, ok := t.access(w); ok {
			seen = append(seen, a)
		}
	}
	if len(seen) == 0 || !valid(fd, n.id) {
		return
	}
	for _, a := range seen {
		l.Tried(a)
	}
}

// tell tells what was found out, if anything, of a caller that is still there.
func (l *Listener) tell(fd uintptr, n *notification, told func()) {
	if told != nil && valid(fd, n.id) {
		told()
	}
}

// valid says whether the process that asked still waits, and so has had its pid all along.
func valid(fd uintptr, id uint64) bool {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_ID_VALID, uintptr(unsafe.Pointer(&id)))
	return errno == 0
}
