// Package inflate reads gzip (RFC 1951, RFC 1952). Decompressing is half of
// the work of unpacking an image, and this does it in half the time that
// packages for general use take: it looks at 64 bits at a time, decodes up to
// three literals for each look, and copies eight bytes at once.
package inflate

import (
	"encoding/binary"
	"errors"
	"io"
)

// ErrCorrupt is what data gets that no compressor makes.
var ErrCorrupt = errors.New("the compressed data is damaged")

// corrupt is an ErrCorrupt, with what is wrong.
type corrupt string

const (
	errNoCode = corrupt("a code that was not announced")
	errTooFar = corrupt("a distance that leads before the beginning")
)

func (c corrupt) Error() string { return ErrCorrupt.Error() + ": " + string(c) }

// Is makes errors.Is(err, ErrCorrupt) true.
func (c corrupt) Is(target error) bool { return target == ErrCorrupt } //nolint:errorlint // it is the sentinel itself

const (
	window  = 32 << 10
	outSize = window + 256<<10
	inSize  = 64 << 10
	// What one turn of the fast loop may take and give: two looks of eight
	// bytes; three literals, a match of 258 and what copying writes too much.
	inMargin  = 16
	outMargin = 3 + 258 + 8
)

// decoder is a stream of deflate blocks.
type decoder struct {
	src  io.Reader
	rerr error // why src gives no more
	in   []byte
	ip   int // in[ip:ie] is not looked at yet
	ie   int

	bb uint64 // the next bits, lowest first; what is above nb may be anything
	nb uint   // how many of them count

	out   []byte
	op    int // out[:op] is written
	rp    int // out[rp:op] is not given away yet
	start int // before it the window does not reach: another member is there

	stored int  // bytes of a stored block that are still to come
	coded  bool // inside a block with codes
	final  bool // the block is the last

	lit  [litSize]uint32
	dist [distSize]uint32
}

// more gets at least one more byte of input; false where there is none.
func (d *decoder) more() bool {
	copy(d.in, d.in[d.ip:d.ie])
	d.ie -= d.ip
	d.ip = 0
	for range 100 {
		if d.rerr != nil || d.ie == len(d.in) {
			return false
		}
		var n int
		n, d.rerr = d.src.Read(d.in[d.ie:])
		d.ie += n
		if n > 0 {
			return true
		}
	}
	d.rerr = io.ErrNoProgress
	return false
}

