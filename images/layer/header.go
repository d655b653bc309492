package layer

import (
	"bytes"
	"fmt"
	"math"
)

// The reader is our own because archive/tar hides where the holes of a sparse
// file are and copies every byte once more. Formats: v7, ustar, PAX, GNU.

const blockSize = 512

type block [blockSize]byte

// Types of entries, POSIX.1-2017 pax "ustar Header Block", and GNU's.
const (
	typeReg      = '0'
	typeRegOld   = 0
	typeLink     = '1'
	typeSymlink  = '2'
	typeChar     = '3'
	typeBlock    = '4'
	typeDir      = '5'
	typeFifo     = '6'
	typeCont     = '7'
	typePax      = 'x'
	typePaxSun   = 'X'
	typeGlobal   = 'g'
	typeLongName = 'L'
	typeLongLink = 'K'
	typeSparse   = 'S'
	typeVolume   = 'V'
	typeDumpDir  = 'D'
)

// extent is a stretch of a sparse file that has data.
type extent struct{ off, n int64 }

type xattr struct{ key, value string }

// header is one entry, everything that extended headers say included.
type header struct {
	name, link   string
	typ          byte
	mode         uint32 // permission bits, setuid, setgid, sticky
	uid, gid     int64
	sec          int64 // modification time
	nsec         int64
	major, minor uint32
	stored       int64 // bytes of data in the archive
	size         int64 // of the file; differs from stored for sparse files
	sparse       bool
	extents      []extent
	xattrs       []xattr
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// checksumOK accepts the sum over unsigned bytes, and over signed ones as some
// old archivers wrote it.
func checksumOK(b *block) bool {
	want, err := parseOctal(b[148:156])
	if err != nil {
		return false
	}
	var unsigned, signed int64
	for i, c := range b {
		if i >= 148 && i < 156 {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	return want == unsigned || want == signed
}

func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// parseOctal reads a number as tar writes it: octal digits among spaces and NULs.
func parseOctal(b []byte) (int64, error) {
	b = bytes.Trim(b, " \x00")
	if len(b) > 21 {
		return 0, fmt.Errorf("%w: the number %q", ErrCorrupt, b)
	}
	var v int64
	for _, c := range b {
		if c < '0' || c > '7' || v > math.MaxInt64>>3 {
			return 0, fmt.Errorf("%w: the number %q", ErrCorrupt, b)
		}
		v = v<<3 | int64(c-'0')
	}
	return v, nil
}

// parseNumber reads an octal number or GNU's base-256, whose first bit is set
// and whose second is the sign.
func parseNumber(b []byte) (int64, error) {
	if b[0]&0x80 == 0 {
		return parseOctal(b)
	}
	var inv byte // ^0 for a negative number, whose complement is read
	if b[0]&0x40 != 0 {
		inv = 0xff
	}
	var v uint64
	for i, c := range b {
		c ^= inv
		if i == 0 {
			c &= 0x7f
		}
		if v>>56 != 0 {
			return 0, fmt.Errorf("%w: a number of more than 63 bits", ErrCorrupt)
		}
		v = v<<8 | uint64(c)
	}
	if v>>63 != 0 {
		return 0, fmt.Errorf("%w: a number of more than 63 bits", ErrCorrupt)
	}
	if inv != 0 {
		return ^int64(v), nil
	}
	return int64(v), nil
}

// parseHeader reads the fields of one header block, whose checksum is good.
func parseHeader(b *block) (*header, error) {
	h := &header{name: cString(b[:100]), link: cString(b[157:257]), typ: b[156]}
	var mode, major, minor int64
	fields := []struct {
		b []byte
		v *int64
	}{
		{b[100:108], &mode}, {b[108:116], &h.uid}, {b[116:124], &h.gid},
		{b[124:136], &h.stored}, {b[136:148], &h.sec},
	}
	magic := string(b[257:265])
	if magic == "ustar\x0000" || magic == "ustar  \x00" || magic[:6] == "ustar\x00" {
		if h.typ == typeChar || h.typ == typeBlock { // elsewhere some archivers leave rubbish
			fields = append(fields, struct {
				b []byte
				v *int64
			}{b[329:337], &major}, struct {
				b []byte
				v *int64
			}{b[337:345], &minor})
		}
	}
	for _, f := range fields {
		v, err := parseNumber(f.b)
		if err != nil {
			return nil, fmt.Errorf("header of %q: %w", h.name, err)
		}
		*f.v = v
	}
	if magic[:6] == "ustar\x00" {
		prefix := b[345:500]
		if string(b[508:512]) == "tar\x00" { // star keeps times behind a shorter prefix
			prefix = b[345:476]
		}
		if p := cString(prefix); p != "" {
			h.name = p + "/" + h.name
		}
	}
	h.mode, h.major, h.minor = uint32(mode)&0o7777, uint32(major), uint32(minor)
	if h.stored < 0 {
		return nil, fmt.Errorf("%w: %q has a negative size", ErrCorrupt, h.name)
	}
	h.size = h.stored
	return h, nil
}
