package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"coracle/internal/engine"
)

// secretAPI is what the commands on secrets ask of the engine.
type secretAPI interface {
	CreateSecret(ctx context.Context, opts engine.SecretOptions) (engine.Secret, error)
	Secrets() ([]engine.Secret, error)
	Secret(name string, show bool) (engine.Secret, error)
	RemoveSecret(ctx context.Context, name string) (string, error)
}

type secretCreateCmd struct {
	Driver  string   `short:"d" placeholder:"NAME" help:"file is the only one."`
	Env     bool     `help:"FILE is the name of a variable of yours."`
	Label   []string `short:"l" sep:"none" placeholder:"KEY=VALUE" help:"A label."`
	Replace bool     `help:"Replace another secret of that name."`

	Name string `arg:"" name:"NAME"`
	File string `arg:"" name:"FILE"`
}

func (*secretCreateCmd) Help() string {
	return `FILE has the secret; - is standard input. Prints the secret's id.

  printf %s "$TOKEN" | coracle secret create token -
  coracle run --rm --secret token debian cat /run/secrets/token`
}

func (c *secretCreateCmd) run(a *app) (int, error) {
	labels, err := pairs("--label", c.Label, false)
	if err != nil {
		return exitOurs, err
	}
	data, done, err := c.data(a)
	if err != nil {
		return exitOurs, err
	}
	defer done()
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	x, err := e.CreateSecret(ctx, engine.SecretOptions{Name: c.Name, Driver: c.Driver, Labels: labels, Replace: c.Replace, Data: data})
	if err != nil {
		return exitOurs, err
	}
	fmt.Fprintln(a.out, x.ID)
	return 0, nil
}

func (c *secretCreateCmd) data(a *app) (io.Reader, func(), error) {
	switch {
	case c.Env:
		value, ok := os.LookupEnv(c.File)
		if !ok {
			return nil, nil, fmt.Errorf("create secret %s: the variable %s is not set", c.Name, c.File)
		}
		return strings.NewReader(value), func() {}, nil
	case c.File == "-":
		return a.files[0], func() {}, nil
	}
	f, err := os.Open(c.File)
	if err != nil {
		return nil, nil, fmt.Errorf("create secret %s: %w", c.Name, err)
	}
	return f, func() { f.Close() }, nil
}

type secretListCmd struct {
	Filter    []string `short:"f" sep:"none" placeholder:"KEY=VALUE" help:"name or id."`
	Format    string   `placeholder:"FMT" help:"table, json or a Go template."`
	NoHeading bool     `name:"noheading" short:"n" help:"No heading."`
	Quiet     bool     `short:"q" help:"Print ids only."`
}

// secretRow is a secret as listings show it.
type secretRow struct {
	ID        string
	Name      string
	Driver    string
	CreatedAt string
	UpdatedAt string
	Created   string `json:"-"`
	Updated   string `json:"-"`
}

func (*secretListCmd) Help() string {
	return `  coracle secret ls --format '{{.Name}} {{.Updated}}'`
}

func (c *secretListCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	all, err := e.Secrets()
	if err != nil {
		return exitOurs, err
	}
	var rows []secretRow
	now := time.Now()
	for _, x := range all {
		ok, err := secretMatches(x, c.Filter)
		if err != nil {
			return exitOurs, err
		}
		if !ok {
			continue
		}
		if c.Quiet {
			fmt.Fprintln(a.out, visible(x.ID))
		}
		rows = append(rows, secretRow{x.ID, x.Name, x.Driver, x.CreatedAt.Format(time.RFC3339), x.UpdatedAt.Format(time.RFC3339),
			humanAge(now, x.CreatedAt), humanAge(now, x.UpdatedAt)})
	}
	if c.Quiet {
		return 0, nil
	}
	return 0, listing[secretRow]{
		columns: []column{{"ID", "ID", false}, {"Name", "NAME", true}, {"Driver", "DRIVER", false}, {"Created", "CREATED", false}, {"Updated", "UPDATED", false}},
		cells:   func(r secretRow) []string { return []string{r.ID, r.Name, r.Driver, r.Created, r.Updated} },
		clean: func(r secretRow) secretRow {
			r.ID, r.Name, r.Driver = visible(r.ID), visible(r.Name), visible(r.Driver)
			return r
		},
		noHeading: c.NoHeading,
	}.print(a, c.Format, rows)
}

