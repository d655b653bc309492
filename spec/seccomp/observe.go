package seccomp

import (
	"errors"
	"runtime"

	"golang.org/x/sys/unix"
)

// Data is what a filter decides by: struct seccomp_data (linux/seccomp.h), as far as
// our filters look at it.
type Data struct {
	Nr, Arch uint32
	Args     [6]uint64
}

// nativeArch is what the kernel calls this machine's own calls.
func nativeArch() uint32 {
	if runtime.GOARCH == "arm64" {
		return unix.AUDIT_ARCH_AARCH64
	}
	return unix.AUDIT_ARCH_X86_64
}

// Answer is what a filter says of a call, a SECCOMP_RET_* value. A filter with
// instructions that ours do not have kills: nothing is let pass by mistake.
func Answer(filter []unix.SockFilter, d Data) uint32 {
	var acc uint32
	for pc := 0; pc < len(filter); pc++ {
		f, cond := filter[pc], false
		switch f.Code {
		case codeLoad:
			acc = d.word(f.K)
			continue
		case codeReturn:
			return f.K
		case codeJump:
			pc += int(f.K)
			continue
		case codeAnd:
			acc &= f.K
			continue
		case codeEqual:
			cond = acc == f.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			cond = acc > f.K
		case codeAtLeast:
			cond = acc >= f.K
		case codeBits:
			cond = acc&f.K != 0
		default:
			return unix.SECCOMP_RET_KILL_PROCESS
		}
		if cond {
			pc += int(f.Jt)
		} else {
			pc += int(f.Jf)
		}
	}
	return unix.SECCOMP_RET_KILL_PROCESS
}

// word is what a load from an offset gives; little-endian.
func (d Data) word(offset uint32) uint32 {
	const args, size = 16, 64
	switch {
	case offset == 0:
		return d.Nr
	case offset == 4:
		return d.Arch
	case offset < args || offset >= size || offset%4 != 0:
		return 0
	}
	v := d.Args[(offset-args)/8]
	if offset%8 == 4 {
		v >>= 32
	}
	return uint32(v)
}

// Watch is a call that is to be told of: of those with a flag set in the low half of
// an argument none, or those only where it is one number.
type Watch struct {
	Nr      uint32
	I386    bool // it is one of i386's, on amd64
	Arg     uint32
	Without uint32 // 0: all
	Is      uint32 // 0: all
}

// look has the listener asked for the call; the number is loaded, before and after.
func (w Watch) look() []unix.SockFilter {
	ask := unix.SockFilter{Code: codeReturn, K: unix.SECCOMP_RET_USER_NOTIF}
	test := unix.SockFilter{Code: codeBits, K: w.Without, Jt: 1}
	switch {
	case w.Is != 0:
		test = unix.SockFilter{Code: codeEqual, K: w.Is, Jf: 1}
	case w.Without == 0:
		return []unix.SockFilter{{Code: codeEqual, K: w.Nr, Jf: 1}, ask}
	}
	return []unix.SockFilter{{Code: codeEqual, K: w.Nr, Jf: 4}, {Code: codeLoad, K: 16 + 8*w.Arg}, test, ask, {Code: codeLoad}}
}

// Observed is a filter that has the listener asked where the given one answers with an
// errno other than ENOSYS, and besides at watched calls. The listener decides as the
// given filter does, by Answer; what that kills for, or says ENOSYS to, the kernel
// answers itself. Without a listener such a call fails with ENOSYS: it never passes.
func Observed(p Program, watched []Watch) (Program, error) {
	filter := make([]unix.SockFilter, 0, 2*len(watched)+len(p.Filter)+8)
	for _, kind := range []struct {
		arch uint32
		i386 bool
	}{{nativeArch(), false}, {unix.AUDIT_ARCH_I386, true}} {
		var looks []unix.SockFilter
		for _, w := range watched {
			if w.I386 == kind.i386 {
				looks = append(looks, w.look()...)
			}
		}
		if len(looks) > 0 {
			filter = append(filter, unix.SockFilter{Code: codeLoad, K: 4}, unix.SockFilter{Code: codeEqual, K: kind.arch, Jt: 1},
				unix.SockFilter{Code: codeJump, K: uint32(len(looks) + 1)}, unix.SockFilter{Code: codeLoad})
			filter = append(filter, looks...)
		}
	}
	for _, f := range p.Filter {
		if f.Code == codeReturn && asks(f.K) {
			f.K = unix.SECCOMP_RET_USER_NOTIF
		}
		filter = append(filter, f)
	}
	if len(filter) > maxInstructions {
		return Program{}, &sizeError{}
	}
	if p.Notify() {
		return Program{}, errors.New("the filter has a listener already")
	}
	p.Filter, p.Flags = filter, p.Flags|unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	return p, nil
}

// asks says whether an answer is a refusal that the listener gives instead.
func asks(answer uint32) bool {
	return answer&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_ERRNO && answer&unix.SECCOMP_RET_DATA != uint32(unix.ENOSYS)
}

// Name is what a number of this machine's own calls is called; "" for none.
func Name(nr uint32) string {
	all := abisOf(runtime.GOARCH)
	if len(all) == 0 {
		return ""
	}
	for row := range tableEnds {
		if n, ok := all[0].number(row); ok && n == nr {
			return tableName(row)
		}
	}
	return ""
}

// Name386 is what a call of i386's is called, on amd64; "" for any other.
func Name386(d Data) string {
	if runtime.GOARCH != "amd64" || d.Arch != unix.AUDIT_ARCH_I386 {
		return ""
	}
	for row := range tableEnds {
		if n := tableNumbers[row][arch386]; n >= 0 && uint32(n) == d.Nr {
			return tableName(row)
		}
	}
	return ""
}

// Native says whether a call is one of this machine's own.
func Native(d Data) bool {
	return d.Arch == nativeArch() && (runtime.GOARCH != "amd64" || d.Nr&x32Bit == 0)
}
