package engine

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"coracle/internal/foreground"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// AttachOptions say how somebody takes part in a container's streams.
type AttachOptions struct {
	Stdio
	NoStdin    bool
	DetachKeys string // "" for ctrl-p,ctrl-q; "none" for none
	SigProxy   bool
}

// Attach joins the streams of a container that a monitor runs, until it ends
// or the user leaves: Exit.Detached says so.
func (e *Engine) Attach(ctx context.Context, name string, o AttachOptions) (Exit, error) {
	c, err := e.find(name)
	if err != nil {
		return Exit{Code: 125}, err
	}
	op := "attach to container " + c.Name
	if !c.Running() {
		return Exit{Code: 125}, &Error{Op: op, Err: fmt.Errorf("it is not running but %s", c.Status), Help: "coracle start --attach " + c.Name}
	}
	keys, err := parseDetachKeys(o.DetachKeys)
	if err != nil {
		return Exit{Code: 125}, err
	}
	conn, a, err := e.knock(c.ID, doorRequest{Op: "attach", Stdin: !o.NoStdin})
	if errors.Is(err, errNoMonitor) {
		return Exit{Code: 125}, &Error{Op: op, Err: errors.New("it runs in the foreground of another command, which has its streams"), Help: "coracle exec -it " + c.Name + " sh"}
	}
	if err != nil {
		return Exit{Code: 125}, fmt.Errorf("%s: %w", op, err)
	}
	e.emit(c.event("attach"))
	s := &session{e: e, id: c.ID, conn: conn, o: o, keys: keys, tty: a.TTY, stdin: a.Stdin && !o.NoStdin}
	return s.attend(ctx)
}

// session is an attached user's side of a connection with a monitor.
type session struct {
	e     *Engine
	id    string
	conn  *os.File
	o     AttachOptions
	keys  []byte
	tty   bool
	stdin bool

	restore func()
	leave   sync.Once
	left    chan struct{} // closed when the user has typed the detach keys
	writing sync.Mutex

	printed  atomic.Uint64 // how often something was
	printing atomic.Bool   // somebody may not read it
	stuck    chan int      // takes a signal: its reader does not read
}

// patience is how long a reader may take, once the user wants to see the end.
const patience = 2 * time.Second

// attend copies until the container ends or the user leaves.
func (s *session) attend(ctx context.Context) (Exit, error) {
	s.left, s.restore, s.stuck = make(chan struct{}), func() {}, make(chan int, 1)
	told, err := foreground.CatchSignals()
	if err != nil {
		s.conn.Close()
		return Exit{Code: 125}, err
	}
	s.terminal()
	defer s.restore()
	type end struct {
		exit Exit
		err  error
	}
	over := make(chan end, 1)
	go func() {
		exit, err := s.receive()
		over <- end{exit, err}
	}()
	if s.stdin && s.o.Stdin != nil {
		go s.copyInput()
	}
	for {
		select {
		case x := <-over:
			return x.exit, x.err
		case <-s.left:
			s.conn.Close()
			return Exit{Detached: true}, nil
		case <-ctx.Done():
			s.conn.Close()
			return Exit{Code: 125}, context.Cause(ctx)
		case n := <-s.stuck:
			s.conn.Close()
			return Exit{Code: 128 + n, Detached: true}, nil
		case sig := <-told:
			n, _ := sig.(syscall.Signal)
			ends := n == unix.SIGHUP || n == unix.SIGINT || n == unix.SIGTERM || n == unix.SIGQUIT
			if s.o.SigProxy && !s.tty {
				s.proxy(n)
				if ends {
					s.leaveIfStuck(n)
				}
			} else if ends {
				s.conn.Close()
				return Exit{Code: 128 + int(n), Detached: true}, nil
			}
		}
	}
}

// leaveIfStuck ends the session, a moment after a signal that the payload has
// got, if nobody reads what is printed: what comes then is never seen, not even
// the payload's end.
func (s *session) leaveIfStuck(sig syscall.Signal) {
	n := s.printed.Load()
	time.AfterFunc(patience, func() {
		if s.printing.Load() && s.printed.Load() == n {
			select {
			case s.stuck <- int(sig):
			default: // by another signal
			}
		}
	})
}

// proxy hands a signal on to the payload.
func (s *session) proxy(sig syscall.Signal) {
	if st, err := s.e.runtimeOf(s.id).Load(s.id); err == nil {
		_ = st.Kill(context.Background(), sig, false) // one that is gone is about to be noticed
	}
}

// terminal gives the container's terminal our size, and makes ours raw.
func (s *session) terminal() {
	if !s.tty {
		return
	}
	if s.stdin && foreground.IsTerminal(s.o.Stdin) {
		if old, err := term.MakeRaw(int(s.o.Stdin.Fd())); err == nil {
			s.restore = func() { _ = term.Restore(int(s.o.Stdin.Fd()), old) }
		}
	}
	s.sendSize()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	go func() {
		for range resized {
			s.sendSize()
		}
	}()
}

