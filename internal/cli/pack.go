package cli

import "fmt"

type packCmd struct {
	newImageFlags `embed:""`

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
	image, err := c.image(c.Image)
	if err != nil {
		return exitOurs, err
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	img, err := e.Pack(ctx, c.Dir, image)
	if err != nil {
		return exitOurs, err
	}
	fmt.Fprintln(a.out, img.ID.Encoded())
	return 0, nil
}
