package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"coracle/fuse"
	"coracle/images"
	"coracle/images/layer"
	"coracle/spec"
	"coracle/userns"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// UnpackOptions are one `coracle unpack`.
type UnpackOptions struct {
	Platform string
	Pull     string // as of PullOptions
	Rootless bool   // all files are the caller's own; their owners are recorded
	Progress func(name string, size int64) io.WriteCloser
}

// bundleFile is what Unpack writes beside config.json for Pack.
const bundleFile = "coracle-bundle.json"

// bundle is what is in it.
type bundle struct {
	Version  int           `json:"version"`
	Image    string        `json:"image"`    // as it was named
	ID       digest.Digest `json:"id"`       // of its configuration
	Manifest digest.Digest `json:"manifest"` // in the store
	Map      userns.Map    `json:"map"`      // of the files' owners
}

// Unpack makes a bundle of an image, in a directory that is empty or is made:
// config.json, and rootfs with copies of the files, by reflink where the file
// system can.
func (e *Engine) Unpack(ctx context.Context, image, dir string, o UnpackOptions) error {
	abs, made, err := emptyDir(dir)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", image, err)
	}
	u := unpackRun{e: e, image: image, dir: abs, o: o}
	err = u.run(ctx)
	if err == nil {
		return nil
	}
	undo := u.remove(context.WithoutCancel(ctx))
	if made {
		os.Remove(abs)
	}
	return errors.Join(fmt.Errorf("unpack %s to %s: %w", image, dir, err), undo)
}

// emptyDir makes a directory, or makes sure that it is empty.
func emptyDir(dir string) (abs string, made bool, err error) {
	abs, err = filepath.Abs(dir)
	if err != nil {
		return "", false, err
	}
	err = os.Mkdir(abs, 0o755) //nolint:gosec // mapped ids must be able to pass
	if err == nil || !errors.Is(err, os.ErrExist) {
		return abs, err == nil, err
	}
	d, err := os.Open(abs)
	if err != nil {
		return "", false, err
	}
	defer d.Close()
	if names, err := d.Readdirnames(2); err == nil && len(names) > 0 {
		help := "name a directory that is not there yet"
		if len(names) == 1 && names[0] == "rootfs" { // config.json is the last
			help += "; what an unpack that was broken off has left is removed by coracle unshare rm -r " + filepath.Join(dir, names[0])
		}
		return "", false, &Error{Err: fmt.Errorf("%s is not empty", dir), Help: help}
	} else if err != nil && !errors.Is(err, io.EOF) {
		return "", false, err
	}
	return abs, false, nil
}

// unpackRun is one image on its way to a bundle.
type unpackRun struct {
	e          *Engine
	image, dir string
	o          UnpackOptions
	m          userns.Map
	began      bool
}

func (u *unpackRun) run(ctx context.Context) error {
	ids, err := u.e.defaultIDs(ctx)
	if err != nil {
		return err
	}
	if u.m = ids.Base; u.o.Rootless {
		u.m = userns.SingleMap(uint32(os.Getuid()), uint32(os.Getgid()))
		ids.Base, ids.Map = u.m, u.m
	}
	img, err := u.e.pull(ctx, u.image, PullOptions{Policy: u.o.Pull, Platform: u.o.Platform, Progress: u.o.Progress}, ids)
	if err != nil {
		return err
	}
	store, err := u.e.store()
	if err != nil {
		return err
	}
	release, err := store.Hold(ctx, img) // nobody is to remove it meanwhile
	if err != nil {
		return err
	}
	defer release()
	lowers, err := u.e.imageLayers(ctx, img, u.m)
	if err != nil {
		return err
	}
	config, volumes, err := u.config(img, lowers)
	if err != nil {
		return err
	}
	if err := u.tree(ctx, lowers, volumes); err != nil {
		return err
	}
	for i, v := range volumes {
		config.Mounts = append(config.Mounts, specs.Mount{Destination: v, Type: "bind", Source: filepath.Join("volumes", strconv.Itoa(i)), Options: []string{"rbind", "rw", "nosuid", "nodev"}})
	}
	return u.write(config, img)
}

// imageLayers are the directories of an image's layers for a map, topmost first.
func (e *Engine) imageLayers(ctx context.Context, img *images.Image, m userns.Map) ([]string, error) {
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	e.warnCopied(store, img, m.Class())
	stage := e.stage(ctx, m)
	dirs, err := store.Layers(ctx, img, m.Class(), func() (layer.Stage, error) { return stage, nil })
	return dirs, errors.Join(err, stage.Close())
}

// config is what config.json will say, and the volumes.
func (u *unpackRun) config(img *images.Image, lowers []string) (*specs.Spec, []string, error) {
	s, volumes, notes, err := bundleConfig(img, lowers, u.m)
	for _, n := range notes {
		u.e.warn(n, "")
	}
	return s, volumes, err
}

