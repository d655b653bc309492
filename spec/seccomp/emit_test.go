package seccomp

import "testing"

// walk answers from the diagram itself.
func walk(nodes []node, at nodeID, d data) uint32 {
	a := uint32(0)
	for {
		n := nodes[at]
		hit := false
		switch n.kind {
		case nodeReturn:
			return n.k
		case nodeLoad:
			v, _ := d.word(n.w.offset)
			a, at = v&n.w.mask, n.t
			continue
		case nodeEqual:
			hit = a == n.k
		case nodeAtLeast:
			hit = a >= n.k
		case nodeBits:
			hit = a&n.k != 0
		}
		if at = n.f; hit {
			at = n.t
		}
	}
}

// TestEmitFar: one target that is jumped to from every distance up to 600, by
// either leg of a branch and by both.
func TestEmitFar(t *testing.T) {
	forks := func(b *builder, k uint32, x, y, chain nodeID) nodeID {
		// A masked word of its own for each k: every fork is a node, laid out
		// after both its targets.
		w := word{16, ^k}
		return b.test(nodeEqual, wordNr, k, b.test(nodeEqual, w, 1, x, y), chain)
	}
	for name, link := range map[string]func(b *builder, k uint32, far, near, chain nodeID) nodeID{
		"forks":         forks,
		"forks swapped": func(b *builder, k uint32, far, near, chain nodeID) nodeID { return forks(b, k, near, far, chain) },
		"true": func(b *builder, k uint32, far, _, chain nodeID) nodeID {
			return b.test(nodeEqual, wordNr, k, far, chain)
		},
		"false": func(b *builder, k uint32, far, _, chain nodeID) nodeID {
			return b.test(nodeAtLeast, wordNr, k, chain, far)
		},
		"both": func(b *builder, k uint32, far, near, chain nodeID) nodeID {
			if k%3 == 0 {
				return b.test(nodeAtLeast, wordNr, k, near, far)
			}
			return b.test(nodeEqual, wordNr, k, b.test(nodeBits, wordLow(0), k, far, near), chain)
		},
	} {
		for _, size := range []uint32{100, 253, 254, 255, 256, 257, 600} {
			b := newBuilder()
			far := b.enter(wordNone, b.test(nodeEqual, wordLow(5), 7, b.ret(1), b.ret(2)))
			near := b.enter(wordNone, b.test(nodeBits, wordLow(4), 8, b.ret(3), b.ret(4)))
			chain := b.ret(5)
			for k := range size {
				chain = link(b, k, far, near, chain)
			}
			first := b.enter(wordNone, chain)
			code := emit(b.nodes, first)
			wellFormed(t, code)
			for nr := range size + 2 {
				for _, args := range [][6]uint64{{1, 5: 7}, {4: 8}, {1, 2, 3, 4, 8, 7}, {^uint64(0)}} {
					d := data{nr: nr, args: args}
					if got, want := answer(t, code, d), walk(b.nodes, first, d); got != want {
						t.Fatalf("%s, %d tests: %v: %d, want %d", name, size, d, got, want)
					}
				}
			}
		}
	}
}
