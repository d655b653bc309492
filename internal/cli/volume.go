package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"coracle/internal/engine"
)

// volumeAPI is what the commands on volumes ask of the engine.
type volumeAPI interface {
	CreateVolume(ctx context.Context, opts engine.VolumeOptions) (engine.Volume, error)
	Volumes(filters []string) ([]engine.Volume, error)
	Volume(name string) (engine.Volume, error)
	VolumeExists(name string) (bool, error)
	RemoveVolume(ctx context.Context, name string, force bool) (string, error)
	PruneVolumes(ctx context.Context, filters []string) ([]string, error)
	ExportVolume(ctx context.Context, name string, to *os.File) error
	ImportVolume(ctx context.Context, name string, from *os.File) error
}

type volumeCreateCmd struct {
	Driver string   `short:"d" placeholder:"NAME" help:"local is the only one."`
	Label  []string `short:"l" sep:"none" placeholder:"KEY=VALUE" help:"A label."`
	Opt    []string `short:"o" sep:"none" placeholder:"KEY=VALUE" help:"type=tmpfs or bind, device=DIR, o=ro,nodev,noexec,nosuid,size=,uid=,gid=..."`
	Ignore bool     `help:"It is no error if there is one of that name."`

	Name string `arg:"" name:"NAME" optional:""`
}

func (*volumeCreateCmd) Help() string {
	return `Without NAME it gets one of 64 digits. Prints the name.

  coracle volume create data
  coracle volume create --opt type=tmpfs --opt o=size=64m scratch
  coracle volume create --opt type=bind --opt device=/big/disk/data data`
}

func (c *volumeCreateCmd) run(a *app) (int, error) {
	labels, err := pairs("--label", c.Label, false)
	if err != nil {
		return exitOurs, err
	}
	opts, err := pairs("--opt", c.Opt, true)
	if err != nil {
		return exitOurs, err
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	v, err := e.CreateVolume(ctx, engine.VolumeOptions{Name: c.Name, Driver: c.Driver, Labels: labels, Options: opts, Ignore: c.Ignore})
	if err != nil {
		return exitOurs, err
	}
	fmt.Fprintln(a.out, visible(v.Name))
	return 0, nil
}

// pairs reads KEY=VALUE words. With join a key may come again, and its values
// are put together by commas.
func pairs(flag string, words []string, join bool) (map[string]string, error) {
	out := make(map[string]string, len(words))
	for _, w := range words {
		key, value, pair := strings.Cut(w, "=")
		if key == "" || join && !pair {
			return nil, &usageError{msg: fmt.Sprintf("%s %q: it is not KEY=VALUE", flag, w)}
		}
		if old, again := out[key]; again && join {
			value = old + "," + value
		}
		out[key] = value
	}
	return out, nil
}

type volumeListCmd struct {
	Filter    []string `short:"f" sep:"none" placeholder:"KEY=VALUE" help:"name, label, dangling, driver, opt, anonymous, since or until."`
	Format    string   `placeholder:"FMT" help:"table, json or a Go template."`
	NoHeading bool     `name:"noheading" short:"n" help:"No heading."`
	Quiet     bool     `short:"q" help:"Print names only."`
}

func (*volumeListCmd) Help() string {
	return `  coracle volume ls --filter dangling=true
  coracle volume ls --format '{{.Name}} {{.Mountpoint}}'`
}

// volumeRow is a volume as listings show it.
type volumeRow struct {
	Name       string
	Driver     string
	Mountpoint string
	CreatedAt  time.Time
	Labels     map[string]string
	Scope      string
	Options    map[string]string
	Anonymous  bool
}

func (c *volumeListCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	all, err := e.Volumes(c.Filter)
	if err != nil {
		return exitOurs, err
	}
	rows := make([]volumeRow, 0, len(all))
	for _, v := range all {
		if c.Quiet {
			fmt.Fprintln(a.out, visible(v.Name))
		}
		rows = append(rows, volumeRow{v.Name, v.Driver, v.Mountpoint, v.CreatedAt, v.Labels, v.Scope, v.Options, v.Anonymous})
	}
	if c.Quiet {
		return 0, nil
	}
	return 0, listing[volumeRow]{
		columns:   []column{{"Driver", "DRIVER", false}, {"Name", "VOLUME NAME", true}},
		cells:     func(r volumeRow) []string { return []string{r.Driver, r.Name} },
		clean:     volumeRow.clean,
		noHeading: c.NoHeading,
	}.print(a, c.Format, rows)
}

func (r volumeRow) clean() volumeRow {
	r.Name, r.Driver, r.Mountpoint, r.Scope = visible(r.Name), visible(r.Driver), visible(r.Mountpoint), visible(r.Scope)
	r.Labels, r.Options = cleanMap(r.Labels), cleanMap(r.Options)
	return r
}

func cleanMap(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[visible(k)] = visible(v)
	}
	return out
}

type volumeInspectCmd struct {
	All    bool   `short:"a" help:"All volumes."`
	Format string `short:"f" placeholder:"FMT" help:"json or a Go template."`

	Names []string `arg:"" name:"VOLUME" optional:""`
}

func (*volumeInspectCmd) Help() string {
	return `Prints a JSON array with an object for each volume.

  coracle volume inspect --format '{{.Mountpoint}}' data`
}

func (c *volumeInspectCmd) run(a *app) (int, error) {
	e, names, err := volumesToDo(a, "volume inspect", c.All, c.Names)
	if err != nil {
		return exitOurs, err
	}
	return inspectEach(a, "volume", c.Format, names, func(name string) (any, error) { return e.Volume(name) })
}

