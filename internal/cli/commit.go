package cli

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"coracle/internal/engine"
)

// newImageFlags are what commit and pack say of the image that they make.
type newImageFlags struct {
	Author    string   `short:"a" placeholder:"NAME" help:"Who made the image."`
	Change    []string `short:"c" sep:"none" placeholder:"INSTRUCTION" help:"Set CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR."`
	Message   string   `short:"m" placeholder:"TEXT" help:"Note TEXT in the image's history."`
	Squash    bool     `short:"s" help:"Make one layer of everything."`
	Timestamp *int64   `placeholder:"SECONDS" help:"Give image and files this time, in seconds since 1970, so that the same files give the same image."`
}

func (f *newImageFlags) image(name string) (engine.NewImage, error) {
	at, clamp, err := created(f.Timestamp)
	return engine.NewImage{Name: name, Author: f.Author, Message: f.Message, Changes: f.Change, Squash: f.Squash, Created: at, Clamp: clamp}, err
}

type commitCmd struct {
	newImageFlags `embed:""`

	Format  string `short:"f" placeholder:"oci" enum:"oci" default:"oci" help:"oci is what the store keeps."`
	IIDFile string `name:"iidfile" placeholder:"FILE" help:"Write the image's id to FILE."`
	Pause   bool   `short:"p" help:"Freeze a container that runs meanwhile."`
	Quiet   bool   `short:"q" help:"No progress (there is none)."`

	Container string `arg:"" name:"CONTAINER"`
	Image     string `arg:"" name:"IMAGE" optional:""`
}

func (*commitCmd) Help() string {
	return `Makes an image of what the container has changed in its own, and of how it was
started. What is mounted in it is left out. Prints the image's id.

With SOURCE_DATE_EPOCH set, the image has that time, and no file is younger.

  coracle commit web web:patched
  coracle commit -c 'CMD ["/srv/run"]' -c 'ENV MODE=fast' job job:2
  coracle commit --pause --squash db db:snapshot`
}

func (*commitCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{
		{flags: "include-volumes", never: true, reason: "volumes belong to no image", hint: "coracle commit -c 'VOLUME /path' CONTAINER IMAGE"},
		{flags: "config", never: true, reason: "settings are changed by instructions", hint: "coracle commit -c 'ENV A=b' CONTAINER IMAGE"},
	}, name)
}

// created is the time that an image is to have: by flag, by the environment, or now.
func created(flag *int64) (at *time.Time, clamp bool, err error) {
	if flag != nil && !isTimestamp(*flag) {
		return nil, false, &usageError{msg: fmt.Sprintf("--timestamp: %d is no time between the years 1 and 9999", *flag), hint: "seconds since 1970: date +%s"}
	}
	if flag != nil {
		return engine.Timestamp(*flag), false, nil
	}
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return nil, false, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || !isTimestamp(n) {
		return nil, false, &usageError{msg: fmt.Sprintf("SOURCE_DATE_EPOCH=%s is not a number of seconds since 1970", text), hint: "unset SOURCE_DATE_EPOCH"}
	}
	return engine.Timestamp(n), true, nil
}

// isTimestamp: what JSON can say of a time ends with the year 9999.
func isTimestamp(seconds int64) bool { return seconds >= -62135596800 && seconds <= 253402300799 }

func (c *commitCmd) run(a *app) (int, error) {
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
	img, err := e.Commit(ctx, c.Container, engine.CommitOptions{NewImage: image, Pause: c.Pause})
	if err != nil {
		return exitOurs, err
	}
	if c.IIDFile != "" {
		if err := os.WriteFile(c.IIDFile, []byte(img.ID), 0o644); err != nil { //nolint:gosec // an id is no secret, and readers may be others
			return exitOurs, fmt.Errorf("write the image's id: %w", err)
		}
	}
	fmt.Fprintln(a.out, img.ID.Encoded())
	return 0, nil
}
