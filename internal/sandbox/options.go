// Package sandbox plans what a command of the host's sees and may do in a sandbox:
// its files, environment and limits. The plan is a plain value, computed by pure
// functions of the options and of what Host tells; internal/engine carries it out.
package sandbox

import (
	"errors"
	"runtime"

	"coracle/fuse"
)

// What becomes of the current directory, and of the home directory (--cwd, --home).
const (
	Overlay = "overlay" // changes are kept apart
	RW      = "rw"
	RO      = "ro"
	None    = "none"
	Real    = "real" // as it is, read-only
	Empty   = "empty"
)

// Roots that are neither an image nor a directory (--root).
const (
	HostRoot = "host"
	NoRoot   = "none"
)

// Options is what was asked for, as typed.
type Options struct {
	Command []string

	ReadWrite, ReadOnly       []string // --rw, --ro
	TryReadWrite, TryReadOnly []string // --rw-try, --ro-try: left out where they are not there
	Hide, Tmpfs               []string
	Overlay                   []string // PATH[:DEST]
	AllowUnix                 []string // sockets
	Cwd                       string   // overlay, rw, ro, none; "" is overlay, where it can be
	Root                      string   // host, none, an image or a directory; "" is host
	Tree                      Tree     // that image or directory; nil for the others
	Home                      string   // empty, real, overlay; "" is empty

	Network Network

	Hostname    string   // "": the host's
	TimeOffsets []string // CLOCK=TIME

	Env     []string // --env NAME=VALUE
	EnvPass []string // --env-pass NAME

	Files   []File // --file
	Seccomp string // the profile's name; "" is the sandbox's own
	Allow32 bool   // --allow-32bit

	// FilterEscapes has the caller's terminal get text and harmless sequences only.
	FilterEscapes bool

	Limits Limits
}

// Networks (--network).
const (
	NoNetwork      = "none"
	PrivateNetwork = "private"
	HostNetwork    = "host"
)

// Network is what the command can talk to.
type Network struct {
	Mode  string   // none, private or host
	Rules []string // by which it is told whom it may talk to, as typed; none: all
	// ResolvConf is what names are looked up by in a private one.
	ResolvConf string
	Proxy      string // the URL of that network's proxy; "": none
	// Loopback is what the command can do on its own one: allow or deny; "" is allow.
	Loopback string
	// Ports are those of TCP that rules open, AllPorts says that they name none, or too
	// many; for Landlock, where the loopback is denied.
	Ports    []uint16
	AllPorts bool
}

// The loopback of the sandbox's own network (--loopback).
const (
	AllowLoopback = "allow"
	DenyLoopback  = "deny"
)

// MostPorts is how many ports are told Landlock one by one.
const MostPorts = 256

// File is a file with contents of the caller's.
type File struct {
	Dest string
	Data []byte
}

// Facts are what is known of the caller.
type Facts struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
	Umask    uint32
	Name     string   // login name
	Home     string   // of the user database
	Cwd      string   // absolute
	Environ  []string // NAME=VALUE
	// Empty is a directory of ours without anything in it, and Scratch one on which
	// the sandbox's own tmpfs is mounted; neither is in sight inside.
	Empty, Scratch string
	Own            []string // directories of ours with state that we believe
	Landlock       int      // version of its ABI; 0: none
}

// Check refuses what can be seen to be wrong without a look at the host.
func (o Options) Check() error {
	if len(o.Command) == 0 {
		return &Error{Err: errors.New("a command is missing"), Help: "coracle sandbox [flags] -- COMMAND"}
	}
	if err := o.check32(runtime.GOARCH); err != nil {
		return err
	}
	switch o.Network.Loopback {
	case "", AllowLoopback, DenyLoopback:
	default:
		return &Error{Op: "--loopback " + o.Network.Loopback, Err: errors.New("there is no such choice"), Help: "allow or deny"}
	}
	if err := o.checkNames(); err != nil {
		return err
	}
	return o.Limits.Check()
}

// check32 says where --allow-32bit means nothing.
func (o Options) check32(goarch string) error {
	switch {
	case !o.Allow32:
		return nil
	case goarch != "amd64":
		return &Error{Op: "--allow-32bit", Err: errors.New("it is for i386's programs on amd64, and this is " + goarch), Help: "leave it out"}
	case o.Seccomp != "":
		return &Error{Op: "--allow-32bit", Err: errors.New("the system call filter is that of --seccomp " + o.Seccomp), Help: `name SCMP_ARCH_X86 among its "architectures"`}
	}
	return nil
}

// Home is the directory that the caller calls that.
func (f Facts) home() string { return getenv(f.Environ, "HOME") }

// Host is what a plan asks of the host. Names are absolute.
type Host interface {
	Real(name string) (string, error) // without links
	Stat(name string) (fuse.Stat, error)
	ReadDir(name string, limit int) ([]fuse.HostEntry, error)
	Mounts() (fuse.HostMounts, error)
	UnixSockets() ([]byte, error) // /proc/net/unix
	GroupName(gid uint32) string  // "" when not known
}

// Tree is a root that is not the host's: an image or a directory. What is changed in it
// is in memory, and gone at the end.
type Tree interface {
	Resolve(name string) string // without links
	Lstat(name string) (fuse.Stat, error)
	Dir() string   // on the host; "": an image
	Env() []string // the image's variables
}

// Error is something that was asked for and cannot be.
type Error struct {
	Op   string // the flag
	Err  error
	Help string
}

func (e *Error) Error() string {
	if e.Op == "" {
		return e.Err.Error()
	}
	return e.Op + ": " + e.Err.Error()
}
func (e *Error) Unwrap() error { return e.Err }

// Hint is what to type.
func (e *Error) Hint() string { return e.Help }
