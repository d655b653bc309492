package images

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"coracle/images/layer"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// lease says what a running operation needs, though index.json does not name
// it yet. It is a file that is locked as long as its owner lives.
func (s *Store) lease(ctx context.Context, needs []digest.Digest) (*Lock, error) {
	data, err := json.Marshal(needs)
	if err != nil {
		return nil, err
	}
	// Under the store lock: either a collection sees the lease, or it is over
	// before we look at what is there.
	l, err := s.acquire(ctx, "store")
	if err != nil {
		return nil, err
	}
	defer l.Release()
	f, err := os.CreateTemp(filepath.Join(s.root, "leases"), "")
	if err != nil {
		return nil, explainWrite(err, s.root)
	}
	path := f.Name()
	f.Close()
	lease, err := TryLock(path)
	if lease == nil {
		os.Remove(path)
		return nil, fmt.Errorf("lock %s: %w", path, errors.Join(err, errors.New("it is taken")))
	}
	if _, err := lease.file.Write(data); err != nil {
		lease.Release()
		return nil, explainWrite(err, s.root)
	}
	return lease, nil
}

// imageDigests are all that an image needs in the store: blobs and chain ids.
func imageDigests(img *Image) []digest.Digest {
	out := []digest.Digest{img.Manifest.Digest, img.ID}
	for _, l := range img.Layers {
		out = append(out, l.Digest)
	}
	return append(out, img.ChainIDs...)
}

// roots is everything that index.json and live leases reach. An error means
// that nothing may be removed.
func (s *Store) roots(idx *index) (map[digest.Digest]bool, error) {
	reached := map[digest.Digest]bool{}
	for _, d := range idx.Manifests {
		if err := s.reach(reached, d, 0); err != nil {
			return nil, fmt.Errorf("find out what %s needs: %w", d.Digest, err)
		}
	}
	err := s.leases(func(needs []digest.Digest) {
		for _, d := range needs {
			reached[d] = true
		}
	})
	return reached, err
}

