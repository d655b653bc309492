package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"coracle/images"
	"coracle/images/layer"
	"coracle/userns"
)

// PullOptions say how an image is fetched; strings as on the command line.
type PullOptions struct {
	Policy    string // always, missing, never, newer
	Platform  string
	TLSVerify *bool
	Quiet     bool
	Progress  func(name string, size int64) io.WriteCloser
}

// Pull fetches an image and unpacks it for the caller's default map, so that
// the first start need not.
func (e *Engine) Pull(ctx context.Context, name string, o PullOptions) (*images.Image, error) {
	ids, err := e.defaultIDs(ctx)
	if err != nil {
		return nil, err
	}
	return e.pull(ctx, name, o, ids)
}

func (e *Engine) defaultIDs(ctx context.Context) (userns.Resolved, error) {
	caller, err := e.caller()
	if err != nil {
		return userns.Resolved{}, err
	}
	return userns.Resolve(ctx, caller, userns.Request{})
}

func (e *Engine) pull(ctx context.Context, name string, o PullOptions, ids userns.Resolved) (*images.Image, error) {
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	stage := e.stage(ctx, ids.Base)
	img, err := store.Pull(ctx, name, images.PullOptions{
		Policy: images.Policy(o.Policy), Platform: o.Platform, TLSVerify: o.TLSVerify,
		Class: ids.Base.Class(), Stage: func() (layer.Stage, error) { return stage, nil },
		Progress: o.Progress,
	})
	return img, errors.Join(err, stage.Close())
}

// Images lists the store, newest first.
func (e *Engine) Images() ([]images.Image, error) {
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	return store.Images()
}

// RemoveImage removes a name, or an image with its last name. It returns lines
// in podman's words: "Untagged: …", "Deleted: …".
func (e *Engine) RemoveImage(ctx context.Context, name string, force bool) ([]string, error) {
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	ids, err := e.defaultIDs(ctx)
	if err != nil {
		return nil, err
	}
	stage := e.stage(ctx, ids.Base)
	done, err := store.Remove(ctx, name, images.RemoveOptions{Force: force, Stage: func() (layer.Stage, error) { return stage, nil }})
	if err = errors.Join(err, stage.Close()); err != nil {
		return nil, err
	}
	var lines []string
	for _, n := range done.Untagged {
		lines = append(lines, "Untagged: "+n)
	}
	if done.Deleted != "" {
		lines = append(lines, "Deleted: "+done.Deleted.String())
	}
	return lines, nil
}

// ImportOptions describe an image made of a file system.
type ImportOptions struct {
	Name     string
	Changes  []string
	Message  string
	Platform string
	Stdin    *os.File // read when the source is "-"
}

// Import makes an image of a tar file, plain or compressed.
func (e *Engine) Import(ctx context.Context, src string, o ImportOptions) (*images.Image, error) {
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	in := o.Stdin
	if src != "-" {
		if in, err = os.Open(src); err != nil {
			return nil, fmt.Errorf("import: %w", err)
		}
		defer in.Close()
		if st, err := in.Stat(); err == nil && st.IsDir() {
			return nil, &Error{Op: "import " + src, Err: errors.New("it is a directory"), Help: fmt.Sprintf("tar -C %s -c . | coracle import - NAME, or run it as it is: coracle run --rootfs %[1]s", src)}
		}
	}
	if in == nil {
		return nil, errors.New("import: there is no standard input")
	}
	ids, err := e.defaultIDs(ctx)
	if err != nil {
		return nil, err
	}
	stage := e.stage(ctx, ids.Base)
	img, err := store.Import(ctx, in, images.ImportOptions{
		Name: o.Name, Changes: o.Changes, Message: o.Message, Platform: o.Platform,
		// Unpacked while it is read, so that the first start need not.
		Class: ids.Base.Class(), Stage: func() (layer.Stage, error) { return stage, nil },
	})
	return img, errors.Join(err, stage.Close())
}

// Inspect describes an image or a container; kind is image, container or all.
func (e *Engine) Inspect(name, kind string) (any, error) {
	if kind != "image" {
		c, err := e.find(name)
		if err == nil {
			return e.inspectContainer(c), nil
		}
		if kind == "container" || !isNotFound(err) {
			return nil, err
		}
	}
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	return store.Inspect(name)
}
