package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"coracle/images/layer"
)

// What can be wrong; test with errors.Is.
var (
	ErrNotFound         = errors.New("no such image")
	ErrInvalidReference = errors.New("invalid image reference")
	ErrAmbiguous        = errors.New("more than one image matches")
	ErrInUse            = errors.New("image is in use")
	ErrReadOnly         = errors.New("image is in a store that is only read")
	ErrStore            = errors.New("store cannot be used")
	ErrCorrupt          = errors.New("content does not match")
	ErrUnsupported      = errors.New("unsupported")
	ErrPlatform         = errors.New("no image for this platform")
	ErrTooLarge         = errors.New("too large")
)

// Error is a failure with advice. Its text already says what was being done
// and to what.
type Error struct {
	Kind error  // one of the sentinels above, or nil
	Text string // without the hint
	Err  error  // the cause, or nil
	Help string // what to type; may be ""
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Text
	}
	return e.Text + ": " + e.Err.Error()
}

// Hint is what the user can do about it, or "".
func (e *Error) Hint() string {
	var inner interface{ Hint() string }
	if e.Help == "" && errors.As(e.Err, &inner) {
		return inner.Hint()
	}
	return e.Help
}

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error {
	var out []error
	if e.Kind != nil {
		out = append(out, e.Kind)
	}
	if e.Err != nil {
		out = append(out, e.Err)
	}
	return out
}

func fail(kind error, format string, args ...any) *Error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

func (e *Error) because(err error) *Error { e.Err = err; return e }
func (e *Error) hint(format string, args ...any) *Error {
	e.Help = fmt.Sprintf(format, args...)
	return e
}

// explainWrite adds advice to the errors of a file system that refuses more.
// Others have the same numbers and want other advice: ENOSPC is also too many
// user namespaces, EPERM a firewall, EACCES a source that may not be read.
func explainWrite(err error, root string) error {
	var had interface{ Hint() string }
	if errors.As(err, &had) && had.Hint() != "" || !refusedBelow(err, root) {
		return err
	}
	help := ""
	switch {
	case errors.Is(err, syscall.ENOSPC):
		help = fmt.Sprintf("the file system of %s is full: free space (coracle rmi, coracle system df), or choose another store with --root", root)
	case errors.Is(err, syscall.EDQUOT):
		help = fmt.Sprintf("your quota on the file system of %s is used up: free space, or choose another store with --root", root)
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		help = fmt.Sprintf("%s must be writable by you: choose another store with --root", root)
	default:
		return err
	}
	return &Error{Text: "write to the store", Err: err, Help: help}
}

// refusedBelow says whether it was the store's file system that failed, asked
// by us or by the store process.
func refusedBelow(err error, root string) bool {
	if errors.Is(err, layer.ErrRefused) {
		return true
	}
	var at *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &at):
		return below(at.Path, root)
	case errors.As(err, &link):
		return below(link.New, root)
	}
	return false
}

func below(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }
