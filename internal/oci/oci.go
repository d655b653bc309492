// Package oci is the runtime's commands that callers type most, without what else the
// command line needs: these run before that is initialised (Early).
package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"coracle/spec"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// Name is what the program is called to be only the runtime.
const Name = "coracle-oci"

// Globals stand before the command.
type Globals struct {
	Root          string `group:"Global flags" placeholder:"DIR" help:"State of containers (default: $XDG_RUNTIME_DIR/coracle-oci, for root /run/coracle-oci)."`
	Log           string `group:"Global flags" placeholder:"FILE" help:"Append errors and warnings to FILE, too."`
	LogFormat     string `group:"Global flags" name:"log-format" placeholder:"FMT" enum:"text,json" default:"text" help:"text or json."`
	Debug         bool   `group:"Global flags" help:"Show the whole chain of an error."`
	SystemdCgroup bool   `group:"Global flags" name:"systemd-cgroup" help:"Have the service manager make cgroups; cgroupsPath is then slice:prefix:name."`
	CgroupManager string `group:"Global flags" name:"cgroup-manager" placeholder:"NAME" enum:",cgroupfs,systemd,disabled" default:"" help:"cgroupfs, systemd or disabled, as crun has it."`
	Rootless      string `group:"Global flags" placeholder:"BOOL" enum:"auto,true,false" default:"auto" help:"Taken for runc's sake; what can be had is found out by itself."`
	Criu          string `group:"Global flags" placeholder:"FILE" help:"Taken for runc's sake; criu is found in $PATH."`
}

// Env is what commands share.
type Env struct {
	Globals *Globals
	Out     io.Writer
	// Warn is told what does not stop a command, Debug what nobody misses.
	Warn, Debug func(msg string)
	// NoSystemd: see spec.Runtime.
	NoSystemd bool
}

// UsageError is a command line that cannot be meant.
type UsageError struct{ Msg string }

func (e *UsageError) Error() string { return e.Msg }

// Runtime is the state directory with the global flags.
func (e *Env) Runtime() (*spec.Runtime, error) {
	r := &spec.Runtime{
		Root: e.Globals.Root, Systemd: e.Globals.SystemdCgroup || e.Globals.CgroupManager == "systemd", NoCgroup: e.Globals.CgroupManager == "disabled",
		Warn:  e.Warn,
		Debug: e.Debug, NoSystemd: e.NoSystemd,
	}
	if r.Root == "" {
		r.Root = defaultOCIRoot()
	}
	root, err := filepath.Abs(r.Root)
	if err != nil {
		return nil, fmt.Errorf("find the state directory: %w", err)
	}
	r.Root = root
	return r, nil
}

// Box is a container there.
func (e *Env) Box(id string) (*spec.Container, error) {
	r, err := e.Runtime()
	if err != nil {
		return nil, err
	}
	return r.Load(id)
}

// defaultOCIRoot is where runc has its state, under our name.
func defaultOCIRoot() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) && (os.Geteuid() != 0 || !spec.HostRoot()) {
		return filepath.Join(dir, Name)
	}
	if os.Geteuid() == 0 && spec.HostRoot() {
		return filepath.Join("/run", Name)
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("%s-%d", Name, os.Getuid()))
}

// Explain puts an error in the words that callers look for.
func Explain(err error) error {
	var step *userns.StepError
	if errors.As(err, &step) && step.Step == "create namespaces" {
		if why := userns.Probe(context.Background()); why != nil {
			return fmt.Errorf("start the container: %w", why)
		}
	}
	return err
}

// ExecError words a command that could not be executed as runc does.
func ExecError(command string, err error) error {
	var e *userns.ExecError
	if !errors.As(err, &e) {
		return err
	}
	const op = "unable to start container process"
	switch {
	case e.Errno == unix.ENOENT && !strings.Contains(command, "/"):
		return fmt.Errorf("%s: exec: %q: executable file not found in $PATH", op, command)
	case e.Errno == unix.ENOENT:
		return fmt.Errorf("%s: exec: %q: stat %s: no such file or directory", op, command, command)
	case e.Errno == unix.ENOEXEC:
		return fmt.Errorf("%s: exec: %q: exec format error", op, command)
	}
	return fmt.Errorf("%s: exec: %q: %w", op, command, e.Errno)
}

// Report is what `state` prints, and `list --format json` a list of.
type Report struct {
	OCIVersion  string            `json:"ociVersion"`
	ID          string            `json:"id"`
	PID         int               `json:"pid"`
	Status      string            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       string            `json:"owner"`
}

// ReportOf is what the command line says of a container.
func ReportOf(s spec.Status) Report {
	return Report{
		OCIVersion: s.Version, ID: s.ID, PID: s.Pid, Status: string(s.Status), Bundle: s.Bundle, Rootfs: s.Rootfs,
		Created: s.Created, Annotations: s.Annotations, Owner: OwnerName(s),
	}
}

// Indented is JSON with a line for each property.
func Indented(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	return append(data, '\n'), err
}

func (e *Env) printIndented(v any) error {
	data, err := Indented(v)
	if err != nil {
		return err
	}
	_, err = e.Out.Write(data)
	return err
}

func OwnerName(s spec.Status) string {
	id := strconv.FormatUint(uint64(s.Owner), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "#" + id
}
