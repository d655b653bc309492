package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"coracle/images"
	"coracle/images/layer"
	"coracle/internal/foreground"

	"github.com/opencontainers/go-digest"
)

// Tag gives an image more names.
func (e *Engine) Tag(ctx context.Context, name string, names []string) error {
	store, err := e.store()
	if err != nil {
		return err
	}
	img, err := store.Lookup(name)
	if err != nil {
		return fmt.Errorf("tag %s: %w", name, err)
	}
	for _, n := range names {
		if err := store.Tag(ctx, name, n); err != nil {
			return fmt.Errorf("tag %s: %w", name, err)
		}
		e.emit(imageEvent("tag", img.ID.Encoded(), n))
	}
	return nil
}

// Untag takes names from an image, all of them where none is given. The image
// stays.
func (e *Engine) Untag(ctx context.Context, name string, names []string) error {
	store, err := e.store()
	if err != nil {
		return err
	}
	img, err := store.Lookup(name)
	if err != nil {
		return fmt.Errorf("untag %s: %w", name, err)
	}
	if len(names) == 0 {
		names = img.Names
	}
	for _, n := range names {
		other, err := store.Lookup(n)
		if err == nil && other.Manifest.Digest != img.Manifest.Digest {
			err = errors.New("it is the name of another image")
		}
		if err == nil {
			err = store.Untag(ctx, n)
		}
		if err != nil {
			return fmt.Errorf("untag %s from %s: %w", n, name, err)
		}
		e.emit(imageEvent("untag", img.ID.Encoded(), n))
	}
	return nil
}

// SaveOptions are one `coracle save`.
type SaveOptions struct {
	images.SaveOptions
	Output string // a file or, for the kinds that are one, a directory; "" for Stdout
	Stdout *os.File
}

// Save writes images into a file or a directory.
func (e *Engine) Save(ctx context.Context, names []string, o SaveOptions) error {
	store, err := e.store()
	if err != nil {
		return err
	}
	if o.Kind == images.SaveOCIDir || o.Kind == images.SaveDockerDir {
		if o.Output == "" {
			return &Error{Err: fmt.Errorf("save: the format %s needs a place", o.Kind), Help: "name it with --output DIR"}
		}
		return store.SaveDir(ctx, o.Output, names, o.SaveOptions)
	}
	if o.Output == "" {
		if foreground.IsTerminal(o.Stdout) {
			return &Error{Err: errors.New("refusing to write an archive to a terminal"), Help: "coracle save -o FILE.tar " + names[0]}
		}
		return store.Save(ctx, o.Stdout, names, o.SaveOptions)
	}
	return writeWhole(o.Output, "save", func(f *os.File) error { return store.Save(ctx, f, names, o.SaveOptions) })
}

// writeWhole writes a file that appears when it is complete: what was there before is not lost to
// one that fails. What is no regular file (a pipe, a device) is written to as it is. An error of
// the file itself is said to be one of what.
func writeWhole(path, what string, write func(*os.File) error) error {
	if st, serr := os.Stat(path); serr == nil && !st.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return errors.Join(write(f), f.Close())
	}
	var werr error // says itself whose it is
	err := images.WriteWhole(path, true, func(f *os.File) error { werr = write(f); return werr })
	if err != nil && werr == nil {
		err = fmt.Errorf("%s: %w", what, err)
	}
	return err
}

// LoadOptions are one `coracle load`.
type LoadOptions struct {
	Input    string // a file or a directory; "-" for Stdin
	Stdin    *os.File
	Platform string
	Progress images.Progress
}

// Load takes all images of an archive into the store.
func (e *Engine) Load(ctx context.Context, o LoadOptions) ([]*images.Image, error) {
	if o.Input == "-" && foreground.IsTerminal(o.Stdin) {
		return nil, &Error{Err: errors.New("refusing to read an archive from a terminal"), Help: "coracle load -i FILE.tar, or coracle load <FILE.tar"}
	}
	ids, err := e.defaultIDs(ctx)
	if err != nil {
		return nil, err
	}
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	stage := e.stage(ctx, ids.Base)
	list, err := store.Load(ctx, o.Input, o.Stdin, images.PullOptions{
		Platform: o.Platform, Class: ids.Base.Class(), Stage: func() (layer.Stage, error) { return stage, nil }, Progress: o.Progress,
	})
	for _, img := range list {
		e.emit(imageEvent("loadfromarchive", img.ID.Encoded(), o.Input))
	}
	return list, errors.Join(err, stage.Close())
}

// Push sends an image to a registry, an archive or a directory.
func (e *Engine) Push(ctx context.Context, name, dest string, o images.PushOptions) (*images.Pushed, error) {
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	out, err := store.Push(ctx, name, dest, o)
	if err != nil {
		return nil, err
	}
	if img, err := store.Lookup(name); err == nil {
		e.emit(imageEvent("push", img.ID.Encoded(), cmp.Or(dest, name)))
	}
	return out, nil
}

// Tags lists the tags of a repository.
func (e *Engine) Tags(ctx context.Context, name string, a images.Access) ([]string, error) {
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	return store.Tags(ctx, name, a)
}

// Image finds an image of the store.
func (e *Engine) Image(name string) (*images.Image, error) {
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	return store.Lookup(name)
}

// Variants lists the images of the index that an image came from.
func (e *Engine) Variants(img *images.Image) ([]images.Variant, error) {
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	return store.Variants(img)
}

// RawManifest is the manifest or index that a name stands for, as it is kept.
func (e *Engine) RawManifest(name string) ([]byte, error) {
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	return store.Raw(name)
}

// Verify looks for signatures of an image in its registry.
func (e *Engine) Verify(ctx context.Context, name string, keys []images.Key, a images.Access) (digest.Digest, []images.Key, error) {
	store, err := e.store()
	if err != nil {
		return "", nil, err
	}
	return store.Verify(ctx, name, keys, a)
}
