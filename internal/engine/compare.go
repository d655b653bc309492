package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"coracle/images"
	"coracle/userns"

	"github.com/opencontainers/go-digest"
)

var errNothing = errors.New("no container, image or layer")

// comparand is something with files: a container, an image, or a layer of one.
type comparand struct {
	name   string
	layers []string // topmost first
	marked bool
	m      userns.Map
	own    *blueprint // of a container
	done   func()
}

// Compare lists what is different in b, from what is in a. Each is a container, an
// image, or a layer with what is below it, by its chain id, its diffID or the start of
// either. Without b, a is an image or a layer, and is compared with what is below its topmost layer.
func (e *Engine) Compare(ctx context.Context, a, b string) ([]Change, error) {
	was, err := e.comparable(ctx, a)
	if err != nil {
		return nil, err
	}
	defer was.done()
	is := was
	if b == "" {
		was.layers = was.layers[min(1, len(was.layers)):]
	} else if is, err = e.comparable(ctx, b); err != nil {
		return nil, err
	} else {
		defer is.done()
	}
	if was.own != nil && is.own == nil { // an image is in all maps
		if is, err = e.again(ctx, is, b, was.m); err != nil {
			return nil, err
		}
	} else if is.own != nil && was.own == nil && b != "" {
		if was, err = e.again(ctx, was, a, is.m); err != nil {
			return nil, err
		}
	}
	if was.m.Class() != is.m.Class() {
		return nil, &Error{Op: fmt.Sprintf("compare %s with %s", b, a), Err: errors.New("they have other ids, and so all owners differ"), Help: "export both, and compare the archives"}
	}
	all, err := compareTrees(ctx, was, is)
	if err != nil && b == "" {
		return nil, fmt.Errorf("compare %s with what is below: %w", a, err)
	}
	if err != nil {
		return nil, fmt.Errorf("compare %s with %s: %w", b, a, err)
	}
	return all, nil
}

func compareTrees(ctx context.Context, was, is comparand) ([]Change, error) {
	req := changesRequest{List: true, Is: len(is.layers), From: len(is.layers), Was: len(was.layers), Marked: is.marked, MarkedWas: was.marked, Record: is.m.Single()}
	if is.own != nil {
		req.Leave = leaveOurs(*is.own)
	}
	if was.own != nil {
		req.Leave.Trees = append(req.Leave.Trees, leaveOurs(*was.own).Trees...)
		req.Leave.Alone = leaveOurs(*was.own).Alone
	}
	trim(req.Leave.Trees)
	trim(req.Leave.Alone)
	client, err := startFiles(ctx, is.m, slices.Concat(is.layers, was.layers)...)
	if err != nil {
		return nil, err
	}
	defer client.close()
	stop := context.AfterFunc(ctx, func() { _ = client.child.Kill() })
	defer stop()
	all, err := client.list(filesRequest{Op: "changes", Changes: req})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return all, err
}

// trim makes paths relative.
func trim(paths []string) {
	for i, p := range paths {
		paths[i] = strings.Trim(p, "/")
	}
}

// comparable finds what a name means.
func (e *Engine) comparable(ctx context.Context, name string) (comparand, error) {
	c, err := e.find(name)
	if err == nil {
		return e.comparableContainer(ctx, c)
	}
	if !isNotFound(err) {
		return comparand{}, err
	}
	ids, err := e.defaultIDs(ctx)
	if err != nil {
		return comparand{}, err
	}
	return e.comparableImage(ctx, name, ids.Base)
}

func (e *Engine) again(ctx context.Context, c comparand, name string, m userns.Map) (comparand, error) {
	if c.m.Class() == m.Class() {
		return c, nil
	}
	other, err := e.comparableImage(ctx, name, m)
	other.done = func() {} // c is held
	return other, err
}

func (e *Engine) comparableContainer(ctx context.Context, c Container) (comparand, error) {
	out := comparand{name: c.Name, done: func() {}}
	p, err := e.readBlueprint(c.ID)
	if err != nil {
		return out, err
	}
	if p.Root.Host {
		return out, &Error{Op: "compare container " + c.Name, Err: errors.New("its root is the host's own")}
	}
	l, err := e.ownLayers(ctx, c, p)
	if err != nil {
		return out, err
	}
	out.layers, out.marked, out.m, out.own = l.is, l.marked, p.IDs.Map, &p
	if p.Root.Meta == "" {
		out.m = p.IDs.Base
	}
	return out, nil
}

func (e *Engine) comparableImage(ctx context.Context, name string, m userns.Map) (comparand, error) {
	out := comparand{name: name, m: m, done: func() {}}
	store, err := e.store()
	if err != nil {
		return out, err
	}
	img, err := store.Lookup(name)
	drop := 0
	if errors.Is(err, images.ErrNotFound) {
		if img, drop = e.withLayer(store, name); img == nil {
			return out, &Error{Err: fmt.Errorf("%w is called %q", errNothing, name), Help: "coracle ps -a and coracle images list what is there"}
		}
		err = nil
	}
	if err != nil {
		return out, err
	}
	if out.done, err = store.Hold(ctx, img); err != nil {
		return out, err
	}
	out.layers, err = e.imageLayers(ctx, img, m)
	if err != nil {
		out.done()
		return out, err
	}
	out.layers = out.layers[drop:]
	return out, nil
}

// withLayer finds an image that has the layer, and how many are above it.
func (e *Engine) withLayer(store *images.Store, name string) (*images.Image, int) {
	prefix := strings.TrimPrefix(name, "sha256:")
	if len(prefix) < 4 || strings.Trim(prefix, "0123456789abcdef") != "" {
		return nil, 0
	}
	all, _ := store.Images() // what cannot be read has no layers
	for i := range all {
		img := &all[i]
		for n := range img.ChainIDs {
			for _, d := range []digest.Digest{img.ChainIDs[n], img.DiffIDs[n]} {
				if strings.HasPrefix(d.Encoded(), prefix) {
					return img, len(img.ChainIDs) - 1 - n
				}
			}
		}
	}
	return nil, 0
}
