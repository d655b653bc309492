package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"coracle/internal/oci"
	"coracle/spec"
)

// The OCI runtime's command line is runc's: `coracle oci …`, and this program
// under the name coracle-oci. Callers (conmon, containerd's go-runc, Slurm) rely
// on its flags, exit codes, JSON and on words in its errors.

// ociName is what the program is called to be only the runtime.
const ociName = oci.Name

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
	a.oci = &oci.Globals{}
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
	return code, oci.Explain(err)
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

// ociUsageError words a flag without its value so that podman, which asks by
// that whether --lsm-mount-context is known, sees that it is.
func ociUsageError(err error) error {
	var u *usageError
	if errors.As(err, &u) && strings.HasSuffix(u.msg, " needs a value") {
		return &usageError{msg: u.msg + " (flag needs an argument)", hint: u.hint}
	}
	return err
}

// env is what the runtime's commands need of us.
func (a *app) env() *oci.Env {
	return &oci.Env{
		Globals: a.oci, Out: a.out,
		Warn:  func(msg string) { a.warn(msg, "") },
		Debug: func(msg string) { a.logs.debug(msg) },
	}
}

func (a *app) runtime() (*spec.Runtime, error)        { return a.env().Runtime() }
func (a *app) box(id string) (*spec.Container, error) { return a.env().Box(id) }

// The commands of internal/oci, which has them so that they can do without us.
type (
	ociCreateCmd struct{ oci.Create }
	ociStartCmd  struct{ oci.Start }
	ociRunCmd    struct{ oci.Run }
	ociStateCmd  struct{ oci.State }
	ociKillCmd   struct{ oci.Kill }
	ociDeleteCmd struct{ oci.Delete }
	ociExecCmd   struct{ oci.Exec }
	ociPauseCmd  struct{ oci.Pause }
	ociResumeCmd struct{ oci.Resume }
)

func (c *ociCreateCmd) run(a *app) (int, error) { return c.Create.Run(a.env()) }
func (c *ociStartCmd) run(a *app) (int, error)  { return c.Start.Run(a.env()) }
func (c *ociRunCmd) run(a *app) (int, error)    { return c.Run.Run(a.env()) }
func (c *ociStateCmd) run(a *app) (int, error)  { return c.State.Run(a.env()) }
func (c *ociKillCmd) run(a *app) (int, error)   { return c.Kill.Run(a.env()) }
func (c *ociDeleteCmd) run(a *app) (int, error) { return c.Delete.Run(a.env()) }
func (c *ociExecCmd) run(a *app) (int, error)   { return c.Exec.Run(a.env()) }
func (c *ociPauseCmd) run(a *app) (int, error)  { return c.Pause.Run(a.env()) }
func (c *ociResumeCmd) run(a *app) (int, error) { return c.Resume.Run(a.env()) }

// printLine prints a line of JSON, as runc does: a list without any entry is null.
func (a *app) printLine(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = a.out.Write(append(data, '\n'))
	return err
}
