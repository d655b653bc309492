package cgroupv2

import (
	"errors"
	"fmt"
)

// Errors that callers tell apart with errors.Is.
var (
	ErrUnsupported = errors.New("not possible here")
	ErrBadRequest  = errors.New("bad request")
	ErrGone        = errors.New("the cgroup is gone")
	ErrNotEmpty    = errors.New("the cgroup is not empty")
	ErrNone        = errors.New("the container has no cgroup")
)

// FieldError is a field of config.json that asks for what cannot be had. It
// unwraps to ErrUnsupported where this machine is in the way, to ErrBadRequest
// where the value is, and to what the kernel answered.
type FieldError struct {
	Field  string // as in config.json: linux.resources.memory.limit
	Reason string // one line
	Err    error  // of the kernel; may be nil
	kind   error
	hint   string
}

func (e *FieldError) Error() string {
	if e.Err == nil {
		return e.Field + ": " + e.Reason
	}
	return e.Field + ": " + e.Reason + ": " + e.Err.Error()
}

// Unwrap gives the kind of the error and the answer of the kernel.
func (e *FieldError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.kind}
	}
	return []error{e.kind, e.Err}
}

// Hint says what to type, "" where nothing helps.
func (e *FieldError) Hint() string { return e.hint }

// bad is a value that no machine could take.
func bad(field, format string, args ...any) error {
	return &FieldError{Field: resources + field, Reason: fmt.Sprintf(format, args...), kind: ErrBadRequest}
}

// unsupported is a request that cgroup v2, or this machine, does not know.
func unsupported(field, format string, args ...any) error {
	return &FieldError{Field: resources + field, Reason: fmt.Sprintf(format, args...), kind: ErrUnsupported}
}

// both is one line of two errors, of which either may be nil.
func both(a, b error) error {
	if a == nil || b == nil {
		return errors.Join(a, b)
	}
	return fmt.Errorf("%w; %w", a, b)
}

const (
	resources = "linux.resources."
	pathField = "linux.cgroupsPath"
)
