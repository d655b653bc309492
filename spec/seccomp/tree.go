package seccomp

import "cmp"

// A filter is built as a decision diagram: nodes are shared where they are the
// same, and only emit decides where they lie. A test or span expects the
// accumulator to hold its word; enter puts a load in front where it does not.

// word is a 32-bit part of struct seccomp_data, perhaps masked after loading.
type word struct {
	offset uint32
	mask   uint32
}

const wholeWord = 0xffffffff

// Offsets in struct seccomp_data (linux/seccomp.h). Both machines that have
// tables are little-endian: the low half of an argument comes first.
var (
	wordNr   = word{0, wholeWord}
	wordArch = word{4, wholeWord}
	wordNone = word{}
)

func wordLow(arg uint8) word  { return word{16 + 8*uint32(arg), wholeWord} }
func wordHigh(arg uint8) word { return word{20 + 8*uint32(arg), wholeWord} }

type nodeKind uint8

const (
	nodeReturn  nodeKind = iota // return k
	nodeLoad                    // load w, go to t
	nodeEqual                   // w == k ? t : f
	nodeAtLeast                 // w >= k ? t : f
	nodeBits                    // w & k != 0 ? t : f
)

type nodeID int32

type node struct {
	kind nodeKind
	w    word
	k    uint32
	t, f nodeID
}

type builder struct {
	nodes []node
	index map[node]nodeID
	rets  []nodeID // the returns among nodes; few, and asked for most often
	full  bool     // more nodes than any filter can hold
}

func newBuilder() *builder {
	return &builder{nodes: make([]node, 0, 512), index: make(map[node]nodeID, 512)}
}

func (b *builder) add(n node) nodeID {
	if id, ok := b.index[n]; ok {
		return id
	}
	// Each node becomes an instruction at least. Stop growing far beyond
	// what can be loaded; Compile reports it.
	if len(b.nodes) > 2*maxInstructions {
		b.full = true
		return 0
	}
	id := nodeID(len(b.nodes))
	b.nodes = append(b.nodes, n)
	b.index[n] = id
	return id
}

func (b *builder) ret(action uint32) nodeID {
	for _, id := range b.rets {
		if b.nodes[id].k == action {
			return id
		}
	}
	id := b.add(node{kind: nodeReturn, k: action})
	b.rets = append(b.rets, id)
	return id
}

// enter makes id reachable from a place where the accumulator holds have.
func (b *builder) enter(have word, id nodeID) nodeID {
	switch n := b.nodes[id]; {
	case n.kind == nodeReturn, n.kind == nodeLoad, n.w == have:
		return id
	default:
		return b.add(node{kind: nodeLoad, w: n.w, t: id})
	}
}

func (b *builder) test(kind nodeKind, w word, k uint32, t, f nodeID) nodeID {
	t, f = b.enter(w, t), b.enter(w, f)
	if t == f {
		return t
	}
	return b.add(node{kind, w, k, t, f})
}

// span says where the values from start up (to the next span) go.
type span[T cmp.Ordered] struct {
	start T
	to    nodeID
}

// tree is a balanced search over spans, the first of which starts at 0.
func (b *builder) tree(w word, s []span[uint32]) nodeID {
	switch {
	case len(s) == 1:
		return s[0].to
	case len(s) == 3 && s[0].to == s[2].to && s[2].start-s[1].start == 1:
		return b.test(nodeEqual, w, s[1].start, s[1].to, s[0].to)
	}
	mid := len(s) / 2
	low, high := b.tree(w, s[:mid]), b.tree(w, s[mid:])
	return b.test(nodeAtLeast, w, s[mid].start, high, low)
}

// argTree is tree over a whole argument: the high word decides, and only where
// spans meet inside one of its values is the low word looked at.
func (b *builder) argTree(arg uint8, wide bool, s []span[uint64]) nodeID {
	if !wide {
		low := make([]span[uint32], len(s))
		for i, x := range s {
			low[i] = span[uint32]{uint32(x.start), x.to}
		}
		return b.tree(wordLow(arg), low)
	}
	var high []span[uint32]
	for i := 0; i < len(s); {
		h := uint32(s[i].start >> 32)
		var low []span[uint32]
		if uint32(s[i].start) != 0 {
			low = append(low, span[uint32]{0, s[i-1].to})
		}
		for ; i < len(s) && uint32(s[i].start>>32) == h; i++ {
			low = append(low, span[uint32]{uint32(s[i].start), s[i].to})
		}
		high = append(high, span[uint32]{h, b.tree(wordLow(arg), low)})
		more := i < len(s) && uint32(s[i].start>>32) == h+1
		if len(low) > 1 && h != wholeWord && !more {
			high = append(high, span[uint32]{h + 1, s[i-1].to})
		}
	}
	return b.tree(wordHigh(arg), mergeSpans(high))
}

