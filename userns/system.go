package userns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"coracle/internal/plainfile"
)

// system is the machine as this package sees it. Tests put a fake root
// directory below it.
type system struct {
	root string   // put before every file name; "" is the real machine
	path []string // where programs are; empty: the usual directories
}

func realSystem() system {
	return system{path: filepath.SplitList(os.Getenv("PATH"))}
}

func (s system) file(name string) string { return s.root + name }

func (s system) read(name string) ([]byte, error) { return plainfile.Read(s.file(name)) }

// word is the trimmed content of a one-line file, "" where it is missing.
func (s system) word(name string) string {
	b, err := s.read(name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// find looks for a program where PATH says. NixOS keeps its setuid programs
// in /run/wrappers.
func (s system) find(name string) (string, bool) {
	path := s.path
	if len(path) == 0 {
		path = []string{"/run/wrappers/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"}
	}
	for _, dir := range path {
		if filepath.IsAbs(dir) && s.executable(filepath.Join(dir, name)) {
			return filepath.Join(dir, name), true
		}
	}
	return "", false
}

func (s system) executable(name string) bool {
	fi, err := os.Stat(s.file(name))
	return err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0
}

// lookupTimeout bounds what a directory server may cost: a start that hangs
// because LDAP is down helps nobody.
const lookupTimeout = 10 * time.Second

// run starts a lookup program such as getent and returns what it printed.
// fs.ErrNotExist when it is not installed.
func (s system) run(ctx context.Context, name string, args ...string) ([]byte, error) {
	path, ok := s.find(name)
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.file(path), args...)
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if msg := firstLine(stderr.String()); msg != "" {
			err = fmt.Errorf("%w: %s", err, msg)
		}
		return stdout.Bytes(), fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return stdout.Bytes(), nil
}

// exited says that a program ran and ended with this code.
func exited(err error, code int) bool {
	var e *exec.ExitError
	return errors.As(err, &e) && e.ExitCode() == code
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
