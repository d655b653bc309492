package layer

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// readSparseMap finds out where a sparse file has data. GNU tar writes four
// formats (its manual, "Storing Sparse Files"): in old GNU headers, and in PAX
// versions 0.0 and 0.1 (records) and 1.0 (at the head of the data).
func (a *archive) readSparseMap(h *header, ext *extended) error {
	var err error
	h.sparse = true
	switch {
	case h.typ == typeSparse:
		err = a.sparseOld(h)
	case ext.pax["GNU.sparse.major"] == "1" && ext.pax["GNU.sparse.minor"] == "0":
		if h.size, err = paxInt(ext.pax["GNU.sparse.realsize"]); err == nil {
			err = a.sparse10(h)
		}
	case ext.pax["GNU.sparse.major"] != "":
		return fmt.Errorf("%w: version %.20q", ErrCorrupt, ext.pax["GNU.sparse.major"])
	default:
		h.extents = ext.map00
		if h.size, err = paxInt(ext.pax["GNU.sparse.size"]); err == nil && ext.pax["GNU.sparse.map"] != "" {
			h.extents, err = sparse01(ext.pax["GNU.sparse.map"])
		}
		if err == nil && ext.offset != nil {
			err = fmt.Errorf("%w: an offset without a length", ErrCorrupt)
		}
	}
	if err != nil {
		return err
	}
	return checkExtents(h.extents, h.size, a.left)
}

// checkExtents refuses maps that lie: overlapping, unordered, beyond the end of
// the file, or with another amount of data than the archive holds.
func checkExtents(ex []extent, size, stored int64) error {
	var end, sum int64
	for _, e := range ex {
		if e.off < end || e.n < 0 || e.off > size || e.n > size-e.off {
			return fmt.Errorf("%w: data at %d+%d of a file of %d bytes", ErrCorrupt, e.off, e.n, size)
		}
		end = e.off + e.n
		sum += e.n
	}
	if sum != stored {
		return fmt.Errorf("%w: it speaks of %d bytes of data, the archive has %d", ErrCorrupt, sum, stored)
	}
	return nil
}

func sparse01(s string) ([]extent, error) {
	n := strings.Count(s, ",") + 1
	if n%2 != 0 || n/2 > maxExtents {
		return nil, fmt.Errorf("%w: a list of %d numbers", ErrCorrupt, n)
	}
	ex := make([]extent, 0, n/2)
	for s != "" {
		var off, num string
		off, s, _ = strings.Cut(s, ",")
		num, s, _ = strings.Cut(s, ",")
		o, err := paxInt(off)
		if err != nil {
			return nil, err
		}
		l, err := paxInt(num)
		if err != nil {
			return nil, err
		}
		ex = append(ex, extent{o, l})
	}
	return ex, nil
}

// sparseOld reads the map from an old GNU header, which a.blk still holds, and
// the blocks that continue it.
func (a *archive) sparseOld(h *header) error {
	size, err := parseNumber(a.blk[483:495])
	if err != nil || size < 0 {
		return fmt.Errorf("%w: the real size", ErrCorrupt)
	}
	h.size = size
	list, more := a.blk[386:482], a.blk[482] != 0
	for {
		for ; len(list) >= 24; list = list[24:] {
			if list[0] == 0 {
				break
			}
			off, err1 := parseNumber(list[:12])
			n, err2 := parseNumber(list[12:24])
			if err1 != nil || err2 != nil || len(h.extents) >= maxExtents {
				return fmt.Errorf("%w: the list of extents", ErrCorrupt)
			}
			h.extents = append(h.extents, extent{off, n})
		}
		if !more {
			return nil
		}
		if err := a.s.full(a.blk[:]); err != nil {
			if err == io.EOF {
				err = ErrTruncated
			}
			return err
		}
		list, more = a.blk[:504], a.blk[504] != 0
	}
}

// sparse10 reads the map from the head of the data: a count, then offsets and
// lengths, a decimal number a line, filled up to a whole block.
func (a *archive) sparse10(h *header) error {
	r := &lineReader{a: a}
	n, err := r.number()
	if err != nil {
		return err
	}
	if n > maxExtents {
		return fmt.Errorf("%w: %d extents", ErrCorrupt, n)
	}
	for range n {
		off, err := r.number()
		if err != nil {
			return err
		}
		num, err := r.number()
		if err != nil {
			return err
		}
		h.extents = append(h.extents, extent{off, num})
	}
	return nil
}

// lineReader reads numbers from an entry's data, whole blocks at a time, so
// that what follows the last of them begins at a block.
type lineReader struct {
	a   *archive
	buf [blockSize]byte
	pos int
	end int
}

func (r *lineReader) number() (int64, error) {
	var digits [20]byte
	for n := 0; n < len(digits); n++ {
		if r.pos == r.end {
			if err := r.block(); err != nil {
				return 0, err
			}
		}
		c := r.buf[r.pos]
		r.pos++
		if c == '\n' {
			v, err := strconv.ParseInt(string(digits[:n]), 10, 64)
			if err != nil || v < 0 {
				return 0, fmt.Errorf("%w: the number %q", ErrCorrupt, digits[:n])
			}
			return v, nil
		}
		digits[n] = c
	}
	return 0, fmt.Errorf("%w: the number %q…", ErrCorrupt, digits[:])
}

func (r *lineReader) block() error {
	if r.a.left < blockSize {
		return fmt.Errorf("%w: the map is longer than the data", ErrCorrupt)
	}
	for r.pos, r.end = 0, 0; r.end < blockSize; {
		b, err := r.a.data(int64(blockSize - r.end))
		if err != nil {
			return err
		}
		r.end += copy(r.buf[r.end:], b)
	}
	return nil
}
