package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"coracle/spec"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// The OCI runtime's command line is runc's: `coracle oci …`, and this program
// under the name coracle-oci. Callers (conmon, containerd's go-runc, Slurm) rely
// on its flags, exit codes, JSON and on words in its errors.

// ociName is what the program is called to be only the runtime.
const ociName = "coracle-oci"

// ociGlobals stand before the command.
type ociGlobals struct {
	Root          string `group:"Global flags" placeholder:"DIR" help:"State of containers (default: $XDG_RUNTIME_DIR/coracle-oci, for root /run/coracle-oci)."`
	Log           string `group:"Global flags" placeholder:"FILE" help:"Append errors and warnings to FILE, too."`
	LogFormat     string `group:"Global flags" name:"log-format" placeholder:"FMT" enum:"text,json" default:"text" help:"text or json."`
	Debug         bool   `group:"Global flags" help:"Show the whole chain of an error."`
	SystemdCgroup bool   `group:"Global flags" name:"systemd-cgroup" help:"Have the service manager make cgroups; cgroupsPath is then slice:prefix:name."`
	CgroupManager string `group:"Global flags" name:"cgroup-manager" placeholder:"NAME" enum:",cgroupfs,systemd,disabled" default:"" help:"cgroupfs, systemd or disabled, as crun has it."`
	Rootless      string `group:"Global flags" placeholder:"BOOL" enum:"auto,true,false" default:"auto" help:"Taken for runc's sake; what can be had is found out by itself."`
	Criu          string `group:"Global flags" placeholder:"FILE" help:"Taken for runc's sake; criu is found in $PATH."`
}

// ociCommands is the table of contents of `coracle oci`.
func ociCommands() []entry {
	return []entry{
		{"create", "Lifecycle", "[flags] ID", "make a container from a bundle", false, func() command { return &ociCreateCmd{} }},
		{"start", "Lifecycle", "ID", "start the command of a container that was created", false, func() command { return &ociStartCmd{} }},
		{"run", "Lifecycle", "[flags] ID", "create and start a container", false, func() command { return &ociRunCmd{} }},
		{"state", "Lifecycle", "ID", "print a container's state as JSON", false, func() command { return &ociStateCmd{} }},
		{"kill", "Lifecycle", "[flags] ID [SIGNAL]", "send a signal to a container (SIGTERM)", false, func() command { return &ociKillCmd{} }},
		{"delete", "Lifecycle", "[flags] ID", "remove a container that has stopped", false, func() command { return &ociDeleteCmd{} }},
		{"exec", "Lifecycle", "[flags] ID COMMAND [ARG...]", "run another process in a container", true, func() command { return &ociExecCmd{} }},
		{"restore", "Lifecycle", "[flags] ID", "make a container from a checkpoint, with CRIU", false, func() command { return &ociRestoreCmd{} }},
		{"list", "Looking", "[flags]", "list containers", false, func() command { return &ociListCmd{} }},
		{"ps", "Looking", "[flags] ID [PS OPTIONS]", "list a container's processes", true, func() command { return &ociPsCmd{} }},
		{"events", "Looking", "[flags] ID", "print statistics and events of a container", false, func() command { return &ociEventsCmd{} }},
		{"spec", "Looking", "[flags]", "write an example config.json", false, func() command { return &ociSpecCmd{} }},
		{"features", "Looking", "", "print what this runtime knows, as JSON", false, func() command { return &ociFeaturesCmd{} }},
		{"pause", "Changing", "ID", "freeze all processes of a container", false, func() command { return &ociPauseCmd{} }},
		{"mounts", "Changing", "add|remove ID FILE", "add mounts to a container that is there, or remove them", false, func() command { return &ociMountsCmd{} }},
		{"update", "Changing", "[flags] ID", "change a container's limits", false, func() command { return &ociUpdateCmd{} }},
		{"resume", "Changing", "ID", "let a frozen container go on", false, func() command { return &ociResumeCmd{} }},
		{"checkpoint", "Changing", "[flags] ID", "write a running container to a directory, with CRIU", false, func() command { return &ociCheckpointCmd{} }},
	}
}

// ociEntry is the line of `coracle help` about the runtime, whose own grammar
// begins behind it.
func ociEntry() entry {
	return entry{name: "oci", group: "System", summary: "run OCI bundles, with runc's command line (also as " + ociName + ")"}
}

