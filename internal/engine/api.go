package engine

import (
	"io"
	"os"
	"time"

	"coracle/spec"
	"coracle/userns"
)

// Config is where an engine keeps its things and how it behaves; the global
// flags of the command line fill it.
type Config struct {
	Root          string // --root: the store; "" is $XDG_DATA_HOME/coracle
	RunRoot       string // --runroot; "" is $XDG_RUNTIME_DIR/coracle
	StorageDriver string // --storage-driver: "", overlay, fuse-overlayfs, copy
	// Warn prints one line for the user ("" hint when there is none).
	Warn func(msg, hint string)
}

// RunOptions is one `coracle run`.
type RunOptions struct {
	spec.Options
	Image   string // reference, transport:…, or "host"
	Rootfs  bool   // --rootfs: Image is a directory
	Name    string
	Remove  bool // --rm
	Replace bool

	Userns     userns.Request
	Pull       string // --pull always|missing|never|newer
	Platform   string
	TLSVerify  *bool
	Timeout    time.Duration
	DetachKeys string
	SigProxy   bool
	CIDFile    string
	PIDFile    string
	Report     string // --report FILE
	DryRun     bool
	Format     string // of --dry-run: text or json
	Quiet      bool
	Progress   func(name string, size int64) io.WriteCloser // nil: silent

	Stdin          *os.File
	Stdout, Stderr *os.File
}

// Exit is how the payload ended.
type Exit struct {
	Code     int // what the command line returns: the payload's own, or 128+n
	Signal   int // 0 when it was not a signal
	TimedOut bool
}
