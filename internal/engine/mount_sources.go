package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"coracle/fuse"
	"coracle/spec"
)

// mountSources answers what the mounts of a run name.
type mountSources struct{ r *run }

// Volume describes a volume that is there, or will be.
func (s *mountSources) Volume(name string) (spec.Volume, error) {
	e := s.r.e
	if err := checkName(name); err != nil {
		return spec.Volume{}, errors.New("a volume's name has at most 200 letters, digits, _ . -")
	}
	v, err := e.readVolume(name)
	if isNotFound(err) {
		return spec.Volume{Source: e.volumeData(name)}, nil
	}
	if err != nil {
		return spec.Volume{}, err
	}
	o, err := parseVolumeOptions(v.Options)
	if err != nil {
		return spec.Volume{}, fmt.Errorf("use volume %s: %w", name, err)
	}
	out := spec.Volume{Source: v.Mountpoint, Tmpfs: o.tmpfs, Options: o.words, Anonymous: v.Anonymous}
	if o.device != "" {
		out.Source = o.device
		if _, err := (hostFacts{}).Stat(o.device); err != nil {
			return out, fmt.Errorf("use volume %s: %w", name, err)
		}
	}
	return out, nil
}

// Mounts are those of another container.
func (s *mountSources) Mounts(container string) ([]spec.Mounted, error) {
	c, err := s.r.e.find(container)
	if err != nil {
		return nil, err
	}
	if c.Mounts == nil { // it is just starting
		c.Mounts, err = readMounts(s.r.e.containerDir(c.ID))
	}
	return c.Mounts, err
}

// Image finds another image for a mount, in the container's ids.
func (s *mountSources) Image(name, subpath string) (_ spec.ImageRoot, err error) {
	r, ctx := s.r, context.Background()
	if name == hostImage {
		return spec.ImageRoot{}, errors.New("the host is no image")
	}
	if outsider(r.ids) {
		return spec.ImageRoot{}, errors.New("it takes an overlay of layers, which the ids of --userns nomap cannot reach")
	}
	o := r.o
	o.Image, o.Rootfs = name, false
	root := &rootSource{e: r.e}
	if err := root.image(ctx, o, r.ids); err != nil {
		return spec.ImageRoot{}, err
	}
	if err = root.open(); err != nil {
		return spec.ImageRoot{}, err
	}
	defer root.close()
	out := spec.ImageRoot{ID: root.imageID.String()}
	dirs, _, err := root.reader.Dirs("/" + subpath)
	if err != nil {
		return out, fmt.Errorf("find /%s in image %s: %w", subpath, name, err)
	}
	if root.meta != "" {
		if subpath != "" {
			return out, errors.New("a part of an image cannot be mounted with other ids (--userns)")
		}
		return out, root.metaMount(&out)
	}
	if len(dirs) == 1 {
		out.Bind = dirs[0]
		return out, nil
	}
	return out, root.overlayMount(ctx, &out, dirs)
}

// metaMount is the overlay of a metadata tree over its layers (translate.go).
func (r *rootSource) metaMount(out *spec.ImageRoot) error {
	out.Overlay = []string{"userxattr", "lowerdir+=" + r.meta}
	for _, l := range r.lowers {
		out.Overlay = append(out.Overlay, "datadir+="+l)
	}
	return nil
}

// maxOption is the longest value that fsconfig(2) takes, maxData what mount(2)
// does, with room for the rest.
const maxOption, maxData = 255, 3500

func (r *rootSource) overlayMount(ctx context.Context, out *spec.ImageRoot, dirs []string) error {
	facts, err := fuse.Probe(ctx, fuse.ProbeRequest{Dir: filepath.Join(r.e.root, "layers"), Cache: r.e.runRoot})
	if err != nil {
		return err
	}
	if !facts.LowerOnly {
		return &Error{Op: "mount an image", Err: errors.New("the kernel refuses an overlay here: " + facts.OverlayWhy), Help: "coracle doctor"}
	}
	out.Overlay = []string{"userxattr"}
	long := !facts.LowerPlus
	for _, d := range dirs {
		long = long || len(d) > maxOption
	}
	if !long {
		for _, d := range dirs {
			out.Overlay = append(out.Overlay, "lowerdir+="+d)
		}
		return nil
	}
	names := make([]string, len(dirs))
	for i, d := range dirs {
		names[i] = fuse.EscapeLower(d)
	}
	all := strings.Join(names, ":")
	if len(all) > maxData {
		return fmt.Errorf("its %d layers have names of %d bytes together, and this kernel takes %d", len(dirs), len(all), maxData)
	}
	out.Overlay = append(out.Overlay, "lowerdir="+all)
	return nil
}

// Secret says whether there is one of that name.
func (s *mountSources) Secret(name string) (string, error) {
	x, err := s.r.e.readSecret(name)
	return x.ID, err
}
