// Package unused leaves out one initialisation: the table of Snappy's checksums, of
// which klauspost/compress has a package for converting Snappy into zstd. Nobody here
// does, and it takes 0.2 ms of each start. Whatever runs early (internal/early) comes after it.
//
// This package imports nothing, so it is initialised first, and says that the other one
// has been. Should a version of Go keep that elsewhere, or one of the module use the table,
// TestEarly and the tests of zstd tell.
package unused

import _ "unsafe" // for go:linkname

// snappy is the other package's runtime.initTask, which begins with its state.
//
//go:linkname snappy github.com/klauspost/compress/internal/snapref..inittask
var snappy uint32

const initialised = 2

var _ = omit()

func omit() bool {
	snappy = initialised
	return true
}
