package inflate

import (
	"errors"
	"hash/crc32"
	"io"
)

// Reader gives the data of a gzip file, all its members one after the other.
type Reader struct {
	d    decoder
	crc  uint32 // of what the member has given
	size uint32 // likewise
	last error  // what comes when out is empty; io.EOF: the member's end
	err  error  // what comes for ever
}

// NewReader reads the first header. It reads more of src than it needs.
func NewReader(src io.Reader) (*Reader, error) {
	r := &Reader{}
	r.d.src = src
	r.d.in, r.d.out = make([]byte, inSize), make([]byte, outSize)
	if err := r.header(); err != nil {
		return nil, err
	}
	return r, nil
}

// Close has nothing to do.
func (r *Reader) Close() error { return nil }

// Read implements io.Reader. Errors: io.ErrUnexpectedEOF, ErrCorrupt, and what
// reading the source has given.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		d := &r.d
		if d.rp < d.op {
			n := copy(p, d.out[d.rp:d.op])
			r.crc = crc32.Update(r.crc, crc32.IEEETable, p[:n])
			r.size += uint32(n) //nolint:gosec // modulo 2^32, as the format has it
			d.rp += n
			return n, nil
		}
		if r.err != nil {
			return 0, r.err
		}
		switch {
		case r.last == nil:
			r.last = d.decode()
		case errors.Is(r.last, io.EOF):
			r.last, r.err = nil, r.next()
		default:
			r.err = r.last
		}
	}
}

// next goes to the next member. It is io.EOF when there is none.
func (r *Reader) next() error {
	r.d.align()
	crc, err := r.uint32()
	if err != nil {
		return err
	}
	size, err := r.uint32()
	if err != nil {
		return err
	}
	if crc != r.crc || size != r.size {
		return corrupt("a checksum")
	}
	if d := &r.d; d.nb == 0 && d.ip == d.ie && !d.more() && errors.Is(d.rerr, io.EOF) {
		return io.EOF
	}
	return r.header()
}

func (r *Reader) uint32() (uint32, error) {
	low, err := r.d.take(16)
	if err != nil {
		return 0, err
	}
	high, err := r.d.take(16)
	return uint32(high)<<16 | uint32(low), err //nolint:gosec // 16 bits each
}

// Flags of a member's header.
const (
	hasCRC     = 1 << 1
	hasExtra   = 1 << 2
	hasName    = 1 << 3
	hasComment = 1 << 4
)

// header reads a member's header, of which only its correctness matters.
func (r *Reader) header() error {
	r.crc, r.size = 0, 0
	r.d.start, r.d.final = r.d.op, false
	h := headerReader{d: &r.d}
	if h.byte() != 0x1f || h.byte() != 0x8b || h.byte() != 8 {
		h.fail("no gzip header")
	}
	flags := h.byte()
	h.skip(6) // time, level, operating system
	if flags&hasExtra != 0 {
		n := int(h.byte())
		h.skip(n | int(h.byte())<<8)
	}
	for _, flag := range [...]byte{hasName, hasComment} {
		if flags&flag != 0 {
			for h.byte() != 0 && h.err == nil {
			}
		}
	}
	if sum := h.crc; flags&hasCRC != 0 {
		if low := h.byte(); uint16(h.byte())<<8|uint16(low) != uint16(sum) { //nolint:gosec // its lower half is what is stored
			h.fail("the checksum of a header")
		}
	}
	return h.err
}

// headerReader reads bytes until something is wrong.
type headerReader struct {
	d   *decoder
	crc uint32
	err error
}

func (h *headerReader) fail(why string) {
	if h.err == nil {
		h.err = corrupt(why)
	}
}

func (h *headerReader) byte() byte {
	if h.err != nil {
		return 0
	}
	v, err := h.d.take(8)
	h.err = err
	h.crc = crc32.Update(h.crc, crc32.IEEETable, []byte{byte(v)})
	return byte(v)
}

func (h *headerReader) skip(n int) {
	for range n {
		h.byte()
	}
}
