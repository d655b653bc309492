package engine

import (
	"cmp"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"coracle/images"
	"coracle/spec"
	"coracle/userns"
)

// Config is where an engine keeps its things and how it behaves; the global
// flags of the command line fill it.
type Config struct {
	Root    string // --root: the store; "" is $XDG_DATA_HOME/coracle
	RunRoot string // --runroot; "" is $XDG_RUNTIME_DIR/coracle
	// AdditionalStores: --additional-store; directories of stores that are read, too.
	AdditionalStores []string
	LayerLimits      images.LayerLimits // --layer-limit
	StorageDriver    string             // --storage-driver: "", overlay, fuse-overlayfs, copy
	CgroupManager    string             // --cgroup-manager: "", auto, systemd, cgroupfs, disabled
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

	Detach    bool          // -d: a monitor takes the launcher's place
	Restart   RestartPolicy // --restart
	LogDriver string        // --log-driver, "" for the default
	LogOpts   []string      // --log-opt KEY=VALUE
	NetworkOptions
	Health HealthFlags

	Userns     userns.Request
	Pull       string `json:"-"` // --pull always|missing|never|newer
	Platform   string
	TLSVerify  *bool `json:"-"`
	Timeout    time.Duration
	DetachKeys string
	SigProxy   bool
	CIDFile    string
	PIDFile    string
	Report     string                                       // --report FILE
	DryRun     bool                                         `json:"-"`
	Format     string                                       `json:"-"` // of --dry-run: text or json
	Quiet      bool                                         `json:"-"`
	Progress   func(name string, size int64) io.WriteCloser `json:"-"` // nil: silent

	Stdin          *os.File `json:"-"`
	Stdout, Stderr *os.File `json:"-"`
	// Plan takes what --dry-run prints, in one piece: names in it are an image's.
	Plan io.Writer `json:"-"`
}

// Detached says whether the container is to have a monitor, and does not end
// with its launcher.
func (o RunOptions) Detached() bool {
	return o.Detach || o.Restart.Name != "" || o.LogDriver != "" || o.Health.asked() || o.leavable()
}

// leavable says that the user of a terminal may leave the container: the
// keys for it were named. Only then, since a monitor takes time at the start.
// What is of this process (its descriptors, a report on its standard output)
// ends with it.
func (o RunOptions) leavable() bool {
	return o.DetachKeys != "" && o.DetachKeys != "none" && o.TTY && o.Interactive && o.PreserveFDs == 0 && o.Report != "-"
}

// RestartPolicy says when a monitor starts its container again. Source:
// podman-run(1), --restart.
type RestartPolicy struct {
	Name string `json:"name,omitempty"` // "" for no; on-failure, always, unless-stopped
	Max  int    `json:"max,omitempty"`  // on-failure: at most so many times in a row; 0 for any number
}

func (p RestartPolicy) String() string {
	if p.Max > 0 {
		return p.Name + ":" + strconv.Itoa(p.Max)
	}
	return cmp.Or(p.Name, "no")
}

// ParseRestart reads --restart: no, on-failure[:N], always or unless-stopped.
func ParseRestart(s string) (RestartPolicy, error) {
	name, count, counted := strings.Cut(s, ":")
	p := RestartPolicy{Name: name}
	switch name {
	case "", "no", "never":
		p.Name = ""
	case "always", "unless-stopped", "on-failure":
	default:
		return p, &Error{Op: "read --restart " + s, Err: errors.New("there is no such policy"), Help: "no, on-failure[:COUNT], always or unless-stopped"}
	}
	if !counted {
		return p, nil
	}
	n, err := strconv.ParseUint(count, 10, 31)
	if err != nil || name != "on-failure" {
		return p, &Error{Op: "read --restart " + s, Err: errors.New("only on-failure has a count, and that is a number"), Help: "no, on-failure[:COUNT], always or unless-stopped"}
	}
	p.Max = int(n)
	return p, nil
}

// Exit is how the payload ended.
type Exit struct {
	Code     int // what the command line returns: the payload's own, or 128+n
	Signal   int // 0 when it was not a signal
	TimedOut bool
	// OOMKilled: the kernel has killed a process of the container for want of
	// memory, which is not always its first. Source: docker's and podman's meaning.
	OOMKilled bool
	Detached  bool // the user has left it; it goes on
}
