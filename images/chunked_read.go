package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Of a zstd:chunked layer only those frames are fetched that no layer of the store has. The
// blob is put together of both, byte for byte, so that nothing depends on the table of contents being true:
// the blob's digest decides, and when it is another the whole blob is fetched. (containers/storage
// makes the files from the table and has no blob afterwards; ours is an OCI layout.)

const (
	// maxTail bounds what stands behind the frames: the table of contents and what leads to it.
	maxTail = 16 << 20
	// maxTable bounds the table when it is unpacked.
	maxTable = 32 << 20
	// maxDonors bounds the layers of the store that are looked at.
	maxDonors = 64
	// minReuse: so much must stand together in the store to be worth another request.
	minReuse = 32 << 10
)

// donor is where the store has a segment.
type donor struct {
	blob digest.Digest
	at   int64
}

// donors are where segments are had.
type donors map[[sha256.Size]byte][]donor

// maxAlike bounds how many places of one segment are known: that which goes on where the last
// piece ended is the one to take.
const maxAlike = 4

func (d donors) find(key [sha256.Size]byte, after piece) donor {
	list := d[key]
	for _, x := range list {
		if x.blob == after.from.blob && x.at == after.from.at+after.n {
			return x
		}
	}
	if len(list) > 0 {
		return list[0]
	}
	return donor{}
}

// donors are the segments of the zstd:chunked layers in the store.
func (s *Store) donors() donors {
	idx, err := s.readIndex()
	if err != nil {
		return nil
	}
	out := donors{}
	seen := map[digest.Digest]bool{}
	for i := len(idx.Manifests) - 1; i >= 0 && len(seen) < maxDonors; i-- { // what came last first
		raw, err := s.readBlob(idx.Manifests[i].Digest, maxManifest)
		if err != nil {
			continue
		}
		doc, err := parseLenient(raw)
		if err != nil {
			continue
		}
		for _, l := range doc.Layers {
			if !seen[l.Digest] && len(seen) < maxDonors && s.donate(l, out) {
				seen[l.Digest] = true
			}
		}
	}
	return out
}

func (s *Store) donate(l ocispec.Descriptor, to donors) bool {
	place, ok := placeOf(l)
	if !ok || !s.hasBlob(l.Digest, l.Size) {
		return false
	}
	f, err := os.Open(s.blobPath(l.Digest))
	if err != nil {
		return false
	}
	defer f.Close()
	raw := make([]byte, place.packed)
	if _, err := f.ReadAt(raw, place.at); err != nil {
		return false
	}
	t, err := parseTable(place, raw)
	if err != nil {
		return false
	}
	list, err := t.segments()
	if err != nil {
		return false
	}
	for _, g := range list {
		if len(to[g.key]) < maxAlike {
			to[g.key] = append(to[g.key], donor{l.Digest, g.at})
		}
	}
	return true
}

// piece is a stretch of a blob that is had from one place.
type piece struct {
	at, n int64
	from  donor  // of the store, where its blob is not ""
	bytes []byte // what is there already
}

// pieces joins what stands together in one place.
type pieces []piece

func (l pieces) add(p piece) pieces {
	if len(l) > 0 {
		last := &l[len(l)-1]
		if last.bytes == nil && p.bytes == nil && last.from.blob == p.from.blob && (p.from.blob == "" || last.from.at+last.n == p.from.at) {
			last.n += p.n
			return l
		}
	}
	return append(l, p)
}

// planChunked says where each stretch of a blob comes from, whose tail is there; nil: all of it
// is to be fetched.
func planChunked(t *table, tail []byte, have donors) (pieces, error) {
	list, err := t.segments()
	if err != nil {
		return nil, err
	}
	var found pieces
	for _, g := range list {
		last := piece{}
		if len(found) > 0 {
			last = found[len(found)-1]
		}
		found = found.add(piece{at: g.at, n: g.n, from: have.find(g.key, last)})
	}
	var out pieces
	var reused int64
	for _, p := range found {
		if p.n < minReuse {
			p.from = donor{} // not worth a request
		}
		if p.from.blob != "" {
			reused += p.n
		}
		out = out.add(p)
	}
	if reused == 0 {
		return nil, nil
	}
	return append(out, piece{at: t.end, n: int64(len(tail)), bytes: tail}), nil
}

