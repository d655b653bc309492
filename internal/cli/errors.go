package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// usageError is a command line that cannot be meant.
type usageError struct{ msg, hint string }

func (e *usageError) Error() string { return e.msg }
func (e *usageError) Hint() string  { return e.hint }

// hintOf is the first hint in the chain of err, outermost first.
func hintOf(err error) string {
	var hint string
	walk(err, 0, func(e error, _ int) bool {
		if h, ok := e.(interface{ Hint() string }); ok { //nolint:errorlint // walk unwraps
			hint = h.Hint()
		}
		return hint == ""
	})
	return hint
}

// exitCode is what the process returns for err: 125, unless something in the
// chain knows better (126 and 127 of a command that cannot be executed).
func exitCode(err error) int {
	code := exitOurs
	walk(err, 0, func(e error, _ int) bool {
		if c, ok := e.(interface{ ExitCode() int }); ok && c.ExitCode() != 0 { //nolint:errorlint // walk unwraps
			code = c.ExitCode()
		}
		return code == exitOurs
	})
	return code
}

// walk visits err and all it wraps, depth first, until visit returns false.
func walk(err error, depth int, visit func(e error, depth int) bool) bool {
	if err == nil {
		return true
	}
	if !visit(err, depth) {
		return false
	}
	switch e := err.(type) { //nolint:errorlint // this is the unwrapping
	case interface{ Unwrap() error }:
		return walk(e.Unwrap(), depth+1, visit)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if !walk(inner, depth+1, visit) {
				return false
			}
		}
	}
	return true
}

// doing says what was being done to what, where the error does not yet.
func doing(op, object string, err error) error {
	if err == nil || strings.HasPrefix(err.Error(), op) {
		return err
	}
	return fmt.Errorf("%s %s: %w", op, object, err)
}

// printError writes `error:` and `hint:`, the log line where a log was asked
// for, and with --debug the chain.
func (a *app) printError(err error) {
	// stdout first, so that the two do not change order on a terminal.
	_ = a.out.Flush()
	fmt.Fprintf(a.err, "error: %s\n", indentLines(err.Error()))
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(a.err, "hint: %s\n", indentLines(hint))
	}
	if a.logs.toFile() {
		a.logs.error(err.Error())
	}
	if !a.global.Debug {
		return
	}
	walk(err, 0, func(e error, depth int) bool {
		a.logs.debug("error chain", "depth", depth, "type", fmt.Sprintf("%T", e), "message", e.Error())
		return true
	})
}

// warn writes one line that does not stop the command.
func (a *app) warn(msg, hint string) {
	if !a.hushed {
		fmt.Fprintf(a.err, "warning: %s\n", indentLines(msg))
	}
	if hint != "" && !a.hushed {
		fmt.Fprintf(a.err, "hint: %s\n", indentLines(hint))
	}
	if a.logs.toFile() {
		a.logs.warn(msg)
	}
}

// indentLines keeps the lines of joined errors, indented, so that no message
// can put on a line of its own what looks like ours.
func indentLines(s string) string {
	return strings.ReplaceAll(visibleText(strings.TrimRight(s, "\n")), "\n", "\n    ")
}

func isNotFound(err error) bool {
	return errors.Is(err, fs.ErrNotExist)
}
