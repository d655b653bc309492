package images

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"coracle/images/layer"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// PruneOptions say which images go that no container uses.
type PruneOptions struct {
	All    bool      // with names, too
	Until  time.Time // only those that were made before; zero: any
	DryRun bool
	Stage  func() (layer.Stage, error) // see RemoveOptions
}

// Prune removes images that no container uses, without names or all, what only
// they needed, and what processes that died have left. It returns the images that went, or
// would, and how many bytes that frees.
func (s *Store) Prune(ctx context.Context, o PruneOptions) (gone []Image, freed int64, err error) {
	choose := func(idx *index) error {
		gone = nil
		var err error
		gone, err = s.prunable(idx, o)
		idx.Manifests = slices.DeleteFunc(idx.Manifests, func(d ocispec.Descriptor) bool {
			return slices.ContainsFunc(gone, func(i Image) bool { return i.Manifest.Digest == d.Digest })
		})
		return err
	}
	cached := func() int64 {
		if o.All {
			return s.cachedSize()
		}
		return 0
	}
	left := s.leftSize() + cached()
	if o.DryRun {
		idx, err := s.readIndex()
		if err == nil {
			err = choose(idx)
		}
		if err == nil {
			freed, err = s.garbageSize(idx)
		}
		return gone, freed + left, err
	}
	if err := s.update(ctx, choose); err != nil {
		return nil, 0, err
	}
	if o.All {
		s.sweepPartials(time.Now().Add(partialAge))
		s.forgetNames()
	}
	if idx, err := s.readIndex(); err == nil {
		freed, _ = s.garbageSize(idx) // Collect says what is wrong
	}
	if err := s.Collect(ctx, o.Stage); err != nil {
		return gone, 0, fmt.Errorf("free the space of images: %w", err)
	}
	return gone, freed + max(0, left-s.leftSize()-cached()), nil
}

// garbageSize is what no image of the index needs, nor who works now.
func (s *Store) garbageSize(idx *index) (n int64, err error) {
	reached, err := s.roots(idx)
	if err != nil {
		return 0, err
	}
	err = s.measure(func(d digest.Digest, size int64) {
		if !reached[d] {
			n += size
		}
	})
	return n, err
}

// prunable is called under the store lock: who starts a container says so first.
func (s *Store) prunable(idx *index, o PruneOptions) ([]Image, error) {
	users := map[digest.Digest][]string{}
	if s.opts.InUse != nil {
		var err error
		if users, err = s.opts.InUse(); err != nil {
			return nil, fmt.Errorf("find the containers that use images: %w", err)
		}
	}
	var out []Image
	seen := map[digest.Digest]bool{}
	for _, d := range idx.Manifests {
		if seen[d.Digest] {
			continue
		}
		seen[d.Digest] = true
		img, err := s.loadNamed(idx, d)
		if err != nil {
			continue // another tool's, or damaged: check tells
		}
		if len(users[img.ID]) > 0 || len(img.Names) > 0 && !o.All || !o.Until.IsZero() && !img.Created.Before(o.Until) {
			continue
		}
		out = append(out, *img)
	}
	return out, nil
}

// Usage is the space that images take, in bytes.
type Usage struct {
	Images, Active    int
	Size, Reclaimable int64 // of blobs, whole or in part, unpacked layers, and what is remembered of names; of those that only images without containers need
}

// Usage measures: blobs by their files, unpacked layers by their records.
func (s *Store) Usage() (Usage, error) {
	var u Usage
	all, _ := s.ownImages() // what cannot be read takes space all the same
	users := map[digest.Digest][]string{}
	if s.opts.InUse != nil {
		var err error
		if users, err = s.opts.InUse(); err != nil {
			return u, err
		}
	}
	needed := map[digest.Digest]bool{}
	u.Images = len(all)
	for i := range all {
		if len(users[all[i].ID]) == 0 {
			continue
		}
		u.Active++
		for _, d := range imageDigests(&all[i]) {
			needed[d] = true
		}
	}
	err := s.measure(func(d digest.Digest, n int64) {
		u.Size += n
		if !needed[d] {
			u.Reclaimable += n
		}
	})
	more := s.leftSize() + s.cachedSize()
	u.Size, u.Reclaimable = u.Size+more, u.Reclaimable+more
	return u, err
}

// measure tells the size of each blob, by its file, and of each unpacked layer, by its record.
func (s *Store) measure(add func(d digest.Digest, n int64)) error {
	blobs, err := os.ReadDir(filepath.Join(s.root, "blobs", "sha256"))
	if err != nil {
		return err
	}
	for _, b := range blobs {
		if info, err := b.Info(); err == nil {
			add(digest.Digest("sha256:"+b.Name()), info.Size())
		}
	}
	records, err := filepath.Glob(filepath.Join(s.root, "layers", "*", "*", recordFile))
	for _, f := range records {
		var r LayerRecord
		rel, err := filepath.Rel(s.root, f)
		if err != nil {
			return err
		}
		if ok, err := s.readSmall(rel, &r); ok && err == nil {
			add(digest.Digest("sha256:"+filepath.Base(filepath.Dir(filepath.Dir(f)))), r.Bytes)
		}
	}
	return err
}

// cachedSize is what has come of downloads that broke off, and what is remembered of names.
func (s *Store) cachedSize() int64 { return treeSize(s.partialDir()) + treeSize(s.namesDir()) }

// leftSize is what has no name yet, and never gets one where its process has died: blobs
// that were coming, and layers that were being unpacked.
func (s *Store) leftSize() int64 {
	n := treeSize(filepath.Join(s.root, "tmp"))
	dirs, _ := filepath.Glob(filepath.Join(s.root, "layers", "*", "*.tmp-*")) // the pattern is good
	for _, dir := range dirs {
		if _, err := os.Lstat(filepath.Join(dir, recordFile)); err != nil { // else it is measured by that
			n += treeSize(dir)
		}
	}
	return n
}

// treeSize is that of the files in a directory, as far as they can be seen.
func treeSize(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if info, err := e.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}
