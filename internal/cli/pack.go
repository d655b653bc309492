package cli

import (
	"fmt"

	"coracle/internal/engine"
)

type packCmd struct {
	Author    string   `short:"a" placeholder:"NAME" help:"Who made the image."`
	Change    []string `short:"c" sep:"none" placeholder:"INSTRUCTION" help:"Set CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR."`
	Message   string   `short:"m" placeholder:"TEXT" help:"Note TEXT in the image's history."`
	Squash    bool     `short:"s" help:"Make one layer of everything."`
	Timestamp *int64   `placeholder:"SECONDS" help:"Give image and files this time, in seconds since 1970, so that the same files give the same image."`

	Dir   string `arg:"" name:"DIR"`
	Image string `arg:"" name:"IMAGE" optional:""`
}

func (*packCmd) Help() string {
	return `Makes an image of a bundle (DIR/config.json and its root), or of a root file
system in DIR. Of what coracle unpack made, what has changed becomes a layer
over the image that it came from; of others, everything becomes one layer.
Prints the image's id. SOURCE_DATE_EPOCH is as for coracle commit.

  coracle pack bundle debian:changed
  coracle pack -c 'CMD ["/bin/sh"]' rootfs my/root`
}

func (c *packCmd) run(a *app) (int, error) {
	at, clamp, err := created(c.Timestamp)
	if err != nil {
		return exitOurs, err
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	img, err := e.Pack(ctx, c.Dir, engine.PackOptions{
		Name: c.Image, Author: c.Author, Message: c.Message, Changes: c.Change, Squash: c.Squash, Created: at, Clamp: clamp,
	})
	if err != nil {
		return exitOurs, err
	}
	fmt.Fprintln(a.out, img.ID.Encoded())
	return 0, nil
}
