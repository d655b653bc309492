package images

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"coracle/images/layer"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// RemoveOptions say how an image is removed.
type RemoveOptions struct {
	// Force removes an image that has several names when it is named by id,
	// and takes the names of one that containers use; its layers then stay
	// until they are gone.
	Force bool
	// Stage starts the store process; nil leaves the unpacked layers for the
	// next Collect.
	Stage func() (layer.Stage, error)
}

// Removed says what became of the names and of the image.
type Removed struct {
	ID       digest.Digest // whose names they were
	Untagged []string
	Deleted  digest.Digest // the image id, or ""
}

// Remove takes a name from an image; with its last name, or by id, the image
// goes, and what only it needed. Errors: ErrNotFound, ErrAmbiguous, ErrInUse.
func (s *Store) Remove(ctx context.Context, name string, o RemoveOptions) (Removed, error) {
	var out Removed
	err := s.update(ctx, func(idx *index) error {
		// Under the store lock: who starts a container says so first, and then
		// looks whether the image is still there.
		users := map[digest.Digest][]string{}
		if s.opts.InUse != nil {
			var err error
			if users, err = s.opts.InUse(); err != nil {
				return fmt.Errorf("find the containers that use images: %w", err)
			}
		}
		return s.removeFrom(idx, name, o.Force, users, &out)
	})
	if err != nil {
		return out, fmt.Errorf("remove image %s: %w", name, err)
	}
	if err := s.Collect(ctx, o.Stage); err != nil {
		return out, fmt.Errorf("free the space of %s: %w", name, err)
	}
	return out, nil
}

// Untag takes a name from an image, which stays, nameless if it was the last.
func (s *Store) Untag(ctx context.Context, name string) error {
	return s.update(ctx, func(idx *index) error {
		desc, byName, err := s.find(idx, name)
		if err != nil {
			return s.refuseAdditional(name, err)
		}
		n := nameOf(desc)
		if !byName || n == "" {
			return fail(ErrNotFound, "untag %s: it is not a name", quote(name))
		}
		idx.drop(n)
		idx.keepNameless(desc)
		return nil
	})
}

// Tag gives an image of the store one more name.
func (s *Store) Tag(ctx context.Context, name, newName string) error {
	key, err := localKey(newName)
	if err != nil {
		return err
	}
	return s.update(ctx, func(idx *index) error {
		desc, _, err := s.find(idx, name)
		if err != nil {
			return s.refuseAdditional(name, err)
		}
		idx.put(desc, key)
		return nil
	})
}

// localKey is the name that an image made here gets: a short one belongs to
// localhost, so that it is never mistaken for one of a registry (as podman).
func localKey(name string) (string, error) {
	ref, err := ParseReference(name)
	if err != nil {
		return "", err
	}
	if ref.Transport != Docker || ref.Digest != "" {
		return "", invalid(name, "a name for an image is NAME[:TAG]")
	}
	return candidates(ref)[0], nil
}

func (s *Store) removeFrom(idx *index, name string, force bool, users map[digest.Digest][]string, out *Removed) error {
	desc, byName, err := s.find(idx, name)
	if err != nil {
		return s.refuseAdditional(name, err)
	}
	id := s.idOf(desc)
	// An image may be there in several forms, each with names of its own.
	var names []string
	forms := map[digest.Digest]bool{}
	for _, d := range idx.Manifests {
		if d.Digest != desc.Digest && (id == "" || s.idOf(d) != id) {
			continue
		}
		forms[d.Digest] = true
		if n := nameOf(d); n != "" {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	out.ID = id
	if byName && len(names) > 1 {
		idx.drop(nameOf(desc))
		out.Untagged = []string{nameOf(desc)}
		return nil
	}
	if len(names) > 1 && !force {
		return fail(ErrInUse, "%s has several names: %s", quote(name), strings.Join(names, ", ")).
			hint("remove it by name, or all at once with --force")
	}
	by := users[id]
	if len(by) > 0 && by[0] == "" && !force {
		return fail(ErrInUse, "a container is just starting from it").
			hint("try again in a moment")
	}
	if i := slices.IndexFunc(by, filepath.IsAbs); i >= 0 && !force {
		return fail(ErrInUse, "it is mounted at %s, in a coracle unshare", by[i]).
			hint("type coracle unmount %s in there, or end it", name)
	}
	if len(by) > 0 && !force {
		by = slices.DeleteFunc(by, func(n string) bool { return n == "" })
		return fail(ErrInUse, "it is used by the container %s", strings.Join(by, ", ")).
			hint("remove the container first: coracle rm %s", by[0])
	}
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(d ocispec.Descriptor) bool { return forms[d.Digest] })
	out.Untagged = names
	if len(by) > 0 {
		idx.keepNameless(desc)
		return nil
	}
	out.Deleted = id
	return nil
}

// idOf is the image that an entry is, where it can be told.
func (s *Store) idOf(d ocispec.Descriptor) digest.Digest {
	id := digest.Digest(d.Annotations[annotationID])
	if checkDigest(string(id)) != "" {
		if img, err := s.load(d); err == nil {
			return img.ID
		}
	}
	return id
}

// drop removes the entry of a name.
func (idx *index) drop(name string) {
	idx.Manifests = slices.DeleteFunc(idx.Manifests, func(d ocispec.Descriptor) bool { return nameOf(d) == name })
}
