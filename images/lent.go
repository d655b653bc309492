package images

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"coracle/images/layer"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Lent gives the directories in which an additional store has all of the image's
// layers unpacked, topmost first, for whichever ids: their owners mean nothing here,
// but their data can be read. Nil: it has not.
func (s *Store) Lent(img *Image) []string {
	i := slices.IndexFunc(s.additional, func(a *Store) bool { return a.root == img.Store })
	if i < 0 || len(img.ChainIDs) == 0 {
		return nil
	}
	a := s.additional[i]
	var owner unix.Stat_t
	if unix.Stat(a.root, &owner) != nil {
		return nil
	}
	top := img.ChainIDs[len(img.ChainIDs)-1].Encoded()
	classes, err := os.ReadDir(filepath.Join(a.root, "layers", top))
	if err != nil {
		return nil
	}
	for _, c := range classes {
		class := c.Name()
		if strings.Contains(class, ".") || !a.hasLayers(img, class) { // a tree for other ids, or half a layer
			continue
		}
		var dirs []string
		for _, chain := range slices.Backward(img.ChainIDs) {
			dir := filepath.Join(a.root, layerDir(chain, class))
			var st unix.Stat_t
			if unix.Lstat(dir, &st) != nil || st.Uid != owner.Uid {
				return nil
			}
			dirs = append(dirs, filepath.Join(dir, "fs"))
		}
		return dirs
	}
	return nil
}

// UnpackLent unpacks the image's layers side by side in the directory into, which is
// relative to the root, but for the data of files that the lenders have (see Lent,
// layer.Request.Lender). It gives their directories, topmost first. They are no
// layers that anything but fuse.BuildLent can use.
func (s *Store) UnpackLent(ctx context.Context, img *Image, lenders []string, into, class string, st layer.Stage) ([]string, error) {
	n := len(img.ChainIDs)
	dirs := make([]string, n)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for i := range n {
		dirs[n-1-i] = path.Join(into, strconv.Itoa(i), "fs")
		g.Go(func() error { return s.unpackLent(gctx, img, i, lenders[n-1-i], dirs[n-1-i], class, st) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i := range slices.Backward(dirs) {
		if err := st.Finish(ctx, layer.FinishRequest{Dir: dirs[i], Lowers: dirs[i+1:], Record: singleID(class)}); err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

func (s *Store) unpackLent(ctx context.Context, img *Image, i int, lender, dir, class string, st layer.Stage) error {
	desc := img.Layers[i]
	blob, err := os.Open(s.readPath(desc.Digest))
	if err != nil {
		return err
	}
	defer blob.Close()
	from, err := os.OpenFile(lender, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	_, err = st.Unpack(ctx, layer.Request{Blob: blob, Lender: from, MediaType: desc.MediaType, DiffID: img.DiffIDs[i], Digest: desc.Digest, Size: desc.Size,
		Dir: dir, Record: singleID(class), Limits: s.opts.Limits})
	if err != nil {
		return fmt.Errorf("unpack the layer %s: %w", desc.Digest, err)
	}
	return nil
}
