package layer

import (
	"fmt"
	"io"
	"strings"
)

const (
	// maxExtended bounds the extended headers of one entry, as archive/tar does:
	// a name has at most 4,096 bytes and an xattr 65,536.
	maxExtended = 1 << 20
	// maxExtents bounds the map of one sparse file (16 MiB in memory).
	maxExtents = 1 << 20
)

// archive reads the entries of an uncompressed layer.
type archive struct {
	s      *stream
	left   int64 // of the current entry's data
	pad    int64
	strict bool // the end marker has to be there: nothing else tells of truncation
	blk    block
}

// next goes to the next entry. It is io.EOF at the end of the archive, after
// which the stream may still hold padding, and which, unless strict, may come
// where the padding of the last entry's data should be: the diffID proves that
// nothing is missing.
func (a *archive) next() (*header, error) {
	var ext extended
	for {
		if err := a.s.discard(a.left); err != nil {
			return nil, err
		}
		// umoci insert writes neither the padding of the last file nor an end
		// marker. readHeader meets the same end and says what it means.
		if err := a.s.discard(a.pad); err != nil && (a.strict || !a.s.ended()) {
			return nil, err
		}
		a.left, a.pad = 0, 0
		h, err := a.readHeader()
		if err != nil {
			if err == io.EOF && ext.any {
				err = fmt.Errorf("%w: an extended header without its entry", ErrTruncated)
			}
			return nil, err
		}
		a.left = h.stored
		a.pad = -h.stored & (blockSize - 1)
		switch h.typ {
		case typePax, typePaxSun, typeLongName, typeLongLink:
			data, err := a.extendedData(h)
			if err != nil {
				return nil, err
			}
			if err := ext.add(h.typ, data); err != nil {
				return nil, err
			}
		case typeGlobal, typeVolume: // comments; podman and docker ignore them as well
		default:
			return h, a.complete(h, &ext)
		}
	}
}

// readHeader reads one header block, or io.EOF at the end marker.
func (a *archive) readHeader() (*header, error) {
	err := a.s.full(a.blk[:])
	if err == io.EOF && a.strict {
		return nil, fmt.Errorf("%w: the end marker is missing", ErrTruncated)
	}
	if err != nil {
		return nil, err
	}
	if isZero(a.blk[:]) {
		if err := a.s.full(a.blk[:]); err != nil {
			return nil, err // io.EOF: one zero block and no more is an end, too
		}
		if !isZero(a.blk[:]) {
			return nil, fmt.Errorf("%w: an empty header", ErrCorrupt)
		}
		return nil, io.EOF
	}
	if !checksumOK(&a.blk) {
		return nil, fmt.Errorf("%w: the checksum of a header is wrong", ErrCorrupt)
	}
	return parseHeader(&a.blk)
}

func (a *archive) extendedData(h *header) ([]byte, error) {
	if h.stored > maxExtended {
		return nil, fmt.Errorf("%w: extended header: %w", ErrBadEntry, &TooBigError{"extended header", maxExtended})
	}
	data := make([]byte, h.stored)
	err := a.s.full(data)
	if err == io.EOF && h.stored > 0 {
		err = ErrTruncated
	}
	a.left = 0
	return data, err
}

// complete applies the extended headers to an entry and prepares its data.
func (a *archive) complete(h *header, ext *extended) error {
	if err := ext.apply(h); err != nil {
		return fmt.Errorf("extended header of %q: %w", h.name, err)
	}
	switch h.typ {
	case typeLink, typeSymlink, typeChar, typeBlock, typeDir, typeFifo:
		h.stored, h.size = 0, 0 // archivers leave the linked file's size here; there is no data
	case typeReg, typeRegOld, typeCont:
		if strings.HasSuffix(h.name, "/") { // v7 has no other way to say directory
			h.typ = typeDir
		} else {
			h.typ = typeReg
		}
	case typeDumpDir:
		h.typ = typeDir
	}
	a.left, a.pad = h.stored, -h.stored&(blockSize-1)
	if h.typ == typeSparse || ext.sparse() {
		if h.typ != typeSparse && h.typ != typeReg {
			return fmt.Errorf("%w: %q is sparse but not a file", ErrCorrupt, h.name)
		}
		if err := a.readSparseMap(h, ext); err != nil {
			return fmt.Errorf("sparse map of %q: %w", h.name, err)
		}
		h.typ = typeReg
	}
	return nil
}

// data returns up to n bytes of the current entry, good until the next call,
// or io.EOF after the last.
func (a *archive) data(n int64) ([]byte, error) {
	if a.left == 0 {
		return nil, io.EOF
	}
	b, err := a.s.next(min(n, a.left))
	if err == io.EOF {
		return nil, ErrTruncated
	}
	a.left -= int64(len(b))
	return b, err
}
