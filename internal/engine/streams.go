package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"coracle/spec"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// streams connects the caller's standard streams with the payload's. Files,
// pipes and sockets are handed over as they are: nothing is between. A
// terminal never is: through its descriptor the payload could read what is
// typed, change its settings or push input into it (TIOCSTI). There a pipe
// goes between, or with -t a terminal of the container's own.
type streams struct {
	in, out, err *os.File // the caller's
	tty          bool
	interactive  bool

	child  [3]*os.File // for the payload
	ours   []*os.File  // to be closed once the payload has its copies
	inPipe *os.File    // our end of the payload's stdin
	pumps  []func()    // copy until the end
	done   sync.WaitGroup

	console *os.File
	restore func()
	resize  chan os.Signal
}

func newStreams(o RunOptions) (*streams, error) {
	s := &streams{in: o.Stdin, out: o.Stdout, err: o.Stderr, tty: o.TTY, interactive: o.Interactive, restore: func() {}}
	if s.tty {
		return s, nil
	}
	if err := s.input(); err != nil {
		s.abandon()
		return nil, err
	}
	for i, f := range []*os.File{s.out, s.err} {
		if err := s.output(1+i, f); err != nil {
			s.abandon()
			return nil, err
		}
	}
	return s, nil
}

func isTerminal(f *os.File) bool { return f != nil && term.IsTerminal(int(f.Fd())) }

func (s *streams) input() error {
	switch {
	case !s.interactive || s.in == nil:
		null, err := os.Open(os.DevNull)
		if err != nil {
			return fmt.Errorf("open standard input: %w", err)
		}
		s.child[0], s.ours = null, append(s.ours, null)
	case isTerminal(s.in):
		r, w, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("make a pipe for standard input: %w", err)
		}
		s.child[0], s.inPipe, s.ours = r, w, append(s.ours, r)
	default:
		s.child[0] = s.in
	}
	return nil
}

func (s *streams) output(i int, f *os.File) error {
	if f == nil || !isTerminal(f) {
		s.child[i] = f
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe for output: %w", err)
	}
	s.child[i], s.ours = w, append(s.ours, w)
	s.pumps = append(s.pumps, func() {
		defer r.Close()
		_, _ = io.Copy(f, r) // a terminal that went away ends the copy
	})
	return nil
}

// start begins to copy, once the payload runs.
func (s *streams) start(p *spec.Process) {
	s.abandon()
	if s.tty {
		s.terminal(p.Console)
		return
	}
	if s.inPipe != nil {
		// Not waited for: it may sit in a read of the terminal for ever.
		go func() {
			_, _ = io.Copy(s.inPipe, s.in)
			s.inPipe.Close()
		}()
	}
	for _, pump := range s.pumps {
		s.done.Go(pump)
	}
}

// abandon closes the payload's ends.
func (s *streams) abandon() {
	for _, f := range s.ours {
		f.Close()
	}
	s.ours = nil
}

// terminal passes keys and output between the caller's terminal, which becomes
// raw, and the container's.
func (s *streams) terminal(console *os.File) {
	s.console = console
	if s.interactive && isTerminal(s.in) {
		if old, err := term.MakeRaw(int(s.in.Fd())); err == nil {
			s.restore = func() { _ = term.Restore(int(s.in.Fd()), old) }
		}
	}
	s.resize = make(chan os.Signal, 1)
	signal.Notify(s.resize, unix.SIGWINCH)
	s.copySize()
	go func() {
		for range s.resize {
			s.copySize()
		}
	}()
	if s.interactive && s.in != nil {
		go func() {
			_, _ = io.Copy(console, s.in)
			if !isTerminal(s.in) {
				// The end of a pipe is ^D on a terminal.
				_, _ = console.Write([]byte{4})
			}
		}()
	}
	s.done.Go(func() {
		_, err := io.Copy(s.out, console)
		if err != nil && !errors.Is(err, syscall.EIO) {
			return // the caller's output is gone; the payload may go on
		}
	})
}

// copySize gives the container's terminal the size of ours.
func (s *streams) copySize() {
	for _, f := range []*os.File{s.in, s.out, s.err} {
		if !isTerminal(f) {
			continue
		}
		if ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			_ = unix.IoctlSetWinsize(int(s.console.Fd()), unix.TIOCSWINSZ, ws)
			return
		}
	}
}

// size is that of the caller's terminal, nil without one.
func (s *streams) size() *specs.Box {
	for _, f := range []*os.File{s.in, s.out, s.err} {
		if w, h, err := term.GetSize(int(fdOf(f))); err == nil {
			return &specs.Box{Width: uint(w), Height: uint(h)}
		}
	}
	return nil
}

func fdOf(f *os.File) uintptr {
	if f == nil {
		return ^uintptr(0)
	}
	return f.Fd()
}

// finish waits for the last output and gives the terminal back.
func (s *streams) finish() {
	s.done.Wait()
	if s.resize != nil {
		signal.Stop(s.resize)
		close(s.resize)
		s.resize = nil
	}
	s.restore()
}
