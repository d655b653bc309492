// Package early runs the OCI runtime's commands before the packages are initialised
// that these do without: net/http, kong, the registries' and most others, which take
// a third of the time of a short command.
//
// The Go specification fixes the order (Package initialization): sorted by import
// path, in each step the first package whose imports are all initialised is the next. "coracle" comes before
// "github.com" and "vendor", so that this one is initialised as soon as what it
// imports itself. internal/e2e's TestEarly holds what stands before it.
package early

import (
	"os"

	"coracle/internal/begin"
	"coracle/internal/hire"
	"coracle/internal/oci"
	_ "coracle/internal/unused"
)

// The house has no initialisation that acts, and this is the exception: the
// process ends in it, or nothing has happened.
var _ = run()

func run() bool {
	code, done := oci.Early(os.Args)
	if done {
		os.Exit(code) //nolint:forbidigo // as main does
	}
	hire.Early(os.Args)
	begin.Early(os.Args)
	return done
}
