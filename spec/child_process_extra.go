package spec

import (
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// ProcessExtra is the part of Extra that concerns only the process.
type ProcessExtra struct {
	// ID is the container's: it names the session keyring.
	ID string
	// NoNewKeyring leaves the caller's session keyring in place.
	NoNewKeyring bool
	// LSM says which security modules can be asked for a label; nil: as the
	// host has them.
	LSM *LSM

	// Landlock are rules on files; they take process.noNewPrivileges.
	Landlock Landlock

	// Listener takes the descriptor of a filter that notifies, and Metadata goes
	// with it (linux.seccomp).
	Listener, ListenerMetadata string
	// State is what the listener is told of the container; its pid and status
	// are filled in.
	State specs.State

	notify *os.File // the child's end of the socket for the descriptor
}
