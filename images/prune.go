package images

import (
	"context"
	"fmt"
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

// Prune removes images that no container uses, without names or all, and what only
// they needed. It returns those that went, or would.
func (s *Store) Prune(ctx context.Context, o PruneOptions) ([]Image, error) {
	var gone []Image
	choose := func(idx *index) error {
		gone = nil
		var err error
		gone, err = s.prunable(idx, o)
		idx.Manifests = slices.DeleteFunc(idx.Manifests, func(d ocispec.Descriptor) bool {
			return slices.ContainsFunc(gone, func(i Image) bool { return i.Manifest.Digest == d.Digest })
		})
		return err
	}
	if o.DryRun {
		idx, err := s.readIndex()
		if err == nil {
			err = choose(idx)
		}
		return gone, err
	}
	if err := s.update(ctx, choose); err != nil {
		return nil, err
	}
	if o.All {
		s.sweepPartials(time.Now().Add(partialAge))
		s.forgetNames()
	}
	if err := s.Collect(ctx, o.Stage); err != nil {
		return gone, fmt.Errorf("free the space of images: %w", err)
	}
	return gone, nil
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
	add := func(d digest.Digest, n int64) {
		u.Size += n
		if !needed[d] {
			u.Reclaimable += n
		}
	}
	blobs, err := os.ReadDir(filepath.Join(s.root, "blobs", "sha256"))
	if err != nil {
		return u, err
	}
	for _, b := range blobs {
		if info, err := b.Info(); err == nil {
			add(digest.Digest("sha256:"+b.Name()), info.Size())
		}
	}
	for _, dir := range []string{s.partialDir(), s.namesDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // it is made when it is needed
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil {
				add("", info.Size())
			}
		}
	}
	records, err := filepath.Glob(filepath.Join(s.root, "layers", "*", "*", "record.json"))
	if err != nil {
		return u, err
	}
	for _, f := range records {
		var r LayerRecord
		rel, err := filepath.Rel(s.root, f)
		if err != nil {
			return u, err
		}
		if ok, err := s.readSmall(rel, &r); ok && err == nil {
			add(digest.Digest("sha256:"+filepath.Base(filepath.Dir(filepath.Dir(f)))), r.Bytes)
		}
	}
	return u, nil
}
