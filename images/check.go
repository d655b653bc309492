package images

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"coracle/images/layer"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// Problem is something in the store that is not as it should be.
type Problem struct {
	Object   string // blob DIGEST, image NAME, layer CHAIN
	Text     string
	Repaired bool
}

// CheckOptions say how a store is looked at.
type CheckOptions struct {
	// Repair removes damaged blobs and layers, the names of images that cannot be used
	// any more, unless a container does, and what nobody refers to.
	Repair bool
	Stage  func() (layer.Stage, error) // for Repair
}

// checker is one check.
type checker struct {
	s   *Store
	ctx context.Context // of one check
	o   CheckOptions
	all []Problem
	bad map[digest.Digest]bool // blobs that are not what they are called
}

func (c *checker) say(object, text string, repaired bool) {
	c.all = append(c.all, Problem{object, text, repaired})
}

// Check reads the whole store: all digests, all references. It takes as long as
// reading it does.
func (s *Store) Check(ctx context.Context, o CheckOptions) ([]Problem, error) {
	c := &checker{s: s, ctx: ctx, o: o, bad: map[digest.Digest]bool{}}
	for _, step := range []func() error{c.blobs, c.images, c.layers, c.unreferenced} {
		if err := step(); err != nil {
			return c.all, err
		}
		if ctx.Err() != nil {
			return c.all, context.Cause(ctx)
		}
	}
	return c.all, nil
}

// blobs compares every blob with its name.
func (c *checker) blobs() error {
	dir := filepath.Join(c.s.root, "blobs", "sha256")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return unusable(c.s.root, "list its blobs").because(err)
	}
	for _, e := range entries {
		d := digest.Digest("sha256:" + e.Name())
		if checkDigest(string(d)) != "" || !e.Type().IsRegular() {
			c.say("blob "+quote(e.Name()), "it is no blob", false)
			continue
		}
		err := c.blob(d)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if errors.Is(err, ErrCorrupt) {
			c.bad[d] = true
			c.say("blob "+d.Encoded()[:12], "its content has changed", c.o.Repair && os.Remove(c.s.blobPath(d)) == nil)
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) blob(d digest.Digest) error {
	f, err := os.OpenFile(c.s.blobPath(d), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	v := newVerifier(d, -1)
	if _, err := copyContext(c.ctx, v, f); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return v.check()
}

// images looks for all that index.json's entries need.
func (c *checker) images() error {
	idx, err := c.s.readIndex()
	if err != nil {
		return err
	}
	for _, d := range idx.Manifests {
		why := c.image(d)
		if why == "" {
			continue
		}
		name := cmp.Or(nameOf(d), string(d.Digest))
		done := false
		if c.o.Repair {
			done, err = c.dropImage(d)
			if err != nil {
				return err
			}
			if !done {
				why += "; it is in use"
			}
		}
		c.say("image "+quote(name), why, done)
	}
	return nil
}

// image says what an image lacks.
func (c *checker) image(d ocispec.Descriptor) string {
	if wantSHA256(d.Digest) != nil {
		return "it has no digest that is known"
	}
	img, err := c.s.load(d)
	if errors.Is(err, ErrPlatform) || errors.Is(err, ErrUnsupported) {
		return "" // other tools may keep what we cannot run
	}
	if err != nil {
		return err.Error()
	}
	for _, l := range img.Layers {
		if !c.s.hasBlob(l.Digest, l.Size) || c.bad[l.Digest] {
			return fmt.Sprintf("its layer %s is missing or damaged", l.Digest.Encoded()[:12])
		}
	}
	return ""
}

// dropImage takes the entry out of index.json, unless a container needs it.
func (c *checker) dropImage(d ocispec.Descriptor) (done bool, err error) {
	err = c.s.update(c.ctx, func(idx *index) error {
		if c.s.opts.InUse != nil {
			users, err := c.s.opts.InUse()
			if err != nil {
				return err
			}
			if len(users[digest.Digest(d.Annotations[annotationID])]) > 0 {
				return nil
			}
		}
		done = true
		for i := 0; i < len(idx.Manifests); i++ {
			if m := idx.Manifests[i]; m.Digest == d.Digest && nameOf(m) == nameOf(d) {
				idx.Manifests = append(idx.Manifests[:i], idx.Manifests[i+1:]...)
				i--
			}
		}
		return nil
	})
	return done, err
}

// layers looks at the unpacked ones.
func (c *checker) layers() error {
	chains, err := os.ReadDir(filepath.Join(c.s.root, "layers"))
	if err != nil {
		return unusable(c.s.root, "list its layers").because(err)
	}
	for _, chain := range chains {
		classes, err := os.ReadDir(filepath.Join(c.s.root, "layers", chain.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return err
		}
		for _, class := range classes {
			if strings.HasPrefix(class.Name(), ".") || strings.Contains(class.Name(), ".") && !strings.Contains(class.Name(), ".tmp-") {
				continue // a lock, or a tree for other ids, which has no record
			}
			if err := c.layer(filepath.Join("layers", chain.Name(), class.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checker) layer(dir string) error {
	_, _, temporary := strings.Cut(dir, ".tmp-")
	if temporary {
		return nil // that of a process that works, or a leftover: see unreferenced
	}
	why := ""
	var r LayerRecord
	data, err := os.ReadFile(filepath.Join(c.s.root, dir, recordFile))
	switch {
	case err != nil:
		why = "its record cannot be read"
	case json.Unmarshal(data, &r) != nil || wantSHA256(r.DiffID) != nil:
		why = "its record is damaged"
	case unix.Access(filepath.Join(c.s.root, dir, "fs"), unix.F_OK) != nil:
		why = "it has no files"
	}
	if why == "" || errors.Is(err, fs.ErrNotExist) && unix.Access(filepath.Join(c.s.root, dir), unix.F_OK) != nil {
		return nil
	}
	c.say("layer "+strings.TrimPrefix(dir, "layers/"), why, false)
	return nil
}

// unreferenced counts what nobody needs.
func (c *checker) unreferenced() error {
	l, err := c.s.acquire(c.ctx, "store")
	if err != nil {
		return err
	}
	n, err := c.garbage()
	l.Release()
	if err != nil || n == 0 {
		return err
	}
	done := false
	if c.o.Repair {
		if err := c.s.Collect(c.ctx, c.o.Stage); err != nil {
			return err
		}
		done = true
	}
	c.say("store", fmt.Sprintf("%d blobs and layers belong to no image", n), done)
	return nil
}

func (c *checker) garbage() (int, error) {
	idx, err := c.s.readIndex()
	if err != nil {
		return 0, err
	}
	reached, err := c.s.roots(idx)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, dir := range []string{"blobs/sha256", "layers"} {
		entries, err := os.ReadDir(filepath.Join(c.s.root, dir))
		if err != nil {
			return 0, err
		}
		for _, e := range entries {
			if !reached[digest.Digest("sha256:"+e.Name())] {
				n++
			}
		}
	}
	return n, nil
}
