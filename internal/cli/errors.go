package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"coracle/internal/say"
)

// usageError is a command line that cannot be meant.
type usageError struct{ msg, hint string }

func (e *usageError) Error() string { return e.msg }
func (e *usageError) Hint() string  { return e.hint }

func hintOf(err error) string { return say.Hint(err) }

// exitCode is what the process returns for err: 125, unless something in the
// chain knows better (126 and 127 of a command that cannot be executed).
func exitCode(err error) int { return say.Code(err, exitOurs) }

// doing says what was being done to what, where the error does not yet.
func doing(op, object string, err error) error {
	if err == nil || strings.HasPrefix(err.Error(), op) {
		return err
	}
	return fmt.Errorf("%s %s: %w", op, object, err)
}

// ofContainer says by which command a container was looked for that is not
// there, where its error does not begin with an operation: the one place for
// all commands.
func ofContainer(verb string, err error) error {
	if missing, ok := err.(interface{ Container() string }); ok { //nolint:errorlint // one that is wrapped has its operation
		return doing(verb, missing.Container(), err)
	}
	return err
}

// printError writes `error:` and `hint:`, the log line where a log was asked
// for, and with --debug the chain.
func (a *app) printError(err error) {
	// stdout first, so that the two do not change order on a terminal.
	_ = a.out.Flush()
	say.Error(a.err, err)
	if a.logs.toFile() {
		a.logs.error(err.Error())
	}
	if !a.global.Debug {
		return
	}
	say.Walk(err, 0, func(e error, depth int) bool {
		a.logs.debug("error chain", "depth", depth, "type", fmt.Sprintf("%T", e), "message", e.Error())
		return true
	})
}

// warn writes one line that does not stop the command.
func (a *app) warn(msg, hint string) {
	if !a.hushed {
		say.Warning(a.err, msg, hint)
	}
	if a.logs.toFile() {
		a.logs.warn(msg)
	}
}

func isNotFound(err error) bool {
	return errors.Is(err, fs.ErrNotExist)
}