// leases reads those of the living whose names start with prefix.
func (s *Store) leases(each func(needs []digest.Digest)) error {
	entries, err := os.ReadDir(filepath.Join(s.root, "leases"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(s.root, "leases", e.Name())
		l, err := TryLock(path)
		if l != nil {
			l.Release() // its owner is dead
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var needs []digest.Digest
		data, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(data, &needs)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read the lease %s: %w", path, err)
		}
		each(needs)
	}
	return nil
}

// reach marks what a descriptor needs. It is lenient: other tools may keep
// things in the layout that we could not run.
func (s *Store) reach(reached map[digest.Digest]bool, d ocispec.Descriptor, depth int) error {
	if reached[d.Digest] || wantSHA256(d.Digest) != nil {
		return nil
	}
	reached[d.Digest] = true
	if depth > maxIndexNesting {
		return nil
	}
	raw, err := readBounded(s.blobPath(d.Digest), maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing below can be found, nothing of it is there to keep
	}
	if err != nil {
		return err
	}
	var doc struct {
		Config    ocispec.Descriptor
		Layers    []ocispec.Descriptor
		Manifests []ocispec.Descriptor
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		if sha256Of(raw) != d.Digest {
			return err // damaged: what it needed is unknown
		}
		return nil
	}
	reached[doc.Config.Digest] = true
	for _, l := range doc.Layers {
		reached[l.Digest] = true
	}
	for _, m := range doc.Manifests {
		if err := s.reach(reached, m, depth+1); err != nil {
			return err
		}
	}
	return s.reachChains(reached, doc.Config.Digest)
}

func (s *Store) reachChains(reached map[digest.Digest]bool, config digest.Digest) error {
	if wantSHA256(config) != nil {
		return nil
	}
	raw, err := readBounded(s.blobPath(config), maxConfig)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrTooLarge) {
		return nil
	}
	if err != nil {
		return err
	}
	var img struct {
		RootFS struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if json.Unmarshal(raw, &img) != nil {
		return nil
	}
	for _, c := range chainIDs(img.RootFS.DiffIDs) {
		reached[c] = true
	}
	return nil
}

// Collect removes the blobs and unpacked layers that no image needs, and what
// dead processes left. stage is asked for only when there are layers to
// remove; without one they stay for the next time.
func (s *Store) Collect(ctx context.Context, stage func() (layer.Stage, error)) error {
	s.sweepTemp("tmp")
	s.sweepPartials(time.Now())
	doomed, err := s.collectLocked(ctx)
	if err != nil {
		return err
	}
	if len(doomed) == 0 || stage == nil {
		return nil
	}
	st, err := stage()
	if err != nil {
		return fmt.Errorf("start the store process: %w", err)
	}
	var all error
	for _, dir := range doomed {
		if err := st.Remove(ctx, dir); err != nil {
			all = errors.Join(all, fmt.Errorf("remove the layer %s: %w", dir, err))
		}
		os.Remove(filepath.Join(s.root, filepath.Dir(dir))) //nolint:errcheck // only when it is empty
	}
	return all
}

// collectLocked does what is quick, and gives the directories whose removal
// may take its time. They have names by then that nobody uses.
func (s *Store) collectLocked(ctx context.Context) ([]string, error) {
	l, err := s.acquire(ctx, "store")
	if err != nil {
		return nil, err
	}
	defer l.Release()
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	reached, err := s.roots(idx)
	if err != nil {
		return nil, err
	}
	blobs, err := os.ReadDir(filepath.Join(s.root, "blobs", "sha256"))
	if err != nil {
		return nil, err
	}
	for _, b := range blobs {
		if !reached[digest.Digest("sha256:"+b.Name())] {
			if err := os.Remove(filepath.Join(s.root, "blobs", "sha256", b.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, explainWrite(err, s.root)
			}
		}
	}
	return s.condemnLayers(reached)
}

func (s *Store) condemnLayers(reached map[digest.Digest]bool) ([]string, error) {
	chains, err := os.ReadDir(filepath.Join(s.root, "layers"))
	if err != nil {
		return nil, err
	}
	var doomed []string
	for _, c := range chains {
		parent := filepath.Join("layers", c.Name())
		classes, err := os.ReadDir(filepath.Join(s.root, parent))
		if errors.Is(err, fs.ErrNotExist) {
			continue // who unpacked there has removed it
		}
		if err != nil {
			return nil, err
		}
		for _, class := range classes {
			dir := filepath.Join(parent, class.Name())
			base, _, temporary := strings.Cut(class.Name(), ".tmp-")
			needed := reached[digest.Digest("sha256:"+c.Name())]
			if needed && !temporary {
				continue
			}
			// Whoever unpacks it has the lock.
			l, err := TryLock(filepath.Join(s.root, "locks", "layer-"+c.Name()+"-"+base))
			if err != nil {
				return nil, explainWrite(err, s.root)
			}
			if l == nil {
				continue
			}
			if !temporary {
				dead := dir + ".tmp-removed-" + rand.Text()[:8] // that of an earlier removal may still be there
				if err = os.Rename(filepath.Join(s.root, dir), filepath.Join(s.root, dead)); err == nil {
					dir = dead
				}
			}
			l.Release()
			if err != nil {
				return nil, explainWrite(err, s.root)
			}
			doomed = append(doomed, dir)
		}
		if len(classes) == 0 {
			os.Remove(filepath.Join(s.root, parent)) //nolint:errcheck // a new layer may be coming
		}
	}
	return doomed, nil
}

// Hold keeps an image, and its unpacked layers, from being removed until release is
// called or the process ends. It fails when the image is gone.
func (s *Store) Hold(ctx context.Context, img *Image) (release func(), err error) {
	if img.Store != "" {
		return func() {}, nil // it is not ours to remove
	}
	l, err := s.lease(ctx, imageDigests(img))
	if err != nil {
		return nil, err
	}
	if !s.hasBlob(img.Manifest.Digest, img.Manifest.Size) {
		l.Release()
		return nil, fail(ErrNotFound, "the image %s has just been removed", img.ID)
	}
	return l.Release, nil
}
