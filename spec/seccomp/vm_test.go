package seccomp

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// data is struct seccomp_data (linux/seccomp.h).
type data struct {
	nr, arch uint32
	ip       uint64
	args     [6]uint64
}

func (d data) String() string { return fmt.Sprintf("arch %#x nr %#x args %#x", d.arch, d.nr, d.args) }

func (d data) word(offset uint32) (uint32, error) {
	var v uint64
	switch {
	case offset%4 != 0 || offset >= 64:
		return 0, fmt.Errorf("load from offset %d", offset)
	case offset == 0:
		return d.nr, nil
	case offset == 4:
		return d.arch, nil
	case offset < 16:
		v = d.ip
	default:
		v = d.args[(offset-16)/8]
	}
	if offset%8 == 4 { // little-endian
		v >>= 32
	}
	return uint32(v), nil
}

// interpret runs a filter as the kernel does (kernel/seccomp.c,
// net/core/filter.c) and returns its value and the instructions it took.
func interpret(code []unix.SockFilter, d data) (ret uint32, steps int, err error) {
	var a uint32
	jump := func(pc int, f unix.SockFilter, cond bool) int {
		if cond {
			return pc + int(f.Jt)
		}
		return pc + int(f.Jf)
	}
	for pc := 0; pc < len(code); pc++ {
		f := code[pc]
		steps++
		switch f.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			if a, err = d.word(f.K); err != nil {
				return 0, steps, err
			}
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= f.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(f.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			pc = jump(pc, f, a == f.K)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			pc = jump(pc, f, a > f.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			pc = jump(pc, f, a >= f.K)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			pc = jump(pc, f, a&f.K != 0)
		case unix.BPF_RET | unix.BPF_K:
			return f.K, steps, nil
		default:
			return 0, steps, fmt.Errorf("instruction %d has code %#x", pc, f.Code)
		}
	}
	return 0, steps, fmt.Errorf("ran off the end")
}

func answer(t testing.TB, code []unix.SockFilter, d data) uint32 {
	t.Helper()
	ret, _, err := interpret(code, d)
	if err != nil {
		t.Fatalf("%v: %v", d, err)
	}
	return ret
}

// wellFormed checks what the kernel checks before it takes a filter.
func wellFormed(t testing.TB, code []unix.SockFilter) {
	t.Helper()
	if len(code) == 0 || len(code) > 4096 {
		t.Fatalf("%d instructions", len(code))
	}
	if last := code[len(code)-1]; last.Code != unix.BPF_RET|unix.BPF_K {
		t.Fatalf("the last instruction is %#x, not a return", last.Code)
	}
	for i, f := range code {
		far := int(max(f.Jt, f.Jf))
		if f.Code == unix.BPF_JMP|unix.BPF_JA {
			far = int(f.K)
		}
		if f.Code&7 == unix.BPF_JMP && i+1+far >= len(code) {
			t.Fatalf("instruction %d jumps %d, beyond the end", i, far)
		}
	}
}
