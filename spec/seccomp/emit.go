package seccomp

import "golang.org/x/sys/unix"

// maxInstructions is BPF_MAXINSNS (linux/bpf_common.h).
const maxInstructions = 4096

const (
	codeLoad    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	codeAnd     = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	codeEqual   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	codeAtLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	codeBits    = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	codeJump    = unix.BPF_JMP | unix.BPF_JA
	codeReturn  = unix.BPF_RET | unix.BPF_K
)

// emitter lays nodes out from the end of the program to its start: BPF jumps
// only forward, so every target is placed before what jumps to it.
type emitter struct {
	nodes []node
	code  []unix.SockFilter // reversed
	at    []int32           // index in code of each node's first instruction, -1 before it has one
}

// emit returns the program that starts at first.
func emit(nodes []node, first nodeID) []unix.SockFilter {
	e := emitter{nodes, make([]unix.SockFilter, 0, len(nodes)+len(nodes)/4), make([]int32, len(nodes))}
	for i := range e.at {
		e.at[i] = -1
	}
	e.place(first)
	for i, j := 0, len(e.code)-1; i < j; i, j = i+1, j-1 {
		e.code[i], e.code[j] = e.code[j], e.code[i]
	}
	return e.code
}

func (e *emitter) push(f unix.SockFilter) int32 {
	e.code = append(e.code, f)
	return int32(len(e.code) - 1)
}

// place makes sure that a node has code.
func (e *emitter) place(id nodeID) {
	if e.at[id] >= 0 {
		return
	}
	n := &e.nodes[id]
	switch n.kind {
	case nodeReturn:
		e.at[id] = e.push(unix.SockFilter{Code: codeReturn, K: n.k})
	case nodeLoad:
		e.place(n.t)
		if e.distance(n.t) != 0 {
			e.bridge(n.t)
		}
		e.at[id] = e.load(n.w)
	default:
		e.place(n.t)
		e.place(n.f)
		e.at[id] = e.branch(n)
	}
}

func (e *emitter) load(w word) int32 {
	if w.mask != wholeWord {
		e.push(unix.SockFilter{Code: codeAnd, K: w.mask})
	}
	return e.push(unix.SockFilter{Code: codeLoad, K: w.offset})
}

// distance is how many instructions the next instruction to be pushed would
// have to skip to reach a node.
func (e *emitter) distance(id nodeID) int32 { return int32(len(e.code)) - e.at[id] - 1 }

// bridge pushes something near that leads to a node, and returns its index: a
// copy where the node is a return, otherwise a jump, which takes 32 bits.
func (e *emitter) bridge(id nodeID) int32 {
	if n := e.nodes[id]; n.kind == nodeReturn {
		// The copy serves later branches as well.
		e.at[id] = e.push(unix.SockFilter{Code: codeReturn, K: n.k})
		return e.at[id]
	}
	return e.push(unix.SockFilter{Code: codeJump, K: uint32(e.distance(id))})
}

// branch pushes a conditional jump. Its offsets have eight bits, so a far
// target gets a bridge; the one for t may push f out of reach, hence 254.
func (e *emitter) branch(n *node) int32 {
	t, f := e.at[n.t], e.at[n.f]
	if e.distance(n.t) > 254 {
		t = e.bridge(n.t)
	}
	if e.distance(n.f) > 255 {
		f = e.bridge(n.f)
	}
	code := uint16(codeEqual)
	switch n.kind {
	case nodeAtLeast:
		code = codeAtLeast
	case nodeBits:
		code = codeBits
	}
	next := int32(len(e.code))
	return e.push(unix.SockFilter{Code: code, Jt: uint8(next - t - 1), Jf: uint8(next - f - 1), K: n.k})
}