func (s *session) sendSize() {
	for _, f := range []*os.File{s.o.Stdin, s.o.Stdout, s.o.Stderr} {
		if w, h, err := term.GetSize(int(foreground.FD(f))); err == nil {
			size := binary.LittleEndian.AppendUint16(nil, uint16(h))
			s.send(frameResize, binary.LittleEndian.AppendUint16(size, uint16(w)))
			return
		}
	}
}

func (s *session) send(kind byte, data []byte) {
	s.writing.Lock()
	defer s.writing.Unlock()
	_, _ = s.conn.Write(append([]byte{kind}, data...)) // a monitor that is gone is about to be noticed
}

// copyInput sends what is typed, but for the detach keys.
func (s *session) copyInput() {
	filter := detachFilter{keys: s.keys}
	if !s.tty || !foreground.IsTerminal(s.o.Stdin) {
		filter.keys = nil
	}
	buf := make([]byte, frameSize-64)
	for {
		n, err := s.o.Stdin.Read(buf)
		data, left := filter.pass(buf[:max(n, 0)])
		if len(data) > 0 {
			s.send(frameStdin, data)
		}
		if left {
			s.leave.Do(func() { close(s.left) })
			return
		}
		if err != nil {
			if s.tty {
				s.send(frameStdin, []byte{4}) // the end of a pipe is ^D on a terminal
			}
			s.send(frameEOF, nil)
			return
		}
	}
}

// receive prints what comes, until the connection ends.
func (s *session) receive() (Exit, error) {
	defer s.conn.Close()
	buf := make([]byte, 1+frameSize)
	var exit *Exit
	for {
		kind, data, err := readFrame(s.conn, buf)
		if err != nil {
			break
		}
		switch kind {
		case frameStdout:
			s.print(s.o.Stdout, data)
		case frameStderr:
			s.print(s.o.Stderr, data)
		case frameLost:
			s.e.warn(fmt.Sprintf("%d bytes of output are missing here: they were not read fast enough", binary.LittleEndian.Uint64(data)), "coracle logs has them")
		case frameExit:
			exit = &Exit{}
			if err := json.Unmarshal(data, exit); err != nil {
				return Exit{Code: 125}, fmt.Errorf("read how the container ended: %w", err)
			}
		}
	}
	if exit != nil {
		return *exit, nil
	}
	return Exit{Code: 125}, &Error{Op: fmt.Sprintf("follow container %.12s", s.id), Err: errors.New("its monitor was killed, and so the container has ended"), Help: "coracle ps -a"}
}

func (s *session) print(w io.Writer, data []byte) {
	if f, ok := w.(*os.File); ok && f != nil {
		s.printing.Store(true)
		_, _ = f.Write(data) // nobody reads any more: the payload goes on
		s.printing.Store(false)
		s.printed.Add(1)
	}
}

// detachFilter finds the keys in what is typed. What may be their beginning is
// held back until it is known not to be.
type detachFilter struct {
	keys []byte
	seen int
}

func (f *detachFilter) pass(in []byte) (out []byte, left bool) {
	if len(f.keys) == 0 {
		return in, false
	}
	for _, b := range in {
		if b != f.keys[f.seen] {
			out = append(out, f.keys[:f.seen]...)
			f.seen = 0
		}
		if b == f.keys[f.seen] {
			if f.seen++; f.seen == len(f.keys) {
				return out, true
			}
			continue
		}
		out = append(out, b)
	}
	return out, false
}

// parseDetachKeys reads docker's and podman's notation: single characters or
// ctrl-X, with commas between. Source: podman-attach(1), --detach-keys.
func parseDetachKeys(s string) ([]byte, error) {
	switch s {
	case "":
		return []byte{16, 17}, nil // ctrl-p,ctrl-q
	case "none":
		return nil, nil
	}
	var keys []byte
	for key := range strings.SplitSeq(s, ",") {
		letter, control := strings.CutPrefix(strings.ToLower(key), "ctrl-")
		switch {
		case !control && len(key) == 1:
			keys = append(keys, key[0])
		case control && len(letter) == 1 && (letter[0] >= 'a' && letter[0] <= 'z'):
			keys = append(keys, letter[0]-'a'+1)
		case control && len(letter) == 1 && strings.Contains(`@[\]^_`, letter):
			keys = append(keys, letter[0]-'@')
		default:
			return nil, &Error{Op: "read --detach-keys " + s, Err: fmt.Errorf("%q is no key", key), Help: `single characters or ctrl-a to ctrl-z, ctrl-@ [ \ ] ^ _, with commas between: ctrl-p,ctrl-q`}
		}
	}
	return keys, nil
}
