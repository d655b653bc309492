package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"coracle/fuse"
	"coracle/images"
	"coracle/spec"
	"coracle/userns"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Pack makes an image of a bundle or of a root file system. Of what Unpack made,
// and whose image is still there, only what has changed becomes a layer.
func (e *Engine) Pack(ctx context.Context, dir string, o NewImage) (*images.Image, error) {
	img, err := e.pack(ctx, dir, o)
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", dir, err)
	}
	e.emit(imageEvent("pack", img.ID.Encoded(), o.Name))
	return img, nil
}

// packRun is one bundle on its way to an image.
type packRun struct {
	e      *Engine
	o      NewImage
	root   string
	bundle bundle      // zero for what Unpack did not make
	config *specs.Spec // nil for a root alone
	m      userns.Map
	base   *images.Image // nil: none
	lowers []string      // of the base
}

func (e *Engine) pack(ctx context.Context, dir string, o NewImage) (*images.Image, error) {
	p := packRun{e: e, o: o}
	if err := p.read(ctx, dir); err != nil {
		return nil, err
	}
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	if err := p.findBase(ctx, store); err != nil {
		return nil, err
	}
	edit, err := p.edit()
	if err != nil {
		return nil, err
	}
	client, err := startFiles(ctx, p.m, append([]string{p.root}, p.lowers...)...)
	if err != nil {
		return nil, err
	}
	defer client.close()
	stop := context.AfterFunc(ctx, func() { _ = client.child.Kill() })
	defer stop()
	w := changes{call: client.call, req: changesRequest{Is: 1, From: 1, Was: len(p.lowers), Record: p.m.Single() && p.bundle.Version > 0, Time: o.Created, Clamp: o.Clamp}}
	if w.req.Whole = p.base == nil || o.Squash; w.req.Whole {
		w.req.Was = 0
	} else if err := p.leave(&w.req); err != nil {
		return nil, err
	}
	co := o.options("coracle pack", p.base)
	co.Edit = edit
	return e.makeImage(ctx, store, co, &w)
}

// read finds out what the directory is.
func (p *packRun) read(ctx context.Context, dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	st, err := os.Stat(abs)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return &Error{Err: errors.New("it is not a directory"), Help: "coracle import takes tar files"}
	}
	if p.root, err = filepath.EvalSymlinks(abs); err != nil {
		return err
	}
	ids, err := p.e.defaultIDs(ctx)
	if err != nil {
		return err
	}
	p.m = ids.Base
	err = readJSON(filepath.Join(abs, bundleFile), &p.bundle)
	if err == nil && p.bundle.Version != 1 {
		err = fmt.Errorf("its version is %d, known is 1", p.bundle.Version)
	}
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("find out what the bundle was made of: %w", err)
	}
	if _, err := os.Lstat(filepath.Join(abs, "config.json")); err != nil {
		return nil //nolint:nilerr // a root file system
	}
	if p.config, err = spec.LoadBundle(abs); err != nil {
		return err
	}
	root := "rootfs"
	if p.config.Root != nil && p.config.Root.Path != "" {
		root = p.config.Root.Path
	}
	if !filepath.IsAbs(root) {
		root = filepath.Join(abs, root)
	}
	if p.root, err = filepath.EvalSymlinks(root); err != nil {
		return err
	}
	switch l := p.config.Linux; {
	case p.bundle.Version == 1:
		p.m = p.bundle.Map
	case l != nil && len(l.UIDMappings) > 0 && len(l.GIDMappings) > 0:
		p.m = userns.Map{UIDs: l.UIDMappings, GIDs: l.GIDMappings}
	}
	return nil
}

// findBase looks for the image that the bundle was made of.
func (p *packRun) findBase(ctx context.Context, store *images.Store) error {
	if p.bundle.Version == 0 {
		return nil
	}
	img, err := store.Lookup(string(p.bundle.ID))
	if errors.Is(err, images.ErrNotFound) {
		p.e.warn(fmt.Sprintf("the image %s that the bundle was made of is no longer in the store: all files become one layer", p.bundle.Image), "")
		return nil
	}
	if err != nil {
		return err
	}
	p.base = img
	p.lowers, err = p.e.imageLayers(ctx, img, p.m)
	return err
}

// edit is what the bundle's configuration changes in the image's.
func (p *packRun) edit() (func(*images.Settings), error) {
	if p.config == nil {
		return nil, nil
	}
	var was *specs.Spec
	if p.base != nil {
		var err error
		if was, _, _, err = bundleConfig(p.base, p.lowers, p.m); err != nil {
			return nil, err
		}
	}
	return func(s *images.Settings) {
		c := spec.ImageConfig(s.ImageConfig)
		spec.ToImage(p.config, was, &c)
		s.User, s.Env, s.Entrypoint, s.Cmd, s.WorkingDir, s.Labels, s.StopSignal, s.ExposedPorts = c.User, c.Env, c.Entrypoint, c.Cmd, c.WorkingDir, c.Labels, c.StopSignal, c.ExposedPorts
	}, nil
}

// leave leaves out what a runtime has made to mount something on.
func (p *packRun) leave(r *changesRequest) error {
	if p.config == nil {
		return nil
	}
	reader, err := fuse.OpenLayers(p.lowers)
	if err != nil {
		return err
	}
	defer reader.Close()
	for _, m := range p.config.Mounts {
		dest := path.Clean("/" + m.Destination)
		if _, err := reader.Stat(dest); err != nil && dest != "/" {
			r.Leave.Trees = append(r.Leave.Trees, dest)
		}
	}
	return nil
}
