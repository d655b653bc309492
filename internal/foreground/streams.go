package foreground

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"

	"coracle/internal/plainfile"
	"coracle/internal/signals"
	"coracle/spec"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Streams connects the caller's standard streams with the payload's. Files,
// pipes and sockets are handed over as they are: nothing is between. A
// terminal never is: through its descriptor the payload could read what is
// typed, change its settings or push input into it (TIOCSTI). There a pipe
// goes between, or with -t a terminal of the container's own.
type Streams struct {
	in, out, err *os.File // the caller's
	tty          bool
	interactive  bool

	Child  [3]*os.File // for the payload
	ours   []*os.File  // to be closed once the payload has its copies
	inPipe *os.File    // our end of the payload's stdin
	pumps  []func()    // copy until the end
	done   sync.WaitGroup

	ended   [2]*os.File    // a pipe; its write end is closed when the payload has ended
	told    chan os.Signal // has one once we were told to end
	written atomic.Int64   // bytes that readers took
	console *os.File
	restore func() // gives the caller's terminal back as it was
	resize  chan os.Signal

	// Typed is told what is typed on a terminal for the payload's terminal, and
	// says what of it the payload gets; leave ends it. nil: all of it.
	Typed func(keys []byte) (pass []byte, leave bool)
	left  chan struct{} // closed by leave

	// FilterEscapes has terminals get no escape sequences but harmless ones.
	FilterEscapes bool

	limit    int64        // most bytes of output; 0: any number
	produced atomic.Int64 // by the payload
	over     func()       // told once that it is more
}

// NewLimited is New for a payload that may print so many bytes, of both streams
// together: what is more is thrown away, and over is told once.
func NewLimited(stdio Stdio, tty bool, limit int64, over func()) (*Streams, error) {
	return (&Streams{limit: limit, over: sync.OnceFunc(over)}).make(stdio, tty, true)
}

// New makes what a payload gets. With tty it has a terminal of its own; without
// interactive nothing to read.
func New(stdio Stdio, tty, interactive bool) (*Streams, error) {
	return (&Streams{}).make(stdio, tty, interactive)
}

func (s *Streams) make(stdio Stdio, tty, interactive bool) (*Streams, error) {
	s.in, s.out, s.err, s.tty, s.interactive = stdio.Stdin, stdio.Stdout, stdio.Stderr, tty, interactive
	s.restore, s.left = func() {}, make(chan struct{})
	if s.tty {
		return s, s.pipe()
	}
	if err := s.input(); err != nil {
		s.Abandon()
		return nil, err
	}
	for i, f := range []*os.File{s.out, s.err} {
		if err := s.output(1+i, f); err != nil {
			s.Abandon()
			return nil, err
		}
	}
	if s.direct() {
		return s, nil
	}
	return s, s.pipe()
}

// direct says that nothing is between the payload and who reads what it writes.
func (s *Streams) direct() bool { return !s.tty && len(s.pumps) == 0 && s.inPipe == nil }

// pipe makes what tells the pumps that the payload has ended.
func (s *Streams) pipe() (err error) {
	if s.ended[0], s.ended[1], err = os.Pipe(); err != nil {
		s.Abandon()
		return fmt.Errorf("make a pipe: %w", err)
	}
	return nil
}

// IsTerminal says whether f is one; nil is none.
func IsTerminal(f *os.File) bool { return f != nil && term.IsTerminal(int(f.Fd())) }

func (s *Streams) input() error {
	switch {
	case !s.interactive || s.in == nil:
		null, err := os.Open(os.DevNull)
		if err != nil {
			return fmt.Errorf("open standard input: %w", err)
		}
		s.Child[0], s.ours = null, append(s.ours, null)
	case IsTerminal(s.in):
		r, w, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("make a pipe for standard input: %w", err)
		}
		s.Child[0], s.inPipe, s.ours = r, w, append(s.ours, r)
	default:
		s.Child[0] = s.in
	}
	return nil
}

// oneStream says whether what is written to both comes to the same reader or place.
func oneStream(f, g *os.File) bool {
	if f == g {
		return true
	}
	if f == nil || g == nil {
		return false
	}
	a, err := f.Stat()
	if err != nil || a.Mode().IsRegular() { // which have a position each
		return false
	}
	b, err := g.Stat()
	return err == nil && os.SameFile(a, b)
}

func (s *Streams) output(i int, f *os.File) error {
	if f == nil || !IsTerminal(f) && s.limit == 0 {
		s.Child[i] = f
		return nil
	}
	if i == 2 && s.Child[1] != s.out && oneStream(s.out, f) {
		s.Child[2] = s.Child[1] // in the order in which it is written
		return nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe for output: %w", err)
	}
	s.Child[i], s.ours = w, append(s.ours, w)
	s.pumps = append(s.pumps, func() {
		defer r.Close()
		s.pump(f, r)
	})
	return nil
}

