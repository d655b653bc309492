package engine

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"coracle/internal/ctrlog"
	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

// hub joins a detached payload's streams with its log and with those who are
// attached. What the payload writes is taken off it at once: the log takes
// it, and each client has a queue of its own. A client that does not read
// loses what its queue cannot hold, and is told how much; it never holds up
// the payload or the others.
type hub struct {
	b           *box
	log         *ctrlog.Writer
	interactive bool

	mu      sync.Mutex
	clients map[*client]bool
	in      *os.File // the payload's standard input, nil without
	console *os.File // its terminal, nil without
	size    *unix.Winsize
	outs    []*os.File // what is read from
	theirs  []*os.File // the payload's ends, until it has them
	pumps   sync.WaitGroup
}

// A pipe of the largest size that the kernel gives without privilege: a payload
// that writes in bursts is not held up by a disk.
const pipeSize = 1 << 20

// logOptions is where a container's output is to go.
func logOptions(dir string, o RunOptions) (ctrlog.Options, error) {
	opts, err := ctrlog.ParseOptions(o.LogDriver, o.LogOpts)
	if err != nil {
		return opts, err
	}
	if opts.Path == "" && (opts.Driver == ctrlog.K8sFile || opts.Driver == ctrlog.JSONFile) {
		opts.Path = filepath.Join(dir, "ctr.log")
	}
	return opts, nil
}

func newHub(b *box, o RunOptions, warn func(msg, hint string)) (*hub, error) {
	opts, err := logOptions(b.dir, o)
	if err != nil {
		return nil, err
	}
	h := &hub{b: b, interactive: o.Interactive, clients: map[*client]bool{}}
	opts.ID, opts.Name = b.ID, b.Name
	opts.Warn = func(msg string) {
		warn(msg, "")
		h.note(msg)
	}
	if h.log, err = ctrlog.Open(opts); err != nil {
		return nil, fmt.Errorf("start container %s: %w", b.Name, err)
	}
	return h, nil
}

const monitorLog = "monitor.log"

// note keeps what the monitor has to say when nobody is there to hear it.
func (h *hub) note(msg string) {
	line := time.Now().UTC().Format(time.RFC3339Nano) + " " + msg + "\n"
	_ = plainfile.Write(filepath.Join(h.b.dir, monitorLog), []byte(line), 0o600, unix.O_APPEND)
}

// tell says something to whoever reads what the payload prints, now or later.
func (h *hub) tell(msg, hint string) {
	if hint != "" {
		msg += " (" + hint + ")"
	}
	h.note(msg)
	line := []byte("coracle: " + msg + "\n")
	log := h.log.Stream(ctrlog.Stderr)
	_, _ = log.Write(line)
	log.Flush()
	h.broadcast(ctrlog.Stderr, line)
}

// streams makes what the payload gets as its standard streams; with a terminal
// it is given that instead.
func (h *hub) streams(terminal bool) (child [3]*os.File, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.in, h.console, h.outs, h.theirs = nil, nil, nil, nil
	if terminal {
		return child, nil
	}
	if h.interactive {
		if child[0], h.in, err = pipeWith(false); err != nil {
			return child, err
		}
	} else if child[0], err = os.Open(os.DevNull); err != nil {
		return child, fmt.Errorf("open standard input: %w", err)
	}
	h.theirs = append(h.theirs, child[0])
	for i := 1; i <= 2; i++ {
		r, w, err := pipeWith(true)
		if err != nil {
			return child, err
		}
		child[i] = w
		h.outs, h.theirs = append(h.outs, r), append(h.theirs, w)
	}
	return child, nil
}

// pipeWith makes a pipe whose one end is ours, and does not block us.
func pipeWith(weRead bool) (r, w *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("make a pipe for the payload: %w", err)
	}
	ours := 1
	if weRead {
		ours = 0
		_, _ = unix.FcntlInt(uintptr(p[0]), unix.F_SETPIPE_SZ, pipeSize) // the user's share of pipe memory may be used up
	}
	_ = unix.SetNonblock(p[ours], true)
	return os.NewFile(uintptr(p[0]), "pipe"), os.NewFile(uintptr(p[1]), "pipe"), nil
}

