package cli

type inspectCmd struct {
	Type   string `placeholder:"KIND" enum:"all,image,container" default:"all" help:"image, container or all."`
	Format string `short:"f" placeholder:"FMT" help:"json or a Go template."`

	Names []string `arg:"" name:"NAME"`
}

func (*inspectCmd) Help() string {
	return `Prints a JSON array with an object for each image or container.

  coracle inspect debian
  coracle inspect --format '{{.Config.Env}}' debian`
}

func (c *inspectCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	docs := []any{}
	var failed []error
	for _, name := range c.Names {
		doc, err := e.Inspect(name, c.Type)
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
		if err := executeTree(a.out, tmpl, doc); err != nil {
			return err
		}
	}
	return nil
}
