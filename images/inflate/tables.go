package inflate

import "math/bits"

// A table is looked up with the next bits of the stream, the first of them
// lowest. Its entries, 32 bits each:
//
//	literal   1 in bit 31; the byte from bit 16 on
//	length    what to add the extra bits to, from bit 16 on; distances likewise
//	long code special|pointer; where its own table starts from bit 16 on, and
//	          how many bits it is looked up with from bit 8 on
//	end       special|endOfBlock
//	no code   special
//
// and in all of them bits 0-5 are how many bits to take, with the extra ones,
// bits 8-11 how many without.
const (
	literal    = 1 << 31
	special    = 1 << 15
	pointer    = 1 << 14
	endOfBlock = 1 << 13
)

const (
	litBits  = 11
	distBits = 9
	maxCode  = 15 // bits
	// Of n codes at most n/2 beginnings are shared by two or more that are
	// longer than the first table's bits.
	litSize  = 1<<litBits + 288/2<<(maxCode-litBits)
	distSize = 1<<distBits + 32/2<<(maxCode-distBits)
	preBits  = 7
	preSize  = 1 << preBits
)

// RFC 1951, 3.2.5.
var (
	lengthBase  = [...]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthExtra = [...]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase    = [...]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distExtra   = [...]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// litSymbol, distSymbol and preSymbol are what a code stands for, without the
// lengths of the code.
func litSymbol(s int) (entry, extra uint32) {
	switch {
	case s < 256:
		return literal | uint32(s)<<16, 0
	case s == 256:
		return special | endOfBlock, 0
	case s-257 < len(lengthBase):
		return uint32(lengthBase[s-257]) << 16, uint32(lengthExtra[s-257])
	}
	return special, 0
}

func distSymbol(s int) (entry, extra uint32) {
	if s < len(distBase) {
		return uint32(distBase[s]) << 16, uint32(distExtra[s])
	}
	return special, 0
}

func preSymbol(s int) (entry, extra uint32) { return uint32(s) << 16, 0 }

// build makes the table of a canonical code from the lengths of the codes of
// its symbols, 0 for those that do not occur. It is false when the lengths
// make no code: too many, or too few, but none at all or a single one of one
// bit is allowed.
func build(table []uint32, first uint, lengths []uint8, symbol func(int) (entry, extra uint32)) bool {
	var count, next [maxCode + 1]uint32
	longest := 0
	for _, n := range lengths {
		count[n]++
		longest = max(longest, int(n))
	}
	for i := range 1 << first {
		table[i] = special
	}
	if longest == 0 {
		return true
	}
	code := uint32(0)
	for n := 1; n <= longest; n++ {
		code <<= 1
		next[n] = code
		code += count[n]
	}
	if code != 1<<longest && (code != 1 || longest != 1) {
		return false
	}
	more := uint(max(longest-int(first), 0)) // bits of each further table
	end := uint32(1) << first
	for s, n := range lengths {
		if n == 0 {
			continue
		}
		c := bits.Reverse32(next[n]) >> (32 - n)
		next[n]++
		entry, extra := symbol(s)
		if uint(n) <= first {
			fill(table[:1<<first], c, uint(n), entry|uint32(n)<<8|(uint32(n)+extra))
			continue
		}
		p := &table[c&(1<<first-1)]
		if *p&pointer == 0 {
			*p = special | pointer | end<<16 | uint32(more)<<8 | uint32(first)
			for i := range uint32(1) << more {
				table[end+i] = special
			}
			end += 1 << more
		}
		start := *p >> 16
		rest := uint(n) - first
		fill(table[start:start+1<<more], c>>first, rest, entry|uint32(rest)<<8|(uint32(rest)+extra))
	}
	return true
}

// fill puts an entry wherever the lowest n bits are its code.
func fill(table []uint32, code uint32, n uint, entry uint32) {
	for i := int(code); i < len(table); i += 1 << n {
		table[i] = entry
	}
}