// assembled reads a blob piece by piece.
type assembled struct {
	ctx    context.Context
	s      *Store
	fetch  func(ctx context.Context, at, n int64) (io.ReadCloser, error)
	pieces pieces
	now    io.ReadCloser // of the first piece
	left   int64         // of it
}

func (a *assembled) Read(p []byte) (int, error) {
	for len(a.pieces) > 0 || a.now != nil {
		if a.now == nil {
			if err := a.next(); err != nil {
				return 0, err
			}
		}
		n, err := a.now.Read(p[:min(int64(len(p)), a.left)])
		a.left -= int64(n)
		if a.left == 0 {
			a.Close() //nolint:errcheck // it was read to its end
			err = nil
		} else if errors.Is(err, io.EOF) {
			err = fail(ErrCorrupt, "a piece of the layer ends too early")
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, io.EOF
}

func (a *assembled) next() (err error) {
	p := a.pieces[0]
	a.pieces, a.left = a.pieces[1:], p.n
	switch {
	case p.bytes != nil:
		a.now = io.NopCloser(bytes.NewReader(p.bytes))
	case p.from.blob != "":
		var f *os.File
		if f, err = os.Open(a.s.blobPath(p.from.blob)); err != nil {
			return fail(ErrCorrupt, "a layer that has a piece of this one is gone").because(err)
		}
		a.now = struct {
			io.Reader
			io.Closer
		}{io.NewSectionReader(f, p.from.at, p.n), f}
	default:
		a.now, err = a.fetch(a.ctx, p.at, p.n)
	}
	return err
}

func (a *assembled) Close() error {
	if a.now != nil {
		a.now.Close()
		a.now = nil
	}
	return nil
}

// skip leaves out what stands before a place.
func skip(pieces pieces, at int64) pieces {
	for len(pieces) > 0 && pieces[0].at+pieces[0].n <= at {
		pieces = pieces[1:]
	}
	if len(pieces) > 0 && pieces[0].at < at {
		pieces = slices.Clone(pieces)
		p := &pieces[0]
		by := at - p.at
		p.at, p.n, p.from.at = at, p.n-by, p.from.at+by
		if p.bytes != nil {
			p.bytes = p.bytes[by:]
		}
	}
	return pieces
}

// chunked is where a layer with a table comes from. The first time it is put together of what the
// store has and what it lacks; a second time, when that was wrong, all of it is fetched.
func (p *pull) chunked(ctx context.Context, reg *registrySource, d ocispec.Descriptor) origin {
	tried := false
	whole := func(at int64) (io.ReadCloser, error) { return reg.blobFrom(ctx, d, at) }
	return origin{resumes: true, again: true, open: func(at int64) (io.ReadCloser, error) {
		if tried {
			return whole(at)
		}
		tried = true
		plan := p.planFor(ctx, reg, d)
		if plan == nil {
			return whole(at)
		}
		fetch := func(ctx context.Context, at, n int64) (io.ReadCloser, error) { return reg.blobRange(ctx, d, at, n) }
		return &assembled{ctx: ctx, s: p.s, fetch: fetch, pieces: skip(plan, at)}, nil
	}}
}

// planFor fetches the table, where something in the store may be of use. What goes wrong with it
// goes without saying: the layer is there without its table, too.
func (p *pull) planFor(ctx context.Context, reg *registrySource, d ocispec.Descriptor) pieces {
	place, ok := placeOf(d)
	if !ok {
		return nil
	}
	have := p.s.donors()
	if len(have) == 0 {
		return nil
	}
	r, err := reg.blobRange(ctx, d, place.end, d.Size-place.end)
	if err != nil {
		return nil
	}
	defer r.Close()
	tail := make([]byte, d.Size-place.end)
	if _, err := io.ReadFull(r, tail); err != nil {
		return nil
	}
	t, err := parseTable(place, tail[skippableHeader:skippableHeader+place.packed])
	if err != nil {
		return nil
	}
	plan, err := planChunked(t, tail, have)
	if err != nil {
		return nil
	}
	return plan
}
