package foreground

import (
	"bytes"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// read is a read of the caller's input that is over, with nothing, once the payload
// has ended: a reader that went on would take what is typed from whoever asks for it next.
func (s *Streams) read(buf []byte) (int, error) {
	fds := []unix.PollFd{{Fd: int32(s.ended[0].Fd()), Events: unix.POLLIN}, {Fd: int32(s.in.Fd()), Events: unix.POLLIN}}
	for {
		if _, err := plainfile.Retry(func() (int, error) { return unix.Poll(fds, -1) }); err != nil {
			return 0, err
		}
		if fds[0].Revents != 0 {
			return 0, os.ErrClosed
		}
		n, err := plainfile.Retry(func() (int, error) { return unix.Read(int(fds[1].Fd), buf) })
		if err != unix.EAGAIN { // somebody else was faster, or it does not block
			return n, err
		}
	}
}

// copyInput gives the payload's pipe what is typed.
func (s *Streams) copyInput() {
	defer s.inPipe.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := s.read(buf)
		if err != nil || n == 0 {
			return
		}
		if _, err := s.inPipe.Write(buf[:n]); err != nil {
			return
		}
	}
}

// copyKeys gives the payload's terminal what is typed.
func (s *Streams) copyKeys(first int) {
	typed := IsTerminal(s.in)
	buf := make([]byte, 32<<10)
	for {
		n, err := s.read(buf)
		keys, leave := buf[:max(n, 0)], false
		if typed && s.Typed != nil {
			keys, leave = s.Typed(keys)
		}
		if _, werr := s.console.Write(keys); werr != nil {
			return
		}
		switch {
		case leave:
			close(s.left)
			return
		case (err != nil || n == 0) && !typed:
			// The end of a pipe is ^D on a terminal.
			_, _ = s.console.Write([]byte{4})
			return
		case err != nil || n == 0:
			return
		}
		if typed && bytes.IndexByte(keys, ctrlZ) >= 0 {
			s.suspend(first)
		}
	}
}

const ctrlZ = 0x1a

// raw makes the caller's terminal raw.
func (s *Streams) raw() {
	if !s.interactive || !IsTerminal(s.in) {
		return
	}
	if old, err := term.MakeRaw(int(s.in.Fd())); err == nil {
		s.restore = func() { _ = term.Restore(int(s.in.Fd()), old) }
	}
}

// suspend stops us where ^Z has stopped the payload: nobody inside would continue it, and
// nothing that is typed would reach it, ^C included. Continued by the caller's shell we
// continue it. first is the container's first process.
func (s *Streams) suspend(first int) {
	const tries, apart = 20, 5 * time.Millisecond // programs tidy up before they stop
	group := 0
	for range tries {
		var ok bool
		if group, ok = s.stopped(first); ok {
			break
		}
		if group == 0 {
			return
		}
		time.Sleep(apart)
	}
	if _, ok := s.stopped(first); !ok {
		return
	}
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, unix.SIGCONT)
	defer signal.Stop(continued)
	s.restore()
	_ = unix.Kill(0, unix.SIGTSTP) // and with us whoever is in a pipeline with us
	select {
	case <-continued:
	case <-time.After(tries * apart): // nobody is there to continue us, and the kernel has not stopped us
	}
	s.raw()
	s.copySize()
	_ = unix.Kill(-group, unix.SIGCONT)
}

// stopped says whether the payload's own group is in the foreground of its terminal, and
// stopped. Another one, 0, is a matter for the shell that is the payload.
func (s *Streams) stopped(first int) (group int, stopped bool) {
	group, err := unix.IoctlGetInt(int(s.console.Fd()), unix.TIOCGPGRP)
	if err != nil || group <= 0 {
		return 0, false
	}
	stat, err := plainfile.Read(fmt.Sprintf("/proc/%d/stat", group))
	if err != nil {
		return 0, false
	}
	// NUMBER (NAME) STATE PARENT …; the name may have anything in it.
	rest := string(stat[bytes.LastIndexByte(stat, ')')+1:])
	state, parent, _ := strings.Cut(strings.TrimSpace(rest), " ")
	parent, _, _ = strings.Cut(parent, " ")
	if parent != fmt.Sprint(first) {
		return 0, false
	}
	return group, state == "T"
}
