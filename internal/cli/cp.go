package cli

import "coracle/internal/engine"

type cpCmd struct {
	Archive   bool `short:"a" default:"true" placeholder:"false" help:"With --archive=false files that go into a container keep their numeric owners; else they belong to its user."`
	Follow    bool `name:"follow-link" short:"L" help:"Copy what SRC names if it is a symbolic link."`
	Overwrite bool `help:"Let a directory take the place of another file, and the other way round."`
	Quiet     bool `short:"q" help:"No progress (there is none)."`

	Src string `arg:"" name:"SRC"`
	Dst string `arg:"" name:"DST"`
}

func (*cpCmd) Help() string {
	return `One of SRC and DST, or both, is CONTAINER:PATH, in a container that runs, was
created or has ended; - is a tar stream. A directory is copied into DST if that
is there, else as DST; SRC/. is what is in it. Links are followed in the
container's root only. What comes out belongs to you, without set-id bits.

  coracle cp conf/. web:/etc/app
  coracle cp web:/var/log/app.log .
  coracle cp web:/data - | tar t`
}

func (c *cpCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	if err := e.Copy(ctx, engine.CopyOptions{From: c.Src, To: c.Dst, Archive: c.Archive, Follow: c.Follow, Overwrite: c.Overwrite, Stdin: a.files[0], Stdout: a.files[1]}); err != nil {
		return exitOurs, doing("copy", c.Src+" to "+c.Dst, err)
	}
	return 0, nil
}