// Start begins to copy, once the payload runs.
func (s *Streams) Start(p *spec.Process) error {
	s.Abandon()
	if s.direct() {
		return nil
	}
	s.told = make(chan os.Signal, 1)
	if err := signals.Notify(s.told, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT); err != nil {
		return err
	}
	if s.tty {
		s.terminal(p)
		return nil
	}
	if s.inPipe != nil {
		go s.copyInput()
	}
	for _, pump := range s.pumps {
		s.done.Go(pump)
	}
	return nil
}

// Abandon closes the payload's ends.
func (s *Streams) Abandon() {
	for _, f := range s.ours {
		f.Close()
	}
	s.ours = nil
}

// terminal passes keys and output between the caller's terminal, which becomes
// raw, and the container's.
func (s *Streams) terminal(p *spec.Process) {
	s.console = p.Console
	s.raw()
	s.resize = make(chan os.Signal, 1)
	signal.Notify(s.resize, unix.SIGWINCH)
	s.copySize()
	go func() {
		for range s.resize {
			s.copySize()
		}
	}()
	if s.interactive && s.in != nil {
		go s.copyKeys(p.PID)
	}
	s.done.Go(func() { s.pump(s.out, s.console) })
}

// Console is our end of the payload's terminal, once it runs.
func (s *Streams) Console() *os.File { return s.console }

// pump copies until the source ends, or until the payload has ended and
// nothing more comes: a daemon that outlives it (--pid host) may hold the other
// end for ever. When the destination fails the rest is read and thrown away,
// so that the payload does not block on a full pipe that nobody empties.
func (s *Streams) pump(to, from *os.File) {
	const quiet = 200 // ms without output after the end
	buf := make([]byte, 32<<10)
	clean, end := s.filterFor(to)
	defer end()
	fds := []unix.PollFd{{Fd: int32(from.Fd()), Events: unix.POLLIN}, {Fd: int32(s.ended[0].Fd()), Events: unix.POLLIN}}
	wait, failed := -1, false
	for {
		n, err := plainfile.Retry(func() (int, error) { return unix.Poll(fds, wait) })
		switch {
		case err != nil || n == 0:
			return
		case fds[0].Revents != 0:
			n, err := plainfile.Retry(func() (int, error) { return unix.Read(int(fds[0].Fd), buf) })
			if err == unix.EAGAIN {
				continue
			}
			if err != nil || n <= 0 {
				return // EIO: the last one has closed the terminal
			}
			if n = s.allow(n); n > 0 && !failed && to != nil {
				_, err = to.Write(clean(buf[:n]))
				failed = err != nil
				s.written.Add(int64(n))
			}
		default: // the payload has ended
			wait, fds = quiet, fds[:1]
		}
	}
}

// filterFor is what of the payload's output goes to a file of the caller's, and what
// ends it.
func (s *Streams) filterFor(to *os.File) (clean func([]byte) []byte, end func()) {
	if !s.FilterEscapes || !IsTerminal(to) {
		return func(p []byte) []byte { return p }, func() {}
	}
	var e escapes
	return e.filter, func() { _, _ = to.Write(e.end()) }
}

// allow says how many of n bytes the payload may still print.
func (s *Streams) allow(n int) int {
	more := s.produced.Add(int64(n)) - s.limit
	if s.limit == 0 || more <= 0 {
		return n
	}
	s.over()
	return max(0, n-int(min(more, int64(n))))
}

// copySize gives the container's terminal the size of ours.
func (s *Streams) copySize() {
	for _, f := range []*os.File{s.in, s.out, s.err} {
		if !IsTerminal(f) {
			continue
		}
		if ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			_ = unix.IoctlSetWinsize(int(s.console.Fd()), unix.TIOCSWINSZ, ws)
			return
		}
	}
}

// Size is that of the caller's terminal, nil without one.
func (s *Streams) Size() *specs.Box {
	for _, f := range []*os.File{s.in, s.out, s.err} {
		if w, h, err := term.GetSize(int(FD(f))); err == nil {
			return &specs.Box{Width: uint(w), Height: uint(h)}
		}
	}
	return nil
}

// FD is f's descriptor, and none for nil.
func FD(f *os.File) uintptr {
	if f == nil {
		return ^uintptr(0)
	}
	return f.Fd()
}

// Finish waits for the last output and gives the terminal back. A reader may
// be slow for as long as it likes; once we are told to end it must go on
// reading, and a signal now ends it at once.
func (s *Streams) Finish(hurry <-chan os.Signal, limit time.Duration) {
	if s.direct() {
		return // the payload has written it all itself
	}
	s.ended[1].Close()
	drained := make(chan struct{})
	go func() {
		s.done.Wait()
		close(drained)
	}()
	var late <-chan time.Time
	if limit > 0 {
		late = time.After(limit)
	}
	stalled := time.NewTicker(time.Second)
	defer stalled.Stop()
	for last, wait := s.written.Load(), true; wait; {
		select {
		case <-drained:
			wait = false
		case <-hurry:
			wait = false
		case <-late:
			wait = false
		case <-stalled.C:
			now := s.written.Load()
			wait = len(s.told) == 0 || now != last
			last = now
		}
	}
	if s.resize != nil {
		signal.Stop(s.resize)
	}
	signals.Stop(s.told)
	s.restore()
}