func secretMatches(x engine.Secret, filters []string) (bool, error) {
	byKind := make(map[string]bool)
	for _, f := range filters {
		key, value, _ := strings.Cut(f, "=")
		switch key {
		case "name":
			byKind[key] = byKind[key] || strings.Contains(x.Name, value)
		case "id":
			byKind[key] = byKind[key] || strings.HasPrefix(x.ID, value)
		default:
			return false, &usageError{msg: fmt.Sprintf("secret ls: unknown filter %q", f), hint: "filters are name= and id="}
		}
	}
	for _, ok := range byKind {
		if !ok {
			return false, nil
		}
	}
	return true, nil
}

type secretInspectCmd struct {
	Format string `short:"f" placeholder:"FMT" help:"json or a Go template."`
	Show   bool   `name:"showsecret" help:"Show the secret itself, too."`

	Names []string `arg:"" name:"SECRET"`
}

// secretDoc is a secret as podman's inspect shows it.
type secretDoc struct {
	ID         string
	CreatedAt  time.Time
	UpdatedAt  time.Time
	Spec       secretSpec
	SecretData *string `json:",omitempty"`
}

type secretSpec struct {
	Name   string
	Driver secretDriver
	Labels map[string]string
}

type secretDriver struct {
	Name    string
	Options map[string]string
}

func (*secretInspectCmd) Help() string {
	return `Prints a JSON array with an object for each secret.

  coracle secret inspect --showsecret --format '{{.SecretData}}' token`
}

func (c *secretInspectCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	return inspectEach(a, "secret", c.Format, c.Names, func(name string) (any, error) {
		x, err := e.Secret(name, c.Show)
		doc := secretDoc{ID: x.ID, CreatedAt: x.CreatedAt, UpdatedAt: x.UpdatedAt,
			Spec: secretSpec{x.Name, secretDriver{x.Driver, map[string]string{}}, cleanMap(x.Labels)}}
		if c.Show {
			text := string(x.Data)
			doc.SecretData = &text
		}
		return doc, err
	})
}

type secretExistsCmd struct {
	Name string `arg:"" name:"SECRET"`
}

func (*secretExistsCmd) Help() string {
	return `Exits with 0 if there is one of that name or id, with 1 if not.

  coracle secret exists token`
}

func (c *secretExistsCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	_, err = e.Secret(c.Name, false)
	if isNotFound(err) {
		return 1, nil
	}
	return 0, err
}

type secretRemoveCmd struct {
	All    bool `short:"a" help:"Remove all secrets."`
	Ignore bool `short:"i" help:"It is no error if there is none of that name."`

	Names []string `arg:"" name:"SECRET" optional:""`
}

func (*secretRemoveCmd) Help() string {
	return `Takes names, ids or the first digits of an id. Containers that run keep it; they
do not start again without it.

  coracle secret rm token`
}

func (c *secretRemoveCmd) run(a *app) (int, error) {
	if c.All == (len(c.Names) > 0) {
		return exitOurs, &usageError{msg: "secret rm: either SECRET or --all is needed", hint: `see "coracle secret rm --help"`}
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	names := c.Names
	if c.All {
		all, err := e.Secrets()
		if err != nil {
			return exitOurs, err
		}
		for _, x := range all {
			names = append(names, x.Name)
		}
	}
	ctx, stop := interruptible()
	defer stop()
	var failed []error
	for _, name := range names {
		id, err := e.RemoveSecret(ctx, name)
		switch {
		case err == nil:
			fmt.Fprintln(a.out, visible(id))
		case c.Ignore && isNotFound(err):
		default:
			failed = append(failed, doing("remove secret", name, err))
		}
	}
	return 0, a.failures(failed)
}
