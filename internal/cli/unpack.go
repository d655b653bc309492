package cli

import (
	"coracle/internal/engine"
)

type unpackCmd struct {
	Platform string `placeholder:"OS/ARCH" help:"Which image of an index to take."`
	Pull     string `placeholder:"WHEN" enum:"always,missing,never,newer" default:"missing" help:"always, missing, never or newer."`
	Rootless bool   `help:"Let all files be yours. Their owners are noted for coracle pack."`
	Quiet    bool   `short:"q" help:"No progress."`

	Image string `arg:"" name:"IMAGE"`
	Dir   string `arg:"" name:"DIR"`
}

func (*unpackCmd) Help() string {
	return `Makes an OCI bundle of an image, for runc, crun or coracle oci: DIR/rootfs with
its files, and DIR/config.json with what the image says. DIR must be empty, or
not there. Files belong to your subordinate ids, as in containers: to remove
them, type coracle unshare rm -r DIR.

  coracle unpack debian bundle
  coracle oci run -b bundle test
  coracle pack bundle debian:changed`
}

func (c *unpackCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	o := engine.UnpackOptions{Platform: c.Platform, Pull: c.Pull, Rootless: c.Rootless}
	bars := newProgress(a.err)
	if !c.Quiet {
		o.Progress = bars.add
	}
	err = e.Unpack(ctx, c.Image, c.Dir, o)
	bars.close()
	return exitOnError(err)
}

func exitOnError(err error) (int, error) {
	if err != nil {
		return exitOurs, err
	}
	return 0, nil
}
