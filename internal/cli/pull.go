package cli

import (
	"fmt"

	"coracle/internal/engine"
)

type pullCmd struct {
	Policy    string `placeholder:"WHEN" enum:"always,missing,never,newer" default:"always" help:"always, missing, never or newer."`
	Platform  string `placeholder:"OS/ARCH" help:"Which image of an index to take."`
	TLSVerify *bool  `name:"tls-verify" placeholder:"false" help:"Allow plain HTTP and unknown certificates."`
	Quiet     bool   `short:"q" help:"No progress."`

	Images []string `arg:"" name:"IMAGE"`
}

func (*pullCmd) Help() string {
	return `Prints the id of each image once it is there.

  coracle pull debian
  coracle pull --platform linux/arm64 docker.io/library/alpine:3.20
  coracle pull docker-archive:saved.tar oci:layout:name`
}

func (*pullCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{
		{flags: "a all-tags", reason: "an image is fetched by one name", hint: "name each tag"},
		{flags: "authfile creds cert-dir decryption-key retry retry-delay", reason: "credentials are read from docker's and podman's own files"},
		{flags: "disable-content-trust", never: true, reason: "digests are always verified", hint: "leave it out"},
	}, name)
}

func (c *pullCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	opts := engine.PullOptions{Policy: c.Policy, Platform: c.Platform, TLSVerify: c.TLSVerify, Quiet: c.Quiet}
	bars := newProgress(a.err)
	if !c.Quiet {
		opts.Progress = bars.add
	}
	var failed []error
	for _, name := range c.Images {
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
