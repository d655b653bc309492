package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"coracle/images/layer"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// Additional stores are read and never written, not even locked: they may lie on a
// read-only file system and belong to somebody else. What is in them is found
// behind the store's own, and used where it lies if it is unpacked for the ids that
// are asked for. Files there are replaced by rename, so that a reader needs no lock.

// openAdditional opens the additional stores.
func (s *Store) openAdditional() error {
	for _, given := range s.opts.Additional {
		dir, err := filepath.Abs(given)
		if err == nil {
			dir, err = filepath.EvalSymlinks(dir)
		}
		if err != nil {
			return notAdditional(given, "find it").because(err).hint("name another with --additional-store, or leave that out")
		}
		if dir == s.root {
			continue
		}
		if why := distrust(dir); why != "" {
			return notAdditional(dir, why).hint("only who it belongs to, you or root may be able to write there: chmod go-w")
		}
		a := &Store{root: dir, opts: Options{Platform: s.opts.Platform}, readOnly: true}
		ok, err := a.check()
		if err != nil {
			return err
		}
		if !ok {
			return notAdditional(dir, "it is no store").hint("it is made by coracle --root %s pull IMAGE", dir)
		}
		s.additional = append(s.additional, a)
	}
	return nil
}

func notAdditional(dir, why string) *Error {
	return fail(ErrStore, "use the additional store %s: %s", dir, why)
}

// distrust says why what is in a store may be another's than its owner's, whom the
// user trusts by naming the store: others can write to it, or put another in its
// place. A directory with the sticky bit above it is harmless.
func distrust(dir string) string {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return err.Error()
	}
	trusted := []uint32{0, uint32(os.Geteuid()), st.Uid} //nolint:gosec // ids are 32 bits
	for _, name := range []string{"", ocispec.ImageIndexFile, ocispec.ImageLayoutFile, versionFile, "blobs", "blobs/sha256", "layers"} {
		path := filepath.Join(dir, name)
		if err := unix.Stat(path, &st); err != nil {
			if errors.Is(err, unix.ENOENT) {
				continue // whether it is a store is seen later
			}
			return fmt.Sprintf("look at %s: %v", path, err)
		}
		if st.Mode&0o022 != 0 {
			return path + " can be written by others"
		}
		if !slices.Contains(trusted, st.Uid) {
			return fmt.Sprintf("%s belongs to the user %d, and the store does not", path, st.Uid)
		}
	}
	if inNamespace() {
		trusted = append(trusted, 65534) // root of the host, which has no id here
	}
	for up := filepath.Dir(dir); ; up = filepath.Dir(up) {
		if err := unix.Stat(up, &st); err != nil {
			return fmt.Sprintf("look at %s: %v", up, err)
		}
		if st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0 || !slices.Contains(trusted, st.Uid) {
			return "others can put another in its place: they can write to " + up
		}
		if up == "/" {
			return ""
		}
	}
}

// inNamespace says whether this is not the user namespace that has all ids.
func inNamespace() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	var in, out, n uint64
	_, scanErr := fmt.Sscan(string(text), &in, &out, &n)
	return err == nil && scanErr == nil && n != 1<<32-1
}

// findAny finds what is only to be read: in the store, or in an additional one. The index
// is the one that it is in.
func (s *Store) findAny(name string) (*index, ocispec.Descriptor, bool, error) {
	idx, err := s.readIndex()
	if err != nil {
		return nil, ocispec.Descriptor{}, false, err
	}
	desc, byName, missed := s.find(idx, name)
	for _, a := range s.additional {
		if !errors.Is(missed, ErrNotFound) {
			break
		}
		there, err := a.readIndex()
		if err != nil {
			return nil, desc, false, err
		}
		if d, by, err := a.find(there, name); !errors.Is(err, ErrNotFound) {
			return there, d, by, err
		}
	}
	return idx, desc, byName, missed
}

// lookupAdditional finds a name or an id that the store itself does not have.
func (s *Store) lookupAdditional(name string, missed error) (*Image, error) {
	if !errors.Is(missed, ErrNotFound) {
		return nil, missed
	}
	for _, a := range s.additional {
		idx, err := a.readIndex()
		if err != nil {
			return nil, err
		}
		desc, _, err := a.find(idx, name)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		img, err := a.loadNamed(idx, desc)
		if err != nil {
			return nil, fail(nil, "read the image %s in the additional store %s", quote(name), a.root).because(err)
		}
		img.Store = a.root
		return img, nil
	}
	return nil, missed
}

// refuseAdditional is the answer to who would change an image of an additional store.
func (s *Store) refuseAdditional(name string, missed error) error {
	img, err := s.lookupAdditional(name, missed)
	if err != nil {
		return err
	}
	return fail(ErrReadOnly, "the image %s is in the additional store %s, which is only read", quote(name), img.Store).
		hint("coracle --root %s rmi %[2]s removes it there; coracle pull oci:%[1]s:NAME copies it into your own store", img.Store, name)
}

// withAdditional adds the images of additional stores that the store itself does not have.
func (s *Store) withAdditional(own []Image, err error) ([]Image, error) {
	for _, a := range s.additional {
		more, aerr := a.Images()
		err = errors.Join(err, aerr)
		for _, img := range more {
			if !slices.ContainsFunc(own, func(o Image) bool { return o.ID == img.ID && o.Store == "" }) {
				img.Store = a.root
				own = append(own, img)
			}
		}
	}
	return own, err
}

// readPath is where a blob is read: here, or else in an additional store.
func (s *Store) readPath(d digest.Digest) string {
	own := s.blobPath(d)
	if len(s.additional) == 0 || unix.Access(own, unix.F_OK) == nil {
		return own
	}
	for _, a := range s.additional {
		if p := a.blobPath(d); unix.Access(p, unix.R_OK) == nil {
			return p
		}
	}
	return own
}

// InPlace says whether an image's layers can be used where they lie: they are the
// store's own, or unpacked in an additional one for the same ids. Those of other ids
// would belong to nobody in a container, and could not be changed there.
func (s *Store) InPlace(img *Image, class string) bool {
	return img.Store == "" || s.hasLayers(img, class) || s.additionalLayers(img, class) != ""
}

// additionalLayers is the root of an additional store that has all of the image's
// layers for these ids; "" for none.
func (s *Store) additionalLayers(img *Image, class string) string {
	for _, a := range s.additional {
		if a.hasLayers(img, class) && !slices.ContainsFunc(img.ChainIDs, func(c digest.Digest) bool { return !mine(filepath.Join(a.root, layerDir(c, class))) }) {
			return a.root
		}
	}
	return ""
}

// mine says whether a layer is the caller's: its name alone anybody could have given it.
func mine(dir string) bool {
	var st unix.Stat_t
	return unix.Lstat(dir, &st) == nil && int(st.Uid) == os.Geteuid()
}

// Own copies an image of an additional store into the store, if it is not there,
// under its names. It is what a container, or another image, may lastingly stand on.
func (s *Store) Own(ctx context.Context, img *Image, class string, stage func() (layer.Stage, error)) (*Image, error) {
	if img.Store == "" {
		return img, nil
	}
	if len(img.Names) == 0 {
		return nil, fail(ErrNotFound, "copy the image %s from the additional store %s: it has no name there", img.ID, img.Store)
	}
	ref := Reference{Transport: OCI, File: img.Store, Member: img.Names[0]}
	return s.pullFrom(ctx, ref.String(), ref, nil, img.Platform(), PullOptions{Class: class, Stage: stage})
}
