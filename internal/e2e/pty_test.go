package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
)

// ptyCommand runs a command on a terminal of its own and talks to it as the
// dialog says, a line a step:
//
//	expect REGEXP   wait until the output since the last match has it
//	send TEXT       type TEXT; Go escapes (\n, \x1a for ^Z, \x04 for ^D)
//	resize CxR      change the terminal's size
//	signal NUMBER   to the command
//	pause MS        let a line editor give the terminal back
//
// The whole output is the script's stdout afterwards.
func ptyCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: pty CODE DIALOG CMD ARGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	path, err := lookPath(ts, args[2])
	ts.Check(err)
	cmd := exec.Command(path, args[3:]...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), environ(ts)
	master, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: 80, Rows: 24})
	ts.Check(err)
	defer master.Close()

	screen := &screen{}
	go screen.fill(master)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()

	err = talk(ts.ReadFile(args[1]), screen, master, cmd)
	if err != nil {
		_ = cmd.Process.Kill()
	}
	select {
	case end := <-done:
		time.Sleep(50 * time.Millisecond) // what is still in the terminal's buffer
		fmt.Fprint(ts.Stdout(), screen.text())
		if err == nil && exitCode(end) != want {
			err = fmt.Errorf("exit code %d, want %d", exitCode(end), want)
		}
	case <-time.After(30 * time.Second):
		_ = cmd.Process.Kill()
		err = errors.Join(err, errors.New("did not end within 30 s of the dialog"))
	}
	if err != nil {
		ts.Fatalf("%v\nscreen: %q", err, screen.text())
	}
}

// screen collects what the terminal shows.
type screen struct {
	mu   sync.Mutex
	buf  strings.Builder
	seen int
}

func (s *screen) fill(t *os.File) {
	b := make([]byte, 4096)
	for {
		n, err := t.Read(b)
		s.mu.Lock()
		s.buf.Write(b[:n])
		s.mu.Unlock()
		if err != nil {
			return // EIO once the last user of the terminal is gone
		}
	}
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// match looks for re in what came since the last match, and moves past it.
func (s *screen) match(re *regexp.Regexp) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	loc := re.FindStringIndex(s.buf.String()[s.seen:])
	if loc == nil {
		return false
	}
	s.seen += loc[1]
	return true
}

func talk(dialog string, s *screen, t *os.File, cmd *exec.Cmd) error {
	for line := range strings.Lines(dialog) {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if verb == "" || strings.HasPrefix(verb, "#") {
			continue
		}
		if err := step(verb, rest, s, t, cmd); err != nil {
			return fmt.Errorf("%s %s: %w", verb, rest, err)
		}
	}
	return nil
}

func step(verb, rest string, s *screen, t *os.File, cmd *exec.Cmd) error {
	switch verb {
	case "expect":
		re, err := regexp.Compile(rest)
		if err != nil {
			return err
		}
		for deadline := time.Now().Add(20 * time.Second); !s.match(re); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				return errors.New("not seen within 20 s")
			}
		}
		return nil
	case "send":
		text, err := strconv.Unquote(`"` + strings.ReplaceAll(rest, `"`, `\"`) + `"`)
		if err != nil {
			return err
		}
		_, err = t.Write([]byte(text))
		return err
	case "pause":
		ms, err := strconv.Atoi(rest)
		time.Sleep(time.Duration(ms) * time.Millisecond)
		return err
	case "resize":
		var cols, rows uint16
		if _, err := fmt.Sscanf(rest, "%dx%d", &cols, &rows); err != nil {
			return err
		}
		return pty.Setsize(t, &pty.Winsize{Cols: cols, Rows: rows})
	case "signal":
		n, err := strconv.Atoi(rest)
		if err != nil {
			return err
		}
		return cmd.Process.Signal(syscall.Signal(n))
	}
	return errors.New("unknown step")
}

func lookPath(ts *testscript.TestScript, name string) (string, error) {
	if strings.Contains(name, "/") {
		return ts.MkAbs(name), nil
	}
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), ":") {
		if path, err := exec.LookPath(dir + "/" + name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: not in PATH", name)
}

// environ is the script's environment; testscript offers single variables.
func environ(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "USER", "LOGNAME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "LANG", "TMPDIR", "STORE", "RUNROOT", "WORK", "IMAGES", "BB", "BC"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return append(env, "TERM=xterm")
}
