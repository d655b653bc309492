package cli

import "coracle/internal/engine"

type exportCmd struct {
	Output string `short:"o" placeholder:"FILE" help:"Write to FILE instead of standard output."`

	Container string `arg:"" name:"CONTAINER"`
}

func (*exportCmd) Help() string {
	return `Writes the container's root as a tar file, with owners as they are inside and
without what is mounted in it.

  coracle export -o web.tar web
  coracle export web | coracle import - web:copy`
}

func (c *exportCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	if err := a.out.Flush(); err != nil {
		return exitOurs, err
	}
	return 0, e.Export(ctx, c.Container, engine.ExportOptions{Output: c.Output, Stdout: a.files[1]})
}
