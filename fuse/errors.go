package fuse

import (
	"errors"
	"fmt"
)

// Errors that callers tell apart with errors.Is.
var (
	ErrUnsupported = errors.New("not possible here")
	ErrTooMany     = errors.New("too many layers")
	ErrBadRequest  = errors.New("bad request")
	ErrTooBig      = errors.New("file too large")
)

// DriverError says why a storage driver cannot make the root. It unwraps to
// ErrUnsupported.
type DriverError struct {
	Driver string // overlay, fuse-overlayfs, copy
	Reason string // one line
	hint   string
}

func (e *DriverError) Error() string {
	return fmt.Sprintf("storage driver %s: %s", e.Driver, e.Reason)
}

// Unwrap is ErrUnsupported.
func (e *DriverError) Unwrap() error { return ErrUnsupported }

// Hint says what to type.
func (e *DriverError) Hint() string { return e.hint }

// TooManyLayersError is an image with more layers than can be stacked. It
// unwraps to ErrTooMany.
type TooManyLayersError struct {
	Layers, Limit int
}

func (e *TooManyLayersError) Error() string {
	return fmt.Sprintf("stack %d layers: the kernel's overlay takes %d at most", e.Layers, e.Limit)
}

// Unwrap is ErrTooMany.
func (e *TooManyLayersError) Unwrap() error { return ErrTooMany }

// Hint says what to type.
func (e *TooManyLayersError) Hint() string {
	return "squash the image, or use --storage-driver copy"
}
