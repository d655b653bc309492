package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coracle/fuse"
	"coracle/images"
	"coracle/images/layer"
	"coracle/internal/plainfile"
	"coracle/userns"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// What another user has unpacked belongs to ids that are not in the container's
// map: in an overlay it would be nobody's, not even root there may read what is not
// for all, and nothing could be changed, for the kernel copies no file up whose owner
// has no id (EOVERFLOW). So a tree of metadata is made from the image's archives, as
// keep-id has one, with the owners that the container is to see. The data stays where
// it is; only files that not everybody may read are in the tree.

// lentDir has these trees, each with lentFile.
const (
	lentDir  = "lent"
	lentFile = "lent.json"
)

// lentTree is a tree in lentDir.
type lentTree struct {
	Image   digest.Digest
	Lenders []string // their layers, topmost first
}

// borrow uses an image of another user's store without copying its data, where that
// can be; else the image is copied (see here).
func (r *rootSource) borrow(ctx context.Context, store *images.Store, img *images.Image, o RunOptions, ids userns.Resolved, stage *storeStage) (bool, error) {
	class := ids.Base.Class()
	if ids.Map.Class() != class || fillsVolumes(img, o) {
		return false, nil
	}
	return r.borrowFor(ctx, store, img, class, stage)
}

// borrowFor is borrow for a map class, and for who only reads the root.
func (r *rootSource) borrowFor(ctx context.Context, store *images.Store, img *images.Image, class string, stage *storeStage) (bool, error) {
	if img.Store == "" || store.InPlace(img, class) || r.e.driver != "" && r.e.driver != fuse.DriverOverlay {
		return false, nil
	}
	lenders := store.Lent(img)
	if lenders == nil || slices.ContainsFunc(lenders, func(d string) bool { return len(d) > maxOption }) {
		return false, nil
	}
	facts, err := fuse.Probe(ctx, fuse.ProbeRequest{Dir: r.e.root, Cache: r.e.runRoot})
	if err != nil || !facts.DataOnly {
		return false, err
	}
	sum := sha256.Sum256([]byte(strings.Join(append([]string{class, img.ID.String()}, lenders...), "\n")))
	dir := filepath.Join(lentDir, hex.EncodeToString(sum[:12]))
	if err := os.MkdirAll(filepath.Join(r.e.root, lentDir), 0o755); err != nil { //nolint:gosec // mapped ids must be able to pass
		return false, err
	}
	err = r.tree(dir, func() error { return r.buildLent(ctx, store, img, lenders, dir, class, stage) })
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, unix.ENOSPC) {
			return false, err
		}
		r.e.warn(fmt.Sprintf("%s cannot be used where it lies: %v", r.e.imageName(img), err), "")
		return false, nil
	}
	r.lowers, r.meta, r.lent = lenders, filepath.Join(r.e.root, dir, "fs"), true
	return true, nil
}

// fillsVolumes says whether files of the image may have to be copied into a volume,
// which a process does that sees this store only.
func fillsVolumes(img *images.Image, o RunOptions) bool {
	named := func(v string) bool {
		source, _, two := strings.Cut(v, ":")
		return !two || source != "" && source[0] != '/' && source[0] != '.'
	}
	other := func(m string) bool {
		words := strings.Split(m, ",")
		return slices.Contains(words, "type=volume") || !slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, "type=") })
	}
	return len(img.Config.Config.Volumes) > 0 || slices.ContainsFunc(o.Volumes, named) || slices.ContainsFunc(o.Mounts, other)
}

func (r *rootSource) buildLent(ctx context.Context, store *images.Store, img *images.Image, lenders []string, dir, class string, stage *storeStage) error {
	return r.fresh(ctx, dir, stage, func(tmp string) error {
		dirs, err := store.UnpackLent(ctx, img, lenders, tmp+"/layers", class, stage)
		if err != nil {
			return err
		}
		req := lentRequest{Tree: fuse.TreeRequest{Dst: "/" + tmp + "/fs"}, Record: strings.HasPrefix(class, "single")}
		for _, d := range dirs {
			req.Tree.Lowers = append(req.Tree.Lowers, "/"+d)
		}
		if err := stage.Call(ctx, lentOp, req, nil); err != nil {
			return err
		}
		if err := stage.Remove(ctx, tmp+"/layers"); err != nil {
			return err
		}
		return writeJSON(filepath.Join(r.e.root, tmp, lentFile), lentTree{img.ID, lenders}, false)
	})
}

