package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"coracle/internal/foreground"
	"coracle/internal/plainfile"
	"coracle/spec"

	"golang.org/x/sys/unix"
)

// SandboxStreams are the standard streams that were asked for, and the descriptors
// by which a script follows a sandbox.
type SandboxStreams struct {
	Stdin          string // none, inherit or a file; "" is inherit
	Stdout, Stderr string // files; "" is the caller's
	StatusFD       string // --json-status-fd
	BlockFD        string // --block-fd
}

const (
	stdinNone    = "none"
	stdinInherit = "inherit"
)

// checkStreams finds out before anything begins that a stream cannot be the command's,
// or that a descriptor is not there.
func (s *boxed) checkStreams() error {
	for i, f := range []*os.File{s.o.Stdin, s.o.Stdout, s.o.Stderr} {
		if named := []string{s.o.Streams.Stdin, s.o.Streams.Stdout, s.o.Streams.Stderr}[i]; named != "" && named != stdinInherit {
			continue // another one takes its place
		}
		if err := refuseDirectory(fmt.Sprintf("descriptor %d", i), f); err != nil {
			return err
		}
	}
	for _, x := range [][2]string{{"--json-status-fd", s.o.Streams.StatusFD}, {"--block-fd", s.o.Streams.BlockFD}} {
		if flag, word := x[0], x[1]; word != "" && !inherited(word) {
			return &Error{Op: flag + " " + word, Err: errors.New("that descriptor is not open"), Help: "for instance: " + flag + " 3, and 3>FILE or 3<FILE"}
		}
	}
	return nil
}

// refuseDirectory is for standard streams: from a directory "..", and so all of the
// host's files, could be reached by its descriptor.
func refuseDirectory(op string, f *os.File) error {
	var st unix.Stat_t
	if f == nil || unix.Fstat(int(f.Fd()), &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	return &Error{Op: op, Err: errors.New("it is a directory, which leads out of the sandbox"), Help: "</dev/null"}
}

// inherited says whether a word is the number of a descriptor that the caller has given
// us: those that we have opened are all closed on exec, and nobody's to name.
func inherited(word string) bool {
	n, err := strconv.ParseUint(word, 10, 20)
	if err != nil {
		return false
	}
	flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
	return err == nil && flags&unix.FD_CLOEXEC == 0
}

// openStreams gives the command's streams; what it opens is the caller's to close.
func (s *boxed) openStreams() (stdio Stdio, opened []*os.File, err error) {
	stdio = s.o.Stdio
	w := s.o.Streams
	for _, x := range []struct {
		flag, name string
		flags      int
		to         **os.File
	}{
		{"--stdin", w.Stdin, unix.O_RDONLY | unix.O_NOCTTY, &stdio.Stdin},
		{"--stdout", w.Stdout, unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC | unix.O_NOCTTY, &stdio.Stdout},
		{"--stderr", w.Stderr, unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC | unix.O_NOCTTY, &stdio.Stderr},
	} {
		switch {
		case x.name == "" || x.flag == "--stdin" && x.name == stdinInherit:
			continue
		case x.flag == "--stdin" && x.name == stdinNone:
			*x.to = nil
			continue
		case x.flag == "--stderr" && w.Stderr == w.Stdout:
			*x.to = stdio.Stdout // one file, one position in it
			continue
		}
		f, err := plainfile.Open(x.name, x.flags, 0o666)
		if err != nil {
			return stdio, opened, &Error{Op: x.flag + " " + x.name, Err: errors.Unwrap(err), Help: "name a file that can be opened; ./none is a file called so"}
		}
		*x.to, opened = f, append(opened, f)
		if err := refuseDirectory(x.flag+" "+x.name, f); err != nil {
			return stdio, opened, err
		}
	}
	return stdio, opened, nil
}

// makeStreams connects the command's streams; past --max-output its end is asked for.
func (s *boxed) makeStreams(stdio Stdio, terminal bool) (err error) {
	if limit := s.o.Options.Limits.MaxOutput; limit == 0 {
		s.streams, err = foreground.New(stdio, terminal, true)
	} else {
		s.flooded = make(chan struct{})
		s.streams, err = foreground.NewLimited(stdio, terminal, int64(limit), func() { close(s.flooded) })
	}
	if err == nil {
		s.streams.FilterEscapes = s.o.Options.FilterEscapes
	}
	return err
}

// block waits until there is something to read from --block-fd, or its end.
func (s *boxed) block() error {
	if s.o.Streams.BlockFD == "" {
		return nil
	}
	// Who blocks it wants to prepare something for it by its number.
	if pid := s.r.newborn.PID(); pid > 0 {
		s.toldPID = pid
		s.status(statusPID, pid)
	}
	n, _ := strconv.Atoi(s.o.Streams.BlockFD) // checked
	var one [1]byte
	if _, err := plainfile.Retry(func() (int, error) { return unix.Read(n, one[:]) }); err != nil {
		return &Error{Op: "--block-fd " + s.o.Streams.BlockFD, Err: err, Help: "the command waits until something is written there"}
	}
	return nil
}

// status writes a line for --json-status-fd, in bubblewrap's words.
func (s *boxed) status(what string, value int) {
	if s.o.Streams.StatusFD == "" {
		return
	}
	n, _ := strconv.Atoi(s.o.Streams.StatusFD) // checked
	line, _ := json.Marshal(map[string]int{what: value})
	if _, err := plainfile.Retry(func() (int, error) { return unix.Write(n, append(line, '\n')) }); err != nil {
		s.e.warn(fmt.Sprintf("write to --json-status-fd %d: %v", n, err), "")
	}
}

const statusPID = "child-pid"

func (s *boxed) running(p *spec.Process) {
	if s.toldPID != p.PID {
		s.status(statusPID, p.PID)
	}
}
