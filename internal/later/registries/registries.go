// Package registries puts off the initialisation of packages that only few commands
// need, half a millisecond of each start: those for compressed layers and registries
// until one is read or written, and, for `coracle sandbox` alone, go-digest's.
//
// The package is initialised before them ("coracle" comes before "github.com", and os
// is nearly all that it imports), and says that they have been. In tests they are initialised as ever. internal/e2e's
// TestSandboxInits holds the order, and TestReady that Ready is called: without it
// what is compressed would be read wrong.
package registries

import (
	"os"
	"sync"
	_ "unsafe" // for go:linkname

	"coracle/internal/later/inittask"
)

// The packages, each after those that it imports. None that imports them
// is initialised with the others, but for those of which TestSandboxInits says why.
//
//go:linkname t0 github.com/opencontainers/go-digest..inittask
//go:linkname t1 github.com/klauspost/compress/flate..inittask
//go:linkname t2 github.com/klauspost/compress/zstd..inittask
//go:linkname t3 github.com/google/go-containerregistry/pkg/name..inittask
//go:linkname t4 github.com/google/go-containerregistry/pkg/v1/remote/transport..inittask
var (
	t0 inittask.Task
	t1 inittask.Task
	t2 inittask.Task
	t3 inittask.Task
	t4 inittask.Task
)

var (
	inSandbox = sandbox(os.Args) && inittask.PutOff(&t0)
	rest      = !test(os.Args) && inittask.PutOff(&t1, &t2, &t3, &t4)
)

func sandbox(args []string) bool { return len(args) > 2 && args[1] == "sandbox" }

func test(args []string) bool {
	const suffix = ".test"
	return len(args[0]) > len(suffix) && args[0][len(args[0])-len(suffix):] == suffix
}

// Ready initialises what compressed layers and registries need, unless it is. It
// comes before any use of these packages, which only images has.
var Ready = sync.OnceFunc(func() {
	Digests()
	if rest {
		inittask.Run(&t1, &t2, &t3, &t4)
	}
})

// Digests comes before any use of images or digests in a sandbox's launcher.
var Digests = sync.OnceFunc(func() {
	if inSandbox {
		inittask.Run(&t0)
	}
})
