package seccomp

import (
	"errors"
	"fmt"
)

var (
	// ErrProfile is unwrapped from every complaint about a profile's content.
	ErrProfile = errors.New("invalid seccomp profile")
	// ErrTooLarge says that a profile needs more than the 4096 instructions
	// that the kernel takes in one filter (BPF_MAXINSNS).
	ErrTooLarge = errors.New("seccomp profile is too large")
	// ErrArch says that this package has no tables for a machine.
	ErrArch = errors.New("no seccomp support for this architecture")
)

// FieldError names the part of a profile that is wrong.
type FieldError struct {
	Path string // JSON path, for example linux.seccomp.syscalls[3].args[0].op
	Msg  string
}

func (e *FieldError) Error() string { return e.Path + ": " + e.Msg }

// Unwrap makes errors.Is(err, ErrProfile) hold.
func (e *FieldError) Unwrap() error { return ErrProfile }

// sizeError is ErrTooLarge with a way out.
type sizeError struct{}

func (e *sizeError) Error() string {
	return fmt.Sprintf("%v: it needs more than %d BPF instructions", ErrTooLarge, maxInstructions)
}

func (e *sizeError) Unwrap() error { return ErrTooLarge }

// Hint is printed below the error.
func (e *sizeError) Hint() string {
	return "fewer rules with arguments, or fewer architectures, make it smaller"
}
