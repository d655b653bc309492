package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"coracle/images"
	"coracle/internal/engine"
)

// imageAPI is what the commands that move images ask of the engine.
type imageAPI interface {
	Tag(ctx context.Context, name string, names []string) error
	Untag(ctx context.Context, name string, names []string) error
	Save(ctx context.Context, names []string, o engine.SaveOptions) error
	Load(ctx context.Context, o engine.LoadOptions) ([]*images.Image, error)
	Image(name string) (*images.Image, error)
	Variants(img *images.Image) ([]images.Variant, error)
	RawManifest(name string) ([]byte, error)
	Verify(ctx context.Context, name string, keys []images.Key, a images.Access) (digest.Digest, []images.Key, error)
	Tags(ctx context.Context, name string, a images.Access) ([]string, error)
	Push(ctx context.Context, name, dest string, o images.PushOptions) (*images.Pushed, error)
}

type tagCmd struct {
	Image string   `arg:"" name:"IMAGE"`
	Names []string `arg:"" name:"NAME"`
}

func (*tagCmd) Help() string {
	return `A NAME without a registry belongs to localhost; without a tag it gets "latest".
An image that had the name stays, without it.

  coracle tag debian:12 registry.example.org/base/debian:12`
}

func (c *tagCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	return 0, e.Tag(ctx, c.Image, c.Names)
}

type untagCmd struct {
	Image string   `arg:"" name:"IMAGE"`
	Names []string `arg:"" name:"NAME" optional:""`
}

func (*untagCmd) Help() string {
	return `Without NAME the image loses all its names. It stays in the store, where its id
names it.

  coracle untag debian:12 my/debian:old`
}

func (c *untagCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	return 0, e.Untag(ctx, c.Image, c.Names)
}

type saveCmd struct {
	Output     string `short:"o" placeholder:"FILE" help:"Write to FILE, or DIR, instead of standard output."`
	Format     string `placeholder:"KIND" enum:"docker-archive,oci-archive,oci-dir,docker-dir" default:"docker-archive" help:"docker-archive, oci-archive, oci-dir or docker-dir."`
	Compress   bool   `help:"Compress the archive with gzip, or the layers of a docker-dir."`
	MultiImage bool   `name:"multi-image-archive" short:"m" help:"Several images in one archive: always so; accepted for podman's sake."`
	Quiet      bool   `short:"q" help:"No progress."`

	Images []string `arg:"" name:"IMAGE"`
}

func (*saveCmd) Help() string {
	return `Writes images with the names that they are called by. What one command writes
"coracle load", docker, podman, skopeo and buildah read.

  coracle save -o debian.tar debian:12
  coracle save debian:12 alpine | zstd >both.tar.zst
  coracle save --format oci-dir -o layout debian:12`
}

func (*saveCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{
		{flags: "uncompressed", never: true, reason: "an OCI archive has the layers as they came, which is what names them", hint: "--format docker-archive has them uncompressed"},
		{flags: "signature-policy", never: true, reason: "what is in the store has been checked", hint: "leave it out"},
		{flags: "platform", reason: "an image is of one platform"},
	}, name)
}

func (c *saveCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	if err := a.out.Flush(); err != nil {
		return exitOurs, fmt.Errorf("write the output: %w", err)
	}
	o := engine.SaveOptions{Output: c.Output, Stdout: a.files[1]}
	o.Kind, o.Compress = c.Format, c.Compress
	if c.Compress && c.Format == images.SaveDockerDir {
		o.Compression, o.Compress = "gzip", false
	}
	bars := newProgress(a.err)
	defer bars.close()
	if !c.Quiet && isTerminal(a.files[2]) {
		o.Progress = bars.add
	}
	return 0, e.Save(ctx, c.Images, o)
}

type loadCmd struct {
	Input    string `short:"i" placeholder:"FILE" default:"-" help:"Read FILE, or the directory, instead of standard input."`
	Platform string `placeholder:"OS/ARCH" help:"Which image of an index to take."`
	Quiet    bool   `short:"q" help:"No progress."`
}

func (*loadCmd) Help() string {
	return `Takes all images of an archive that docker, podman, skopeo, buildah, umoci or
coracle has written, of both kinds, compressed with gzip or zstd or not, or of
an OCI layout in a directory. Prints their names.

  coracle load -i debian.tar
  ssh build docker save app:1 | coracle load`
}

func (*loadCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{
		{flags: "signature-policy", never: true, reason: "the policy is the user's or the system's policy.json", hint: "leave it out"},
	}, name)
}

func (c *loadCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	o := engine.LoadOptions{Input: c.Input, Stdin: a.files[0], Platform: c.Platform}
	bars := newProgress(a.err)
	if !c.Quiet {
		o.Progress = bars.add
	}
	list, err := e.Load(ctx, o)
	bars.close()
	var said []string
	for _, img := range list {
		names := img.Names
		if len(names) == 0 {
			names = []string{img.ID.String()}
		}
		for _, n := range names {
			if !slices.Contains(said, n) {
				said = append(said, n)
				fmt.Fprintln(a.out, "Loaded image: "+visible(n))
			}
		}
	}
	return 0, err
}
