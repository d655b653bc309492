package cli

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"

	"coracle/images"
	"coracle/internal/engine"
)

type pullCmd struct {
	accessFlags  `embed:""`
	Artifact     bool   `help:"Fetch the files of an artifact into a directory, not an image."`
	Output       string `short:"o" placeholder:"DIR" help:"With --artifact: the directory (default: this one)."`
	AllPlatforms bool   `name:"all-platforms" help:"Keep the whole index, with the images of all platforms."`
	AllTags      bool   `name:"all-tags" short:"a" help:"All tags of the repository."`
	Policy       string `placeholder:"WHEN" enum:"always,missing,never,newer" default:"always" help:"always, missing, never or newer."`
	Platform     string `placeholder:"OS/ARCH" help:"Which image of an index to take."`
	Quiet        bool   `short:"q" help:"No progress."`

	Images []string `arg:"" name:"IMAGE"`
}

func (*pullCmd) Help() string {
	return `Prints the id of each image once it is there. Mirrors and aliases of short names
are those of containers-registries.conf(5).

  coracle pull debian
  coracle pull --platform linux/arm64 docker.io/library/alpine:3.20
  coracle pull docker-archive:saved.tar oci:layout:name
  coracle pull --artifact registry.example.org/team/data:1 -o data`
}

func (*pullCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{
		refusedCreds(),
		{flags: "decryption-key", reason: "layers are not encrypted"},
		{flags: "disable-content-trust", never: true, reason: "digests are always verified", hint: "leave it out"},
	}, name)
}

func (c *pullCmd) run(a *app) (int, error) {
	access, err := c.access()
	if err != nil {
		return exitOurs, err
	}
	if c.Artifact {
		return c.artifacts(a, access)
	}
	if c.Output != "" {
		return exitOurs, &usageError{msg: "pull: --output is for files of artifacts", hint: "add --artifact, or coracle save -o FILE IMAGE"}
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	opts := engine.PullOptions{Policy: c.Policy, Platform: c.Platform, Access: access, AllPlatforms: c.AllPlatforms, Quiet: c.Quiet}
	bars := newProgress(a.err)
	if !c.Quiet {
		opts.Progress = bars.add
	}
	names, err := c.names(ctx, e, access)
	if err != nil {
		return exitOurs, err
	}
	var failed []error
	for _, name := range names {
		img, err := e.Pull(ctx, name, opts)
		bars.close()
		if err != nil {
			failed = append(failed, doing("pull", name, err))
			continue
		}
		fmt.Fprintln(a.out, img.ID.Encoded())
		if err := a.out.Flush(); err != nil {
			return exitOurs, fmt.Errorf("write the output: %w", err)
		}
	}
	return 0, a.failures(failed)
}

// artifacts fetches the files of artifacts, and prints where each has come to.
func (c *pullCmd) artifacts(a *app, access images.Access) (int, error) {
	if c.AllTags || c.AllPlatforms || c.Platform != "" {
		return exitOurs, &usageError{msg: "pull: --artifact fetches what a name stands for, without --all-tags, --all-platforms and --platform"}
	}
	ctx, stop := interruptible()
	defer stop()
	bars := newProgress(a.err)
	var progress images.Progress
	if !c.Quiet {
		progress = bars.add
	}
	dir := cmp.Or(c.Output, ".")
	var failed []error
	for _, name := range c.Images {
		out, err := images.PullArtifact(ctx, name, dir, access, progress)
		bars.close()
		if err != nil {
			failed = append(failed, err)
			continue
		}
		for _, f := range out.Files {
			fmt.Fprintln(a.out, visible(filepath.Join(dir, f)))
		}
	}
	return 0, a.failures(failed)
}

// names are those on the line, or with --all-tags one for each tag.
func (c *pullCmd) names(ctx context.Context, e engineAPI, access images.Access) ([]string, error) {
	if !c.AllTags {
		return c.Images, nil
	}
	var names []string
	for _, name := range c.Images {
		tags, err := e.Tags(ctx, name, access)
		if err != nil {
			return nil, err
		}
		if len(tags) == 0 {
			return nil, fmt.Errorf("pull %s: the repository has no tags", name)
		}
		for _, t := range tags {
			names = append(names, name+":"+t)
		}
	}
	return names, nil
}

// failures prints all but the last of several errors, and returns that one.
func (a *app) failures(errs []error) error {
	errs = flatten(errs)
	if len(errs) == 0 {
		return nil
	}
	for _, err := range errs[:len(errs)-1] {
		a.printError(err)
	}
	return errs[len(errs)-1]
}

// flatten takes errors.Join apart at the top, so that each part gets its own
// hint.
func flatten(errs []error) []error {
	var out []error
	for _, err := range errs {
		if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // only the top is taken apart
			out = append(out, joined.Unwrap()...)
		} else if err != nil {
			out = append(out, err)
		}
	}
	return out
}
