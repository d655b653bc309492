package images

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

const holdPrefix = "hold-"

// Hold keeps an image from being removed, by this process or another, until
// release is called or the process ends. It is for the time between a pull
// and the container's record that Options.InUse reports from then on: take it
// before Layers, release it when the record is written. ErrNotFound says that
// the image has been removed since it was looked up: pull it again.
func (s *Store) Hold(ctx context.Context, img *Image) (release func(), err error) {
	l, err := s.leaseIf(ctx, holdPrefix, imageDigests(img), func() error { return s.stillThere(img) })
	if err != nil {
		return nil, fmt.Errorf("hold the image %s: %w", img.ID, err)
	}
	return l.release, nil
}

// stillThere looks by name first: that is answered without reading index.json.
func (s *Store) stillThere(img *Image) error {
	if len(img.Names) > 0 {
		if now, err := s.Lookup(img.Names[0]); err == nil && now.Manifest.Digest == img.Manifest.Digest {
			return nil
		}
	}
	idx, err := s.readIndex()
	if err != nil {
		return err
	}
	if !idx.has(img.Manifest.Digest) && !idx.has(img.Source) {
		return fail(ErrNotFound, "it has just been removed")
	}
	return nil
}

// users are the containers that use an image, by image id; for those that are
// starting, which have no record yet, there is only the hold. Called under
// the store lock. Holds are read first: whoever lets go has its record by then.
func (s *Store) users() (map[digest.Digest][]string, error) {
	users := map[digest.Digest][]string{}
	var starting []digest.Digest
	if err := s.leases(holdPrefix, func(needs []digest.Digest) { starting = append(starting, needs...) }); err != nil {
		return nil, err
	}
	if s.opts.InUse != nil {
		recorded, err := s.opts.InUse()
		if err != nil {
			return nil, fmt.Errorf("find the containers that use images: %w", err)
		}
		for id, names := range recorded {
			users[id] = slices.Clone(names)
		}
	}
	for _, d := range starting {
		users[d] = append(users[d], "")
	}
	return users, nil
}
