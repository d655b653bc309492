package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"coracle/fuse"
	"coracle/images"
	"coracle/userns"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A container whose map is not the one that layers are unpacked with (keep-id,
// nomap, auto, --uidmap) needs the image's files with other owners. Where the
// kernel can, a tree of metadata is laid over the layers and no data is
// copied; else the layers are copied, by reflink where the file system can.
// Either is made once for each stack of layers and map, and kept with them.

// translate makes r show the image in the container's map.
func (r *rootSource) translate(ctx context.Context, store *images.Store, img *images.Image, ids userns.Resolved) error {
	if ids.Map.Class() == ids.Base.Class() || len(img.ChainIDs) == 0 {
		return nil // a single id has all files, whatever it is called inside
	}
	if err := r.fits(store, img, ids); err != nil {
		return err
	}
	facts, err := fuse.Probe(ctx, fuse.ProbeRequest{Dir: r.e.root, Cache: r.e.runRoot})
	if err != nil {
		return err
	}
	// The data stays in files of the caller: root of the container reaches
	// them only where the map has all ids of the base.
	meta := facts.DataOnly && covers(ids.Map, ids.Base) && (r.e.driver == "" || r.e.driver == "overlay")
	op, kind := copyOp, ".copy"
	if meta {
		op, kind = metaOp, ".meta"
	}
	top := img.ChainIDs[len(img.ChainIDs)-1].Encoded()
	dir := filepath.Join("layers", top, ids.Map.Class()+kind)
	if err := r.tree(dir, func() error { return r.buildTree(ctx, dir, op, ids) }); err != nil {
		return fmt.Errorf("prepare %s for other ids: %w", r.e.imageName(img), err)
	}
	fs := filepath.Join(r.e.root, dir, "fs")
	if meta {
		r.meta = fs
	} else {
		r.lowers, r.moved = []string{fs}, true
	}
	return nil
}

func (e *Engine) imageName(img *images.Image) string {
	if len(img.Names) > 0 {
		return img.Names[0]
	}
	return img.ID.Encoded()[:12]
}

// covers says whether every host id of b is in a.
func covers(a, b userns.Map) bool {
	return coversIDs(a.UIDs, b.UIDs) && coversIDs(a.GIDs, b.GIDs)
}

func coversIDs(a, b []specs.LinuxIDMapping) bool {
	for _, m := range b {
		for id, end := uint64(m.HostID), uint64(m.HostID)+uint64(m.Size); id < end; {
			i := slices.IndexFunc(a, func(x specs.LinuxIDMapping) bool {
				return id >= uint64(x.HostID) && id < uint64(x.HostID)+uint64(x.Size)
			})
			if i < 0 {
				return false
			}
			id = uint64(a[i].HostID) + uint64(a[i].Size)
		}
	}
	return true
}

// fits says so when the image has files of ids that the map does not reach.
func (r *rootSource) fits(store *images.Store, img *images.Image, ids userns.Resolved) error {
	records, err := store.LayerRecords(img, ids.Base.Class())
	if err != nil {
		return err
	}
	var uid, gid uint32
	for _, l := range records {
		uid, gid = max(uid, l.MaxUID), max(gid, l.MaxGID)
	}
	return userns.NeedIDs(ids.Map, uid, gid)
}

// tree has dir/fs made unless it is there. Two at once: the second waits.
func (r *rootSource) tree(dir string, build func() error) error {
	abs := filepath.Join(r.e.root, dir)
	if unix.Access(abs, unix.F_OK) == nil {
		return nil
	}
	// The lock file stays: it lies beside the tree, and goes with the layer.
	lock, err := os.OpenFile(filepath.Join(filepath.Dir(abs), ".lock-"+filepath.Base(abs)), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	if unix.Access(abs, unix.F_OK) == nil {
		return nil
	}
	return build()
}

func (r *rootSource) buildTree(ctx context.Context, dir, op string, ids userns.Resolved) error {
	req := fuse.TreeRequest{Dst: "/" + dir + ".tmp/fs"}
	for _, l := range r.lowers {
		rel, err := filepath.Rel(r.e.root, l)
		if err != nil {
			return err
		}
		req.Lowers = append(req.Lowers, "/"+rel)
	}
	var err1, err2 error
	req.UIDs, err1 = fuse.Translate(ids.Base.UIDs, ids.Map.UIDs)
	req.GIDs, err2 = fuse.Translate(ids.Base.GIDs, ids.Map.GIDs)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	m := ids.Base
	if op == metaOp {
		m = ids.Map // it has all of the base, and files need no chown (see fuse.BuildMeta)
	}
	stage := r.e.stage(ctx, m)
	err := r.fresh(ctx, dir, stage, func(string) error { return stage.Call(ctx, op, req, nil) })
	return errors.Join(err, stage.Close())
}

// fresh makes dir by way of dir.tmp, which make fills.
func (r *rootSource) fresh(ctx context.Context, dir string, stage *storeStage, make func(tmp string) error) error {
	tmp := dir + ".tmp"
	err := stage.Remove(ctx, tmp) // of a run that was killed
	if err == nil {
		err = os.Mkdir(filepath.Join(r.e.root, tmp), 0o755)
	}
	if err == nil {
		err = make(tmp)
	}
	if err == nil {
		err = syncTree(filepath.Join(r.e.root, tmp))
	}
	if err == nil {
		err = os.Rename(filepath.Join(r.e.root, tmp), filepath.Join(r.e.root, dir))
	}
	if err != nil {
		err = errors.Join(err, stage.Remove(context.WithoutCancel(ctx), tmp))
	}
	return err
}

// syncTree writes the file system of dir to the disk, so that after a power
// cut the final name does not stand for half a tree.
func syncTree(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync the store: %w", err)
	}
	return nil
}