// handedOver closes the payload's ends: it has its copies, or never will.
func (h *hub) handedOver() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.theirs {
		f.Close()
	}
	h.theirs = nil
}

// serve begins to copy, once the payload runs.
func (h *hub) serve(console *os.File) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if console != nil {
		// Of a descriptor that does not block, so that a reader can be stopped.
		fd, err := unix.FcntlInt(console.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		console.Close()
		if err != nil {
			return
		}
		_ = unix.SetNonblock(fd, true)
		h.console = os.NewFile(uintptr(fd), "console")
		h.in, h.outs = h.console, []*os.File{h.console}
		h.resize(h.size)
	}
	for i, out := range h.outs {
		stream := ctrlog.Stream(i)
		h.pumps.Go(func() { h.pump(stream, out) })
	}
}

func (h *hub) pump(stream ctrlog.Stream, from *os.File) {
	defer from.Close()
	buf := make([]byte, pipeSize/2) // of which who says little touches little
	log := h.log.Stream(stream)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			_, _ = log.Write(buf[:n])
			for part := range slices.Chunk(buf[:n], queueLimit/8) { // what does not fit into a queue is lost whole
				h.broadcast(stream, part)
			}
		}
		if err != nil { // EOF, EIO of a terminal that nobody has open any more, or drain
			log.Flush()
			return
		}
	}
}

func (h *hub) broadcast(stream ctrlog.Stream, data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	kind := byte(frameStdout)
	if stream == ctrlog.Stderr {
		kind = frameStderr
	}
	for c, sees := range h.clients {
		if sees {
			c.send(kind, data)
		}
	}
}

// drain waits for the last output after the payload's end. What still holds a
// pipe then is no part of the container.
func (h *hub) drain() {
	done := make(chan struct{})
	go func() {
		h.pumps.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Second):
		h.mu.Lock()
		for _, f := range h.outs {
			_ = f.SetReadDeadline(time.Now())
		}
		h.mu.Unlock()
		<-done
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.in != nil {
		h.in.Close()
	}
	h.in, h.console, h.outs = nil, nil, nil
}

// write gives input to the payload. It waits as long as that does not read.
func (h *hub) write(data []byte) {
	h.mu.Lock()
	in := h.in
	h.mu.Unlock()
	if in != nil {
		_, _ = in.Write(data) // a payload that is gone reads nothing
	}
}

// endInput is the end of a client's input: the payload's, unless it has a
// terminal, where the key for that is typed.
func (h *hub) endInput() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.in != nil && h.console == nil {
		h.in.Close()
		h.in = nil
	}
}

// resize sets the size of the terminal, now and of the next one.
func (h *hub) resize(ws *unix.Winsize) {
	h.size = ws
	if ws == nil || h.console == nil {
		return
	}
	if raw, err := h.console.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, ws) })
	}
}

// ended tells those who wait how the payload ended; with again it is about to
// be started once more, and who is attached stays.
func (h *hub) ended(exit Exit, again bool) {
	data, err := json.Marshal(exit)
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for c, sees := range h.clients {
		if !sees || !again {
			c.send(frameExit, data)
		}
	}
}

// endLog writes the last of the log: what is missing in it, where that could not
// be said before.
func (h *hub) endLog() {
	if err := h.log.Close(); err != nil {
		h.note(err.Error())
	}
}

// close ends the log, and lets go of all clients once they have what is theirs.
func (h *hub) close() {
	h.endLog()
	h.mu.Lock()
	clients := make([]*client, 0, len(h.clients))
	for c := range h.clients {
		clients = append(clients, c)
	}
	h.mu.Unlock()
	for _, c := range clients {
		c.finish()
	}
}
