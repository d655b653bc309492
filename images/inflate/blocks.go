package inflate

// block reads the head of a block.
func (d *decoder) block() error {
	head, err := d.take(3)
	if err != nil {
		return err
	}
	d.final = head&1 != 0
	switch head >> 1 {
	case 0:
		d.align()
		n, err := d.take(16)
		if err != nil {
			return err
		}
		not, err := d.take(16)
		if err != nil {
			return err
		}
		if n^not != 0xffff {
			return corrupt("the length of a stored block")
		}
		d.stored = n
		return nil
	case 1:
		d.coded = true
		d.fixed()
		return nil
	case 2:
		d.coded = true
		return d.dynamic()
	}
	return corrupt("a block of no kind")
}

func (d *decoder) copyStored() error {
	for d.nb >= 8 && d.stored > 0 { // whole bytes only: align has been called
		d.out[d.op] = byte(d.bb)
		d.bb >>= 8
		d.nb -= 8
		d.op++
		d.stored--
	}
	if d.stored == 0 {
		return nil
	}
	if d.ip == d.ie && !d.more() {
		return d.short()
	}
	d.bb = 0
	n := min(d.stored, d.ie-d.ip, outSize-outMargin+1-d.op)
	if n > 0 {
		copy(d.out[d.op:], d.in[d.ip:d.ip+n])
		d.op += n
		d.ip += n
		d.stored -= n
	}
	return nil
}

func (d *decoder) fixed() {
	var l [288]uint8
	for i := range l {
		switch {
		case i < 144, i >= 280:
			l[i] = 8
		case i < 256:
			l[i] = 9
		default:
			l[i] = 7
		}
	}
	build(d.lit[:], litBits, l[:], litSymbol)
	for i := range l[:32] {
		l[i] = 5
	}
	build(d.dist[:], distBits, l[:32], distSymbol)
}

// preOrder is the order in which the lengths of the code for lengths come.
var preOrder = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// dynamic reads the codes of a block (RFC 1951, 3.2.7).
func (d *decoder) dynamic() error {
	head, err := d.take(14)
	if err != nil {
		return err
	}
	nlit, ndist, npre := head&31+257, head>>5&31+1, head>>10+4
	if nlit > 286 || ndist > 30 {
		return corrupt("a block with too many codes")
	}
	var pre [19]uint8
	for _, i := range preOrder[:npre] {
		n, err := d.take(3)
		if err != nil {
			return err
		}
		pre[i] = uint8(n)
	}
	var table [preSize]uint32
	if !build(table[:], preBits, pre[:], preSymbol) {
		return corrupt("the code of the codes' lengths")
	}
	var lengths [286 + 30]uint8
	if err := d.lengths(&table, lengths[:nlit+ndist]); err != nil {
		return err
	}
	if lengths[256] == 0 {
		return corrupt("a block without an end")
	}
	if !build(d.lit[:], litBits, lengths[:nlit], litSymbol) || !build(d.dist[:], distBits, lengths[nlit:nlit+ndist], distSymbol) {
		return corrupt("the codes of a block")
	}
	return nil
}

func (d *decoder) lengths(table *[preSize]uint32, out []uint8) error {
	for i := 0; i < len(out); {
		if d.nb < preBits+7 {
			d.look()
		}
		e := table[d.bb&(preSize-1)]
		n := uint(e & 63)
		if n > d.nb {
			return d.short()
		}
		if e&special != 0 {
			return corrupt("a code of the codes' lengths")
		}
		d.bb >>= n
		d.nb -= n
		s := e >> 16
		if s < 16 {
			out[i] = uint8(s)
			i++
			continue
		}
		value, least, extra := uint8(0), 3, uint(3)
		switch s {
		case 16:
			if i == 0 {
				return corrupt("a repetition of nothing")
			}
			value, extra = out[i-1], 2
		case 18:
			least, extra = 11, 7
		}
		times, err := d.take(extra)
		if err != nil {
			return err
		}
		if times += least; times > len(out)-i {
			return corrupt("too many lengths of codes")
		}
		for range times {
			out[i] = value
			i++
		}
	}
	return nil
}
