package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"coracle/images"
	"coracle/images/layer"
	"coracle/userns"
)

// PullOptions say how an image is fetched; strings as on the command line.
type PullOptions struct {
	Policy   string // always, missing, never, newer
	Platform string
	images.Access
	AllPlatforms bool
	Quiet        bool
	Progress     func(name string, size int64) io.WriteCloser
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
	var fetched atomic.Bool
	img, err := store.Pull(ctx, name, images.PullOptions{
		Policy: images.Policy(o.Policy), Platform: o.Platform, Access: o.Access, AllPlatforms: o.AllPlatforms,
		Class: ids.Base.Class(), Stage: func() (layer.Stage, error) { return stage, nil },
		Progress: func(layer string, size int64) io.WriteCloser {
			fetched.Store(true)
			if o.Progress == nil {
				return nil
			}
			return o.Progress(layer, size)
		},
	})
	if err == nil && (fetched.Load() || o.Policy == "always") {
		e.emit(imageEvent("pull", img.ID.Encoded(), name))
	}
	return img, errors.Join(err, stage.Close())
}

// Images lists the store, newest first.
func (e *Engine) Images() ([]images.Listed, error) {
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	return store.List()
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
		e.emit(imageEvent("untag", hexOf(done.ID), n))
		lines = append(lines, "Untagged: "+n)
	}
	if done.Deleted != "" {
		e.emit(imageEvent("remove", done.Deleted.Encoded(), name))
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
	if err == nil {
		e.emit(imageEvent("import", img.ID.Encoded(), o.Name))
	}
	return img, errors.Join(err, stage.Close())
}
