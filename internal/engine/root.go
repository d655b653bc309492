package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coracle/fuse"
	"coracle/images"
	"coracle/images/layer"
	"coracle/spec"
	"coracle/userns"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// rootSource is where a container's root comes from: an image's layers, a
// directory, or the host itself.
type rootSource struct {
	e       *Engine
	config  ispec.ImageConfig
	imageID digest.Digest
	health  *images.Healthcheck
	reader  *fuse.LayerReader

	lowers []string // topmost first
	moved  bool     // their owners are those of the container's map already
	meta   string   // the metadata tree that translates ids (keep-id), or ""
	lent   bool     // lowers are another user's; meta has all names, owners and what lowers do not let everybody read
	direct string   // --rootfs: used as it is
	host   bool
	driver string // of a container that was made before: its own; "" is the one asked for now

	outsider bool // see outsider
}

// hostImage is the name that stands for the host's own root.
const hostImage = "host"

func hostSource(e *Engine) *rootSource {
	return &rootSource{e: e, host: true, lowers: []string{"/"}}
}

func (e *Engine) openRoot(ctx context.Context, o RunOptions, ids userns.Resolved) (_ *rootSource, err error) {
	r := &rootSource{e: e, outsider: outsider(ids)}
	dir, isDirectory := strings.CutPrefix(o.Image, "rootfs:")
	switch {
	case o.Rootfs:
		r.direct, err = checkRootDir(o.Image)
		r.lowers = []string{r.direct}
	case isDirectory:
		dir, err = checkRootDir(dir)
		r.lowers = []string{dir}
	case o.Image == hostImage:
		r = hostSource(e)
	default:
		err = r.image(ctx, o, ids)
	}
	if err != nil {
		return nil, err
	}
	if err := r.open(); err != nil {
		return nil, fmt.Errorf("open the root of %s: %w", o.Image, err)
	}
	return r, nil
}

// open makes the layers readable, until close.
func (r *rootSource) open() (err error) {
	if r.lent {
		r.reader, err = fuse.OpenLent(r.meta, r.lowers)
	} else {
		r.reader, err = fuse.OpenLayers(r.lowers)
	}
	return err
}

func checkRootDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		var st os.FileInfo
		if st, err = os.Stat(dir); err == nil && !st.IsDir() {
			err = errors.New("it is not a directory")
		}
	}
	if err != nil {
		return "", &Error{Op: "use " + dir + " as the root", Err: err}
	}
	return filepath.EvalSymlinks(dir)
}

// image finds, pulls and unpacks, as far as that is not done yet.
func (r *rootSource) image(ctx context.Context, o RunOptions, ids userns.Resolved) error {
	store, err := r.e.store()
	if err != nil {
		return err
	}
	progress := o.Progress
	if o.Quiet {
		progress = nil
	}
	img, err := r.e.pull(ctx, o.Image, PullOptions{Policy: o.Pull, Platform: o.Platform, Access: images.Access{TLSVerify: o.TLSVerify}, Progress: progress}, ids)
	if err != nil {
		return err
	}
	if len(img.DiffIDs) == 0 {
		return &Error{Err: fmt.Errorf("the image %s has no layers: there is nothing in it to run", img.ID.Encoded()[:12]), Help: "coracle inspect shows what it was made for"}
	}
	stage := r.e.stage(ctx, ids.Base)
	r.config, r.imageID, r.health = img.Config.Config, img.ID, img.Healthcheck
	if lent, err := r.borrow(ctx, store, img, o, ids, stage); err != nil || lent {
		return errors.Join(err, stage.Close())
	}
	if img, err = r.here(ctx, store, img, o, ids, stage); err != nil {
		return errors.Join(err, stage.Close())
	}
	r.lowers, err = store.Layers(ctx, img, ids.Base.Class(), func() (layer.Stage, error) { return stage, nil })
	if err == nil {
		err = r.translate(ctx, store, img, ids)
	}
	if err = errors.Join(err, stage.Close()); err != nil {
		return err
	}
	r.config, r.imageID, r.health = img.Config.Config, img.ID, img.Healthcheck
	return nil
}

// here copies an image of an additional store into the store where it cannot be used
// as it lies there: it is unpacked for other ids than the caller's, or the container
// needs a tree that is made of its files.
func (r *rootSource) here(ctx context.Context, store *images.Store, img *images.Image, o RunOptions, ids userns.Resolved, stage *storeStage) (*images.Image, error) {
	if img.Store == "" {
		return img, nil
	}
	why := ""
	switch {
	case r.e.driver == fuse.DriverCopy:
		why = "the storage driver copy takes a copy"
	case ids.Map.Class() != ids.Base.Class():
		why = "the container has other ids"
	case fillsVolumes(img, o):
		why = "its files may have to be copied into a volume"
	case !store.InPlace(img, ids.Base.Class()):
		why = notInPlace
	default:
		return img, nil
	}
	r.e.warn(fmt.Sprintf("%s is copied from the additional store %s: %s", r.e.imageName(img), img.Store, why), "")
	return store.Own(ctx, img, ids.Base.Class(), func() (layer.Stage, error) { return stage, nil })
}

