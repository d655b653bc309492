package cli

import (
	"cmp"
	"fmt"
	"strings"

	"coracle/internal/engine"
)

type importCmd struct {
	Change   []string `short:"c" sep:"none" placeholder:"INSTRUCTION" help:"Set CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR."`
	Message  string   `short:"m" placeholder:"TEXT" help:"Note TEXT in the image's history."`
	Platform string   `placeholder:"OS/ARCH" help:"What the files are for (default: this machine)."`
	Quiet    bool     `short:"q" help:"Print the id only."`

	File string `arg:"" name:"FILE"`
	Name string `arg:"" name:"NAME" optional:""`
}

func (*importCmd) Help() string {
	return `FILE is a tar file of a root file system, plain or packed with gzip or zstd; -
is standard input. Prints the image's id.

  mmdebstrap trixie - | coracle import - trixie
  coracle import -c 'CMD ["/bin/bash"]' rootfs.tar.zst my/root:1`
}

func (c *importCmd) run(a *app) (int, error) {
	if strings.HasPrefix(c.File, "http://") || strings.HasPrefix(c.File, "https://") {
		return exitOurs, &usageError{msg: "import: it fetches nothing by itself", hint: "curl -fL " + c.File + " | coracle import - " + cmp.Or(c.Name, "NAME")}
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	img, err := e.Import(ctx, c.File, engine.ImportOptions{
		Name:     c.Name,
		Changes:  c.Change,
		Message:  c.Message,
		Platform: c.Platform,
		Stdin:    a.files[0],
	})
	if err != nil {
		return exitOurs, doing("import", c.File, err)
	}
	fmt.Fprintln(a.out, img.ID)
	return 0, nil
}
