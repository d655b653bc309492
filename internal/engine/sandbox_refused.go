package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"coracle/internal/denial"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// explainStart puts why the command never ran in words.
func (s *boxed) explainStart(err error) (Exit, error) {
	var ee *userns.ExecError
	if errors.As(err, &ee) {
		if ee.Errno == unix.EACCES && s.nowhere(s.o.Command[0]) {
			ee.Errno = unix.ENOENT
		}
		why := explainCommand(s.o.Command[0], "the sandbox", "sight: name it with --ro", ee)
		return Exit{Code: why.Code}, why
	}
	var se *userns.StepError
	if !errors.As(err, &se) {
		return Exit{Code: 125}, fmt.Errorf("start the sandbox: %w", err)
	}
	if why := cmp.Or(refusedStep(se), s.foreignPlace(se)); why != nil {
		return Exit{Code: 125}, why
	}
	if why := whyRefused(context.Background(), err); why != err { //nolint:errorlint // the same error comes back where there is nothing to say
		return Exit{Code: 125}, fmt.Errorf("start the sandbox: %w", why)
	}
	return Exit{Code: 125}, &Error{Op: "start the sandbox", Err: err, Help: stepHint(se)}
}

// refusedStep is for steps that the kernel refuses for a reason of the sandbox's own.
func refusedStep(se *userns.StepError) error {
	switch {
	case se.Errno == unix.EBUSY && strings.HasPrefix(se.Step, "linux.seccomp: load"): // one listener is all that a process can have
		return &Error{Op: "record what is refused", Err: errors.New("somebody watches our own system calls already"), Help: "--denials none"}
	case se.Errno == unix.ERANGE && strings.HasPrefix(se.Step, "set the time offsets"):
		return &Error{Op: "--time-offset", Err: errors.New("a clock would stand before its beginning, or centuries ahead"), Help: "/proc/uptime says how long the host has been running"}
	case se.Errno == unix.EINVAL && strings.HasPrefix(se.Step, "mount overlay on "):
		return &Error{Op: "start the sandbox", Err: fmt.Errorf("the kernel lays no overlay over what is there: %w", se), Help: "--cwd rw or --cwd ro, or --rw or --ro of what was to be copy-on-write"}
	case se.Errno == unix.EINVAL && strings.HasPrefix(se.Step, "make a time namespace"):
		return &Error{Op: "--time-offset", Err: errors.New("this kernel has no time namespaces: they came with Linux 5.6"), Help: "leave it out"}
	}
	return nil
}

// foreignPlace is for a place in a directory of an image's, or of another root's, that
// only another user may enter or write to: the sandbox has no other id than the caller's.
func (s *boxed) foreignPlace(se *userns.StepError) error {
	step, made := strings.CutSuffix(se.Step, ": make the target")
	if !made {
		step, made = strings.CutSuffix(se.Step, ": open the target")
	}
	if !made || se.Errno != unix.EACCES || !s.ownRoot() {
		return nil
	}
	for _, at := range s.plan.Places {
		if !strings.HasSuffix(step, " on "+at.Path) {
			continue
		}
		dir := filepath.Dir(at.Path)
		for dir != "/" {
			if _, err := s.o.Tree.Lstat(dir); err == nil {
				break
			}
			dir = filepath.Dir(dir) // it is not there, or in one that may not be entered
		}
		return &Error{Op: cmp.Or(at.Flag, "show "+at.Path), Err: fmt.Errorf("%s belongs to another user of the root's, and nothing can be shown in it: the sandbox has your id only", dir),
			Help: "--tmpfs " + denial.Word(dir) + " puts an empty directory in its place"}
	}
	return nil
}

// nowhere says that a word is in no directory of PATH that can be searched: a directory
// that cannot be is no reason to say that the command may not be executed.
func (s *boxed) nowhere(word string) bool {
	if strings.Contains(word, "/") || s.ownRoot() {
		return false
	}
	for _, e := range s.plan.Env {
		for _, dir := range filepath.SplitList(strings.TrimPrefix(e, "PATH=")) {
			if strings.HasPrefix(e, "PATH=") && unix.Access(filepath.Join(dir, word), unix.F_OK) == nil {
				return false
			}
		}
	}
	return true
}