// warnCopied says that an image of an additional store has to be copied, to be read.
func (e *Engine) warnCopied(store *images.Store, img *images.Image, class string) {
	if img.Store != "" && !store.InPlace(img, class) {
		e.warn(fmt.Sprintf("%s is copied from the additional store %s: %s", e.imageName(img), img.Store, notInPlace), "")
	}
}

// notInPlace is why an image cannot be used where it lies.
const notInPlace = "what is unpacked there is not for your ids, or not yours"

// stillThere says so when the image was removed between the look at it and the
// moment from which on the container holds it.
func (r *rootSource) stillThere() error {
	for _, l := range append(slices.Clone(r.lowers), r.meta) {
		if l == "" {
			continue
		}
		if _, err := os.Lstat(l); err != nil {
			return &Error{Op: "start the container", Err: fmt.Errorf("its image has just been removed: %w", err), Help: "run it again, to fetch the image"}
		}
	}
	return nil
}

// resolve follows the root's links for a mount's destination.
func (r *rootSource) resolve(dest string) string { return r.reader.Resolve(dest) }

// shows says whether a directory of the host is there in the host's view: some
// are empty or the container's own.
func (r *rootSource) shows(dir string) bool {
	for _, hidden := range []string{"/tmp", "/run", "/proc", "/sys", "/dev"} {
		if dir == hidden || strings.HasPrefix(dir, hidden+"/") {
			return false
		}
	}
	return true
}

// choose says how the root is mounted for the container in dir.
func (r *rootSource) choose(ctx context.Context, dir string, disposable bool) (*fuse.Rootfs, error) {
	if r.direct != "" {
		return &fuse.Rootfs{Kind: fuse.Bind, Driver: "bind", Source: r.direct}, nil
	}
	req := fuse.Request{
		LayersDir: filepath.Join(r.e.root, "layers"), Lowers: r.lowers, Meta: r.meta,
		Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"), Disposable: disposable,
		Driver: cmp.Or(r.driver, r.e.driver), Copy: filepath.Join(dir, copyDir), Cache: r.e.runRoot,
	}
	choose := fuse.Choose
	if r.host {
		choose, req.Scratch = fuse.ChooseHost, filepath.Join(dir, "root") // the view lies on top
	}
	root, err := choose(ctx, req)
	if err != nil {
		return nil, err
	}
	if root.Kind == fuse.FuseOverlayFS && r.outsider {
		return nil, &Error{Op: "mount the root with fuse-overlayfs", Err: errors.New("its server would run as ids that cannot enter your store"),
			Help: "leave --userns nomap or auto out, or use --storage-driver copy"}
	}
	if root.Notice != "" {
		r.e.warn(root.Notice, root.Hint)
	}
	return &root, nil
}

// prepare does what must be done as the mapped ids before the start.
func (r *rootSource) prepare(ctx context.Context, dir string, ids userns.Resolved, root *fuse.Rootfs) error {
	rel, err := filepath.Rel(r.e.root, dir)
	if err != nil {
		return err
	}
	stage := r.e.stage(ctx, ids.Base)
	if root.Kind == fuse.Copy {
		err = r.copy(ctx, rel, stage, root)
	}
	if err == nil && outsider(ids) {
		req := dirsRequest{}
		for _, d := range []string{"upper", "work", "root"} {
			req.Dirs = append(req.Dirs, "/"+filepath.Join(rel, d))
		}
		req.UID, _ = ids.BaseUID(0)
		req.GID, _ = ids.BaseGID(0)
		err = stage.Call(ctx, dirsOp, req, nil)
	}
	return errors.Join(err, stage.Close())
}

// copyDir has the copy of a container's image, with what the container has
// changed; one that is just being made has another name.
const copyDir = "copy"

// copy makes the copy that is a container's root, once: rel is its directory,
// seen from the store.
func (r *rootSource) copy(ctx context.Context, rel string, stage *storeStage, root *fuse.Rootfs) error {
	if _, err := os.Lstat(root.Source); err == nil {
		return nil // from an earlier start
	}
	young := filepath.Join(rel, copyDir+".new")
	if err := stage.Remove(ctx, young); err != nil { // of a start that was killed
		return err
	}
	req := fuse.TreeRequest{Dst: "/" + young}
	for _, l := range root.Lowers {
		inStore, err := filepath.Rel(r.e.root, l)
		if err != nil {
			return err
		}
		if strings.HasPrefix(inStore, "..") {
			return &Error{Op: "copy the root", Err: errors.New("its layers are in an additional store, where the store process does not reach"), Help: "--storage-driver copy copies the image first"}
		}
		req.Lowers = append(req.Lowers, "/"+inStore)
	}
	if err := stage.Call(ctx, copyOp, req, nil); err != nil {
		return err
	}
	return os.Rename(filepath.Join(r.e.root, young), root.Source)
}

// outsider says that the caller's own id is not in the container's map: its
// root cannot enter the caller's private directories.
func outsider(ids userns.Resolved) bool { return ids.UID == userns.OverflowID }

func (r *rootSource) close() {
	if r.reader != nil {
		r.reader.Close()
		r.reader = nil
	}
}

var _ spec.RootReader = (*fuse.LayerReader)(nil)
