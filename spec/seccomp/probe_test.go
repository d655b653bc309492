package seccomp

import (
	"math/rand/v2"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// tokensOf lists the audit tokens to try on a machine: all its own, and some
// that no program may ever send.
func tokensOf(goarch string) []uint32 {
	if goarch == "arm64" {
		return []uint32{unix.AUDIT_ARCH_AARCH64, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_PPC64LE, 0}
	}
	return []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_S390X, 0}
}

// numbers are the system calls to try: all there are, with and without the x32
// bit, ARM's private ones, and the corners.
func numbers() []uint32 {
	var out []uint32
	for nr := range uint32(601) {
		out = append(out, nr, nr|0x40000000)
	}
	for nr := uint32(0xf0000); nr < 0xf0010; nr++ {
		out = append(out, nr)
	}
	return append(out, 0x3fffffff, 0x7fffffff, 0x80000000, 0xbfffffff, 0xc0000000, 0xfffffffe, 0xffffffff)
}

// values are those at which an answer could change, for a rule's argument.
func values(a specs.LinuxSeccompArg, rng *rand.Rand) []uint64 {
	v := []uint64{0, 1, 1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1}
	for _, x := range []uint64{a.Value, a.ValueTwo, a.Value & a.ValueTwo} {
		lo, hi := x&0xffffffff, x&^0xffffffff
		v = append(v, x, x-1, x+1, lo, hi, hi|(lo+1)&0xffffffff, hi|(lo-1)&0xffffffff, lo|(hi+1<<32), lo|(hi-1<<32), ^x, x^1<<31, x^1<<63)
	}
	v = append(v, a.ValueTwo|^a.Value, a.ValueTwo|(rng.Uint64()&^a.Value))
	return append(v, rng.Uint64(), rng.Uint64()&0xffffffff, rng.Uint64()&rng.Uint64()&rng.Uint64())
}

// probes calls f with every number for every token, and with arguments around
// every value that the rules of a system call mention.
func probes(p *specs.LinuxSeccomp, goarch string, rng *rand.Rand, f func(data)) {
	pool := map[uint32]map[int][]uint64{} // token and number to argument to values
	at := func(token, nr uint32) map[int][]uint64 {
		key := token ^ nr*2654435761
		if pool[key] == nil {
			pool[key] = map[int][]uint64{}
		}
		return pool[key]
	}
	for _, sc := range p.Syscalls {
		for _, name := range sc.Names {
			row := lookup(name)
			if row < 0 {
				continue
			}
			for _, a := range abisOf(goarch) {
				for _, arg := range sc.Args {
					if nr, ok := a.number(row); ok {
						m := at(a.token, nr)
						m[int(arg.Index)] = append(m[int(arg.Index)], values(arg, rng)...)
					}
					if nr, call, ok := a.multiplexed(row); ok {
						m := at(a.token, nr)
						m[0] = append(m[0], uint64(call), uint64(call)+1, uint64(call)|1<<32)
						m[int(arg.Index)] = append(m[int(arg.Index)], values(arg, rng)...)
					}
				}
			}
		}
	}
	for _, token := range tokensOf(goarch) {
		for _, nr := range numbers() {
			m := at(token, nr)
			d := data{nr: nr, arch: token, ip: rng.Uint64()}
			f(d)
			for range argProbes(m) {
				for i := range d.args {
					d.args[i] = rng.Uint64()
					if vs := m[i]; len(vs) > 0 {
						d.args[i] = vs[rng.IntN(len(vs))]
					}
				}
				f(d)
			}
			for i := range d.args { // in order, so that a seed means one thing
				for _, v := range m[i] {
					d.args[i] = v
					f(d)
				}
			}
		}
	}
	// Through the multiplexers, by call number.
	for call := range uint64(32) {
		for _, nr := range []uint32{102, 117} {
			f(data{nr: nr, arch: unix.AUDIT_ARCH_I386, args: [6]uint64{call, rng.Uint64(), rng.Uint64(), 3, 4, 5}})
		}
	}
}

func argProbes(m map[int][]uint64) int {
	n := 3
	for _, vs := range m {
		n += 2 * len(vs)
	}
	return min(n, 400)
}