// short is the error of a stream that ends too early.
func (d *decoder) short() error {
	if d.rerr == nil || errors.Is(d.rerr, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return d.rerr
}

// look gets bits until at least 56 are there, or all that are left.
func (d *decoder) look() {
	d.bb &= 1<<d.nb - 1
	for d.nb < 56 && (d.ip < d.ie || d.more()) {
		d.bb |= uint64(d.in[d.ip]) << d.nb
		d.ip++
		d.nb += 8
	}
}

// take gets a number of n bits, at most 16.
func (d *decoder) take(n uint) (int, error) {
	if d.nb < n {
		if d.look(); d.nb < n {
			return 0, d.short()
		}
	}
	v := d.bb & (1<<n - 1)
	d.bb >>= n
	d.nb -= n
	return int(v), nil
}

// align drops what is left of a byte.
func (d *decoder) align() {
	d.bb >>= d.nb & 7
	d.nb &^= 7
}

// decode writes to out until that is full or the last block has ended, which
// is io.EOF.
func (d *decoder) decode() error {
	if d.op > outSize-outMargin { // everything has been given away
		keep := max(d.op-window, 0)
		copy(d.out, d.out[keep:d.op])
		d.op -= keep
		d.rp = d.op
		d.start = max(d.start-keep, 0)
	}
	for d.op <= outSize-outMargin {
		var err error
		switch {
		case d.stored > 0:
			err = d.copyStored()
		case d.coded:
			err = d.codes()
		case d.final:
			return io.EOF
		default:
			err = d.block()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// codes decodes inside a block until it ends or there is no room.
func (d *decoder) codes() error {
	for d.coded && d.op <= outSize-outMargin {
		if d.ie-d.ip < inMargin {
			d.more() // where it gives nothing, slow says what that means
		}
		var err error
		if d.ie-d.ip >= inMargin {
			err = d.fast()
		} else {
			err = d.slow()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fast decodes while there is enough input and room not to have to ask.
func (d *decoder) fast() (err error) {
	in, out := d.in[:d.ie], d.out
	ip, op, bb, nb := d.ip, d.op, d.bb, d.nb
	inEnd, outEnd := d.ie-inMargin, outSize-outMargin
	lit, dist := &d.lit, &d.dist
	for ip <= inEnd && op <= outEnd {
		bb |= binary.LittleEndian.Uint64(in[ip:]) << (nb & 63)
		ip += int(63-nb) >> 3
		nb |= 56
		e := lit[bb&(1<<litBits-1)]
		if e&literal != 0 {
			bb >>= e & 63
			nb -= uint(e & 63)
			out[op] = byte(e >> 16)
			op++
			if e = lit[bb&(1<<litBits-1)]; e&literal != 0 {
				bb >>= e & 63
				nb -= uint(e & 63)
				out[op] = byte(e >> 16)
				op++
				if e = lit[bb&(1<<litBits-1)]; e&literal != 0 {
					bb >>= e & 63
					nb -= uint(e & 63)
					out[op] = byte(e >> 16)
					op++
					continue
				}
			}
			bb |= binary.LittleEndian.Uint64(in[ip:]) << (nb & 63)
			ip += int(63-nb) >> 3
			nb |= 56
		}
		if e&special != 0 {
			if e&pointer != 0 {
				bb >>= e & 63
				nb -= uint(e & 63)
				e = lit[e>>16+uint32(bb)&(1<<(e>>8&15)-1)]
			}
			if e&literal != 0 {
				bb >>= e & 63
				nb -= uint(e & 63)
				out[op] = byte(e >> 16)
				op++
				continue
			}
			if e&special != 0 {
				if e&endOfBlock == 0 {
					err = errNoCode
					break
				}
				bb >>= e & 63
				nb -= uint(e & 63)
				d.coded = false
				break
			}
		}
		length := int(e>>16) + int(bb&(1<<(e&63)-1)>>(e>>8&15))
		bb >>= e & 63
		nb -= uint(e & 63)
		e = dist[bb&(1<<distBits-1)]
		if e&special != 0 {
			if e&pointer == 0 {
				err = errNoCode
				break
			}
			bb >>= e & 63
			nb -= uint(e & 63)
			if e = dist[e>>16+uint32(bb)&(1<<(e>>8&15)-1)]; e&special != 0 {
				err = errNoCode
				break
			}
		}
		distance := int(e>>16) + int(bb&(1<<(e&63)-1)>>(e>>8&15))
		bb >>= e & 63
		nb -= uint(e & 63)
		if distance > op-d.start {
			err = errTooFar
			break
		}
		copyMatch(out, op, distance, length)
		op += length
	}
	d.ip, d.op, d.bb, d.nb = ip, op, bb, nb
	return err
}

// copyMatch may write up to seven bytes more than length.
func copyMatch(out []byte, op, distance, length int) {
	from, end := op-distance, op+length
	switch {
	case distance >= 8:
		for op < end {
			binary.LittleEndian.PutUint64(out[op:], binary.LittleEndian.Uint64(out[from:]))
			op += 8
			from += 8
		}
	case distance == 1:
		v := uint64(out[from]) * 0x0101010101010101
		for op < end {
			binary.LittleEndian.PutUint64(out[op:], v)
			op += 8
		}
	default:
		for op < end {
			out[op] = out[from]
			op++
			from++
		}
	}
}

// slow decodes one symbol, near the end of the input.
func (d *decoder) slow() error {
	d.look()
	e, length, err := d.symbol(d.lit[:], litBits)
	if err != nil {
		return err
	}
	if e&literal != 0 {
		d.out[d.op] = byte(length)
		d.op++
		return nil
	}
	if e&endOfBlock != 0 {
		d.coded = false
		return nil
	}
	_, distance, err := d.symbol(d.dist[:], distBits)
	if err != nil {
		return err
	}
	if distance > d.op-d.start {
		return errTooFar
	}
	copyMatch(d.out, d.op, distance, length)
	d.op += length
	return nil
}

// symbol decodes a code and its extra bits; 48 bits are enough for two.
func (d *decoder) symbol(table []uint32, first uint) (e uint32, value int, err error) {
	e = table[d.bb&(1<<first-1)]
	if e&pointer != 0 && e&literal == 0 {
		if d.nb < first {
			return 0, 0, d.short()
		}
		d.bb >>= first
		d.nb -= first
		e = table[e>>16+uint32(d.bb)&(1<<(e>>8&15)-1)]
	}
	if e&(literal|special) == special && e&endOfBlock == 0 {
		if d.nb < maxCode && d.rerr != nil {
			return 0, 0, d.short()
		}
		return 0, 0, errNoCode
	}
	n := uint(e & 63)
	if n > d.nb {
		return 0, 0, d.short()
	}
	value = int(e>>16) + int(d.bb&(1<<n-1)>>(e>>8&15))
	d.bb >>= n
	d.nb -= n
	return e, value, nil
}