// bundleConfig is the configuration that an image's own becomes.
func bundleConfig(img *images.Image, lowers []string, m userns.Map) (*specs.Spec, []string, []string, error) {
	r, err := fuse.OpenLayers(lowers)
	if err != nil {
		return nil, nil, nil, err
	}
	defer r.Close()
	c := img.Config
	facts := spec.ImageFacts{ImageConfig: spec.ImageConfig(c.Config), OS: c.OS, Architecture: c.Architecture, Variant: c.Variant, OSVersion: c.OSVersion, OSFeatures: c.OSFeatures, Author: c.Author}
	if c.Created != nil {
		facts.Created = c.Created.Format(time.RFC3339Nano)
	}
	_, err = os.Stat("/sys/fs/cgroup/cgroup.controllers")
	o := spec.ExampleOptions{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), CgroupV2: err == nil}
	return spec.FromImage(facts, r, o, m.UIDs, m.GIDs)
}

// tree copies the files, as root of the map.
func (u *unpackRun) tree(ctx context.Context, lowers, volumes []string) error {
	if len(lowers) == 0 {
		return os.Mkdir(filepath.Join(u.dir, "rootfs"), 0o755) //nolint:gosec // as any root is
	}
	client, err := startFiles(ctx, u.m, append(lowers, u.dir)...)
	if err != nil {
		return err
	}
	defer client.close()
	stop := context.AfterFunc(ctx, func() { _ = client.child.Kill() })
	defer stop()
	u.began = true
	_, err = client.call(filesRequest{Op: "tree", Tree: treeRequest{Volumes: volumes, Record: u.m.Single()}})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (u *unpackRun) write(config *specs.Spec, img *images.Image) error {
	data, err := spec.EncodeConfig(config)
	if err == nil {
		err = replaceFile(filepath.Join(u.dir, "config.json"), append(data, '\n'), 0o644, false)
	}
	if err == nil {
		err = writeJSON(filepath.Join(u.dir, bundleFile), bundle{1, u.image, img.ID, img.Manifest.Digest, u.m}, false)
	}
	return err
}

// remove takes back what was made.
func (u *unpackRun) remove(ctx context.Context) error {
	if !u.began {
		return nil
	}
	stage := &storeStage{ctx: ctx, root: u.dir, m: u.m}
	var err error
	for _, name := range []string{"rootfs", "volumes", "stat", "config.json", bundleFile} {
		err = errors.Join(err, stage.Remove(ctx, name))
	}
	return errors.Join(err, stage.Close())
}

// treeRequest asks the stage for a copy of the layers that it was given, in the
// directory that is the last of what it was given: rootfs, volumes, stat.
type treeRequest struct {
	Volumes []string
	Record  bool
}

// tree is the stage's part of Unpack.
func (s *filesStage) tree(r treeRequest) error {
	if s.dirs < 2 {
		return errors.New("tree takes layers and a directory")
	}
	n := s.dirs - 1
	into := s.dir(n)
	req := fuse.TreeRequest{Dst: into + "rootfs"}
	for i := range n {
		req.Lowers = append(req.Lowers, s.dir(i)+".")
	}
	if _, err := fuse.CopyLayers(context.Background(), req); err != nil {
		return err
	}
	root, err := unix.Open(into+"rootfs", unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the root: %w", err)
	}
	defer unix.Close(root)
	for i, v := range r.Volumes {
		if err := seed(root, v, into+"volumes", strconv.Itoa(i)); err != nil {
			return fmt.Errorf("make the volume %s: %w", v, err)
		}
	}
	if !r.Record {
		return nil
	}
	return layer.CopyRecord(layer.Tree{Layers: dirsFrom(0, n), Record: true}, firstDir+n)
}

// dir is the path of a directory that the stage was given, with a slash.
func (s *filesStage) dir(i int) string { return "/proc/self/fd/" + strconv.Itoa(firstDir+i) + "/" }

// seed makes a volume with what the image has at its place.
func seed(root int, volume, parent, name string) error {
	if err := os.Mkdir(parent, 0o755); err != nil && !errors.Is(err, os.ErrExist) { //nolint:gosec // other ids live there
		return err
	}
	fd, err := openInside(root, volume, true)
	var st unix.Stat_t
	if err == nil {
		defer unix.Close(fd)
		err = unix.Fstat(fd, &st)
	}
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return os.Mkdir(filepath.Join(parent, name), 0o755) //nolint:gosec // likewise
	}
	_, err = fuse.CopyLayers(context.Background(), fuse.TreeRequest{Lowers: []string{"/proc/self/fd/" + strconv.Itoa(fd) + "/."}, Dst: parent + "/" + name})
	return err
}
