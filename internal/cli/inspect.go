package cli

import (
	"fmt"

	"coracle/internal/engine"
)

type inspectCmd struct {
	Type   string `placeholder:"KIND" enum:"all,image,container,volume" default:"all" help:"container, image, volume, or all for the first that has the name."`
	Format string `short:"f" placeholder:"FMT" help:"json or a Go template."`
	Size   bool   `short:"s" help:"Of containers: measure what they have written."`
	Latest bool   `short:"l" help:"The container that was made last."`

	Raw bool `help:"Of images: the manifest or the index, byte for byte."`

	Names []string `arg:"" name:"NAME" optional:""`
}

func (*inspectCmd) Help() string {
	return `Prints a JSON array with an object for each container, image or volume.

  coracle inspect debian
  coracle inspect --format '{{.State.Status}} {{json .Config.Env}}' web`
}

func (c *inspectCmd) run(a *app) (int, error) {
	kind := c.Type
	if c.Latest == (len(c.Names) > 0) {
		return exitOurs, &usageError{msg: "inspect: either NAME or --latest is needed", hint: `see "coracle inspect --help"`}
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	if c.Raw {
		return 0, c.raw(a, e)
	}
	names := c.Names
	if c.Latest {
		kind = "container"
		if names, err = (selection{Latest: true}).names(e, "inspect", isRunning); err != nil {
			return exitOurs, err
		}
	}
	ctx, stop := interruptible()
	defer stop()
	docs := []any{}
	var failed []error
	for _, name := range names {
		doc, err := e.Inspect(ctx, name, engine.InspectOptions{Kind: kind, Size: c.Size})
		if err != nil {
			failed = append(failed, doing("inspect", name, err))
			continue
		}
		docs = append(docs, doc)
	}
	if err := c.print(a, docs); err != nil {
		return exitOurs, err
	}
	return 0, a.failures(failed)
}

// raw prints what images are kept by, with nothing added.
func (c *inspectCmd) raw(a *app, e engineAPI) error {
	if c.Format != "" || c.Latest || c.Type == "container" || c.Type == "volume" {
		return &usageError{msg: "inspect: --raw is for images, without --format"}
	}
	for _, name := range c.Names {
		doc, err := e.RawManifest(name)
		if err != nil {
			return doing("inspect", name, err)
		}
		if isTerminal(a.files[1]) {
			doc = visibleJSON(doc)
		}
		if _, err := a.out.Write(doc); err != nil {
			return fmt.Errorf("write the output: %w", err)
		}
	}
	return nil
}

func (c *inspectCmd) print(a *app, docs []any) error {
	if c.Format == "" || c.Format == "json" {
		return writeJSON(a.out, docs)
	}
	tmpl, err := parseTemplate(c.Format)
	if err != nil {
		return err
	}
	// What an image does not set is not in its JSON: docker and podman print
	// nothing there.
	tmpl.Option("missingkey=zero")
	for _, doc := range docs {
		if err := checkFields(tmpl.Root, doc); err != nil {
			return err
		}
		if err := executeTree(a.out, tmpl, doc); err != nil {
			return err
		}
	}
	return nil
}

// inspectEach prints what there is of each name, an array of JSON or a template for
// each document; what is not there is told, and the rest printed.
func inspectEach(a *app, kind, format string, names []string, document func(name string) (any, error)) (int, error) {
	docs := []any{}
	var failed []error
	for _, name := range names {
		doc, err := document(name)
		if err != nil {
			failed = append(failed, doing("inspect "+kind, name, err))
			continue
		}
		docs = append(docs, doc)
	}
	if err := (&inspectCmd{Format: format}).print(a, docs); err != nil {
		return exitOurs, err
	}
	return 0, a.failures(failed)
}