// volumesToDo are the volumes that were named, or all of them.
func volumesToDo(a *app, verb string, all bool, names []string) (engineAPI, []string, error) {
	if all == (len(names) > 0) {
		return nil, nil, &usageError{msg: verb + ": either VOLUME or --all is needed", hint: fmt.Sprintf(`see "coracle %s --help"`, verb)}
	}
	e, err := a.engine()
	if err != nil || !all {
		return e, names, err
	}
	list, err := e.Volumes(nil)
	for _, v := range list {
		names = append(names, v.Name)
	}
	return e, names, err
}

type volumeExistsCmd struct {
	Name string `arg:"" name:"VOLUME"`
}

func (*volumeExistsCmd) Help() string {
	return `Exits with 0 if there is one of that name, with 1 if not.

  coracle volume exists data`
}

func (c *volumeExistsCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ok, err := e.VolumeExists(c.Name)
	if err == nil && !ok {
		return 1, nil
	}
	return 0, err
}

type volumeRemoveCmd struct {
	All   bool `short:"a" help:"Remove all volumes."`
	Force bool `short:"f" help:"Remove the containers that use it, too; it is no error if there is none of that name."`

	Names []string `arg:"" name:"VOLUME" optional:""`
}

func (*volumeRemoveCmd) Help() string {
	return `Takes names or the first letters of one. Prints what was removed. It exits with
1 if there is no such volume, and with 2 if one is in use.

  coracle volume rm data`
}

func (c *volumeRemoveCmd) run(a *app) (int, error) {
	e, names, err := volumesToDo(a, "volume rm", c.All, c.Names)
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	var failed []error
	for _, name := range names {
		whole, err := e.RemoveVolume(ctx, name, c.Force)
		switch {
		case err == nil:
			fmt.Fprintln(a.out, visible(whole))
		case c.Force && isNotFound(err):
		default:
			failed = append(failed, doing("remove volume", name, err))
		}
	}
	return 0, a.failures(failed)
}

type volumePruneCmd struct {
	Filter []string `sep:"none" placeholder:"KEY=VALUE" help:"Only those: label, label!, name, anonymous, until..."`
	Force  bool     `short:"f" help:"Do not ask."`
}

func (*volumePruneCmd) Help() string {
	return `Removes the volumes that no container uses. Prints their names.

  coracle volume prune --filter label!=keep`
}

func (c *volumePruneCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	if !c.Force {
		all, err := e.Volumes(append([]string{"dangling=true"}, c.Filter...))
		if err != nil || len(all) == 0 {
			return 0, err
		}
		var names []string
		for _, v := range all {
			names = append(names, v.Name)
		}
		if !a.confirm("These volumes are not used by any container, and will be removed with all their data:", names) {
			return exitOurs, nil
		}
	}
	ctx, stop := interruptible()
	defer stop()
	gone, err := e.PruneVolumes(ctx, c.Filter)
	for _, name := range gone {
		fmt.Fprintln(a.out, visible(name))
	}
	return 0, a.failures([]error{err})
}

// confirm asks on stderr, and takes y or yes from standard input for yes; its
// end is a no.
func (a *app) confirm(what string, names []string) bool {
	_ = a.out.Flush()
	fmt.Fprintln(a.err, what)
	for _, name := range names {
		fmt.Fprintln(a.err, "  "+visible(name))
	}
	fmt.Fprint(a.err, "Go on? [y/N] ")
	line, err := bufio.NewReader(a.files[0]).ReadString('\n')
	if err != nil && line == "" {
		fmt.Fprintln(a.err)
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes"
}

type volumeExportCmd struct {
	Output string `short:"o" placeholder:"FILE" help:"Write to FILE instead of standard output."`

	Name string `arg:"" name:"VOLUME"`
}

func (*volumeExportCmd) Help() string {
	return `Writes what is in the volume as a tar file, with the owners that containers see.

  coracle volume export data | gzip > data.tar.gz`
}

func (c *volumeExportCmd) run(a *app) (code int, err error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	out := a.files[1]
	if c.Output == "" && isTerminal(out) {
		return exitOurs, &usageError{msg: "volume export: a tar file is nothing for a terminal", hint: "add --output FILE, or a pipe"}
	}
	if c.Output != "" {
		if out, err = os.Create(c.Output); err != nil {
			return exitOurs, fmt.Errorf("export volume %s: %w", c.Name, err)
		}
		defer func() { err = errors.Join(err, out.Close()) }()
	}
	ctx, stop := interruptible()
	defer stop()
	return 0, doing("export volume", c.Name, e.ExportVolume(ctx, c.Name, out))
}

type volumeImportCmd struct {
	Name string `arg:"" name:"VOLUME"`
	File string `arg:"" name:"FILE"`
}

func (*volumeImportCmd) Help() string {
	return `Adds what is in a tar file (plain, gzip or zstd; - is standard input) to a
volume. What has the same name is replaced.

  coracle volume import data data.tar.gz`
}

func (c *volumeImportCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	in := a.files[0]
	if c.File != "-" {
		if in, err = os.Open(c.File); err != nil {
			return exitOurs, fmt.Errorf("import volume %s: %w", c.Name, err)
		}
		defer in.Close()
	}
	ctx, stop := interruptible()
	defer stop()
	return 0, doing("import volume", c.Name, e.ImportVolume(ctx, c.Name, in))
}