// mergeSpans drops the borders between neighbours that go the same way.
func mergeSpans[T cmp.Ordered](s []span[T]) []span[T] {
	out := s[:1]
	for _, x := range s[1:] {
		if x.to != out[len(out)-1].to {
			out = append(out, x)
		}
	}
	return out
}

// paint lets the values from lo to hi, both included, go to another node.
func paint(s []span[uint64], lo, hi, limit uint64, to nodeID) []span[uint64] {
	if lo > hi {
		return s
	}
	out := make([]span[uint64], 0, len(s)+2)
	i := 0
	for ; i < len(s) && s[i].start < lo; i++ {
		out = append(out, s[i])
	}
	out = append(out, span[uint64]{lo, to})
	if hi < limit {
		// What is left of the span that hi+1 falls into.
		for i < len(s) && s[i].start <= hi+1 {
			i++
		}
		out = append(out, span[uint64]{hi + 1, s[i-1].to})
		out = append(out, s[i:]...)
	}
	return mergeSpans(out)
}

// paint applies one condition that is not a mask: where it holds, go to.
func (c cond) paint(s []span[uint64], limit uint64, to nodeID) []span[uint64] {
	v := c.a
	switch c.op {
	case opEQ:
		return paint(s, v, v, limit, to)
	case opNE:
		if v > 0 {
			s = paint(s, 0, v-1, limit, to)
		}
		if v < limit {
			s = paint(s, v+1, limit, limit, to)
		}
	case opLT:
		if v > 0 {
			return paint(s, 0, v-1, limit, to)
		}
	case opLE:
		return paint(s, 0, v, limit, to)
	case opGE:
		return paint(s, v, limit, limit, to)
	case opGT:
		if v < limit {
			return paint(s, v+1, limit, limit, to)
		}
	}
	return s
}

// holds is c as a test: yes where it holds, else no.
func (b *builder) holds(c cond, wide bool, yes, no nodeID) nodeID {
	if c.op == opMasked {
		yes = b.masked(wordLow(c.arg), uint32(c.a), uint32(c.b), yes, no)
		if wide {
			yes = b.masked(wordHigh(c.arg), uint32(c.a>>32), uint32(c.b>>32), yes, no)
		}
		return yes
	}
	return b.argTree(c.arg, wide, c.paint([]span[uint64]{{0, no}}, limitOf(wide), yes))
}

// masked tests w & mask == value. The two shapes that need no masked load
// leave the accumulator fit for the next test.
func (b *builder) masked(w word, mask, value uint32, yes, no nodeID) nodeID {
	switch {
	case mask == 0:
		return yes
	case mask == wholeWord:
		return b.test(nodeEqual, w, value, yes, no)
	case value == 0:
		return b.test(nodeBits, w, mask, no, yes)
	case value == mask && mask&(mask-1) == 0:
		return b.test(nodeBits, w, mask, yes, no)
	}
	w.mask = mask
	return b.test(nodeEqual, w, value, yes, no)
}

func limitOf(wide bool) uint64 {
	if wide {
		return 1<<64 - 1
	}
	return 1<<32 - 1
}

// decide builds the rules of one system call: the first that matches counts,
// otherwise other does. Neighbouring rules with one comparison each of the
// same argument become one search.
func (b *builder) decide(rules []*rule, wide bool, other nodeID) nodeID {
	for end := len(rules); end > 0; {
		start := end - 1
		for start > 0 && simple(rules[end-1]) && simple(rules[start-1]) &&
			rules[start-1].conds[0].arg == rules[end-1].conds[0].arg {
			start--
		}
		if group := rules[start:end]; simple(group[0]) {
			s := []span[uint64]{{0, other}}
			for i := len(group) - 1; i >= 0; i-- {
				s = group[i].conds[0].paint(s, limitOf(wide), b.ret(group[i].action))
			}
			other = b.argTree(group[0].conds[0].arg, wide, s)
		} else {
			yes := b.ret(group[0].action)
			for i := len(group[0].conds) - 1; i >= 0; i-- {
				yes = b.holds(group[0].conds[i], wide, yes, other)
			}
			other = yes
		}
		end = start
	}
	return other
}

func simple(r *rule) bool { return len(r.conds) == 1 && r.conds[0].op != opMasked }