// lentRequest asks the stage for a tree of layers whose data is lent.
type lentRequest struct {
	Tree   fuse.TreeRequest
	Record bool // owners are recorded
}

func makeLent(ctx context.Context, r lentRequest) (fuse.TreeStats, error) {
	stats, err := fuse.BuildLent(ctx, r.Tree)
	if err != nil || !r.Record {
		return stats, err
	}
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for _, d := range append(slices.Clone(r.Tree.Lowers), filepath.Dir(r.Tree.Dst)) {
		fd, err := unix.Open(d, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return stats, fmt.Errorf("open %s: %w", d, err)
		}
		fds = append(fds, fd)
	}
	last := len(fds) - 1
	return stats, layer.CopyRecord(layer.Tree{Layers: fds[:last], Record: true}, fds[last])
}

// eachLent calls do for every tree, or what a killed process has left of one, that nobody
// is just making. stays says whether it is to be kept, see wantsLent.
func (e *Engine) eachLent(all bool, do func(dir string, stays bool) error) error {
	names, err := os.ReadDir(filepath.Join(e.root, lentDir))
	if isNotFound(err) || err == nil && len(names) == 0 {
		return nil
	}
	var used map[digest.Digest][]string
	if err == nil {
		used, err = e.imagesInUse()
	}
	if err != nil {
		return err
	}
	for _, n := range names {
		dir := filepath.Join(lentDir, n.Name())
		if strings.HasPrefix(n.Name(), ".lock-") {
			continue
		}
		lock, err := plainfile.Lock(filepath.Join(e.root, lentDir, ".lock-"+strings.TrimSuffix(n.Name(), ".tmp")), unix.O_RDWR|unix.O_CREAT)
		if err != nil {
			continue // it is just being made
		}
		err = do(dir, e.wantsLent(dir, all, used))
		lock.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// pruneLent removes trees of images that no container uses, and says how much that frees.
func (e *Engine) pruneLent(ctx context.Context, all, dry bool, stage *storeStage) (freed int64, err error) {
	m := e.measurer(ctx)
	err = e.eachLent(all, func(dir string, stays bool) error {
		if stays {
			return nil
		}
		n, err := m.measure(Container{Map: stage.m}, filepath.Join(e.root, dir), true)
		if err == nil && !dry {
			err = stage.Remove(ctx, dir)
		}
		if err != nil {
			return fmt.Errorf("remove %s: %w", dir, err)
		}
		freed += n
		return nil
	})
	return freed, errors.Join(err, m.close())
}

// lentUsage is what the trees take of the disk, and what of that no container uses.
func (e *Engine) lentUsage(ctx context.Context) (size, reclaimable int64, err error) {
	ids, err := e.defaultIDs(ctx)
	if err != nil {
		return 0, 0, err
	}
	m := e.measurer(ctx)
	err = e.eachLent(true, func(dir string, stays bool) error {
		n, err := m.measure(Container{Map: ids.Base}, filepath.Join(e.root, dir), true)
		if size += n; !stays {
			reclaimable += n
		}
		return err
	})
	if err = errors.Join(err, m.close()); err != nil {
		err = fmt.Errorf("measure %s: %w", lentDir, err)
	}
	return size, reclaimable, err
}

// checkLent finds what was left of trees by killed processes.
func (e *Engine) checkLent(ctx context.Context, repair bool, stage *storeStage) ([]images.Problem, error) {
	var all []images.Problem
	err := e.eachLent(false, func(dir string, stays bool) error {
		if stays {
			return nil
		}
		if repair {
			if err := stage.Remove(ctx, dir); err != nil {
				return fmt.Errorf("remove %s: %w", dir, err)
			}
		}
		all = append(all, images.Problem{Object: dir, Text: "it was never finished, or the store that lent its files has them no more", Repaired: repair})
		return nil
	})
	return all, err
}

// wantsLent says whether a tree stays: one that a container uses, or may use as long
// as the lender has the image.
func (e *Engine) wantsLent(dir string, all bool, used map[digest.Digest][]string) bool {
	var t lentTree
	if strings.HasSuffix(dir, ".tmp") || readJSON(filepath.Join(e.root, dir, lentFile), &t) != nil {
		return false
	}
	gone := func(l string) bool { return unix.Access(l, unix.F_OK) != nil }
	return len(used[t.Image]) > 0 || !all && !slices.ContainsFunc(t.Lenders, gone)
}