// ociMain runs one command line of the runtime.
func (a *app) ociMain(args []string) (int, error) {
	a.oci = &ociGlobals{}
	g := fieldsOf(a.oci)
	lead, err := splitLead(args, func(name string) flagKind {
		for _, f := range g {
			if f.isCalled(name) {
				return f.kind()
			}
		}
		if name == "version" {
			return flagBool
		}
		return flagUnknown
	}, nil)
	if err != nil {
		return 1, err
	}
	switch {
	case lead.version:
		b := readBuild()
		fmt.Fprintf(a.out, "%s version %s\ncommit: %s\nspec: %s\ngo: %s\n", ociName, b.Version, b.Commit, b.Spec.Runtime, b.Go)
		return 0, nil
	case lead.verb == "help" && len(lead.rest) > 0:
		lead.verb, lead.rest = lead.rest[0], []string{"--help"}
	case lead.help || lead.verb == "help" || lead.verb == "":
		writeOCIOverview(a)
		return 0, nil
	}
	for _, e := range ociCommands() {
		if e.name == lead.verb {
			return a.ociRun(e, append(lead.flags, lead.rest...))
		}
	}
	var names []string
	for _, e := range ociCommands() {
		names = append(names, e.name)
	}
	hint := fmt.Sprintf("the commands are %s", strings.Join(names, ", "))
	if near := nearest(lead.verb, names); near != "" {
		hint = fmt.Sprintf("did you mean %q? %s", near, hint)
	}
	return 1, &usageError{msg: fmt.Sprintf("unknown command %q of the OCI runtime", lead.verb), hint: hint}
}

func (a *app) ociRun(e entry, words []string) (int, error) {
	cmd := e.make()
	p := newParser(e, cmd, a.oci)
	p.prog = "coracle oci"
	help, err := p.parse(words)
	if err == nil && help {
		return 0, p.writeHelp(a.out)
	}
	if err != nil {
		return 1, ociUsageError(err)
	}
	a.global.Debug = a.oci.Debug
	if err := a.logs.open(globals{Log: a.oci.Log, LogFormat: a.oci.LogFormat, Debug: a.oci.Debug}, a.err); err != nil {
		return 1, err
	}
	code, err := cmd.run(a)
	if err != nil && code == 0 {
		code = 1
	}
	return code, a.explainOCI(err)
}

func writeOCIOverview(a *app) {
	fmt.Fprint(a.out, "coracle oci runs OCI bundles: the command line is runc's.\n\nUsage: coracle oci [flags] COMMAND [flags] [arguments]\n")
	group := ""
	for _, e := range ociCommands() {
		if e.group != group {
			group = e.group
			fmt.Fprintf(a.out, "\n%s:\n", group)
		}
		fmt.Fprintf(a.out, "  %-10s %s\n", e.name, e.summary)
	}
	fmt.Fprint(a.out, "\n\"coracle oci COMMAND --help\" explains a command and its flags.\n")
}

// runtime is the state directory with the global flags.
func (a *app) runtime() (*spec.Runtime, error) {
	r := &spec.Runtime{
		Root: a.oci.Root, Systemd: a.oci.SystemdCgroup || a.oci.CgroupManager == "systemd", NoCgroup: a.oci.CgroupManager == "disabled",
		Warn:  func(msg string) { a.warn(msg, "") },
		Debug: func(msg string) { a.logs.debug(msg) },
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

// box is a container there.
func (a *app) box(id string) (*spec.Container, error) {
	r, err := a.runtime()
	if err != nil {
		return nil, err
	}
	return r.Load(id)
}

// defaultOCIRoot is where runc has its state, under our name.
func defaultOCIRoot() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) && (os.Geteuid() != 0 || !spec.HostRoot()) {
		return filepath.Join(dir, ociName)
	}
	if os.Geteuid() == 0 && spec.HostRoot() {
		return filepath.Join("/run", ociName)
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("%s-%d", ociName, os.Getuid()))
}

// explainOCI puts an error in the words that callers look for.
func (a *app) explainOCI(err error) error {
	var step *userns.StepError
	if errors.As(err, &step) && step.Step == "create namespaces" {
		if why := userns.Probe(context.Background()); why != nil {
			return fmt.Errorf("start the container: %w", why)
		}
	}
	return err
}

// ociUsageError words a flag without its value so that podman, which asks by
// that whether --lsm-mount-context is known, sees that it is.
func ociUsageError(err error) error {
	var u *usageError
	if errors.As(err, &u) && strings.HasSuffix(u.msg, " needs a value") {
		return &usageError{msg: u.msg + " (flag needs an argument)", hint: u.hint}
	}
	return err
}

// ociExecError words a command that could not be executed as runc does.
func ociExecError(command string, err error) error {
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

// ociState is what `state` prints, and `list --format json` a list of.
type ociState struct {
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

func ociStateOf(s spec.Status) ociState {
	return ociState{
		OCIVersion: s.Version, ID: s.ID, PID: s.Pid, Status: string(s.Status), Bundle: s.Bundle, Rootfs: s.Rootfs,
		Created: s.Created, Annotations: s.Annotations, Owner: ownerName(s),
	}
}

func indented(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	return append(data, '\n'), err
}

func (a *app) printIndented(v any) error {
	data, err := indented(v)
	if err != nil {
		return err
	}
	_, err = a.out.Write(data)
	return err
}

// printLine prints a line of JSON, as runc does: a list without any entry is null.
func (a *app) printLine(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = a.out.Write(append(data, '\n'))
	return err
}
