package seccomp

import (
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// reference answers straight from the rules, as doc.go states them, without
// any of the compiler.
type reference struct {
	p     *specs.LinuxSeccomp
	abis  []abi
	other uint32
	rules map[specs.Arch]map[uint32][]refRule
	top   map[specs.Arch]uint32
}

type refRule struct {
	action uint32
	args   []specs.LinuxSeccompArg
}

func newReference(p *specs.LinuxSeccomp, goarch string) *reference {
	r := &reference{
		p: p, abis: abisOf(goarch), other: scmpAction(p.DefaultAction, p.DefaultErrnoRet),
		rules: map[specs.Arch]map[uint32][]refRule{}, top: map[specs.Arch]uint32{},
	}
	for _, a := range r.abis {
		r.rules[a.name] = map[uint32][]refRule{}
		for _, sc := range p.Syscalls {
			for _, name := range sc.Names {
				if lookup(name) >= 0 {
					r.add(a, lookup(name), sc)
				}
			}
		}
	}
	return r
}

func (r *reference) add(a abi, row int, sc specs.LinuxSyscall) {
	act := scmpAction(sc.Action, sc.ErrnoRet)
	nr, direct := a.number(row)
	mux, call, muxed := a.multiplexed(row)
	if direct && !muxed {
		r.top[a.name] = max(r.top[a.name], nr)
	}
	if act == r.other {
		return
	}
	for _, args := range asRunc(sc.Args) {
		if direct {
			r.rules[a.name][nr] = append(r.rules[a.name][nr], refRule{act, args})
		}
		if muxed {
			through := []specs.LinuxSeccompArg{{Index: 0, Value: uint64(call), Op: specs.OpEqualTo}}
			for _, arg := range args {
				if arg.Index != 0 {
					through = append(through, arg)
				}
			}
			r.rules[a.name][mux] = append(r.rules[a.name][mux], refRule{act, through})
		}
	}
}

// abi finds whom a call belongs to; ok is false for a foreign one.
func (r *reference) abi(d data) (a abi, listed, ok bool) {
	for i, a := range r.abis {
		if a.token != d.arch || (a.id == archX32) != (a.token == unix.AUDIT_ARCH_X86_64 && d.nr&x32Bit != 0) {
			continue
		}
		listed = i == 0
		for _, name := range r.p.Architectures {
			listed = listed || name == a.name
		}
		return a, listed, true
	}
	return abi{}, false, false
}

func (r *reference) answer(d data) uint32 {
	a, listed, ok := r.abi(d)
	permissive := strings.Contains(" SCMP_ACT_ALLOW SCMP_ACT_LOG SCMP_ACT_TRACE ", " "+string(r.p.DefaultAction)+" ")
	switch {
	case a.id == archX32 && ok && !listed && d.nr == 0xffffffff:
		return r.other
	case !ok || !listed:
		return 0
	case !permissive && r.top[a.name] > 0 && d.nr > r.top[a.name]:
		return actENOSYS
	case a.id == archAMD64 && d.nr >= 0x80000000 && !r.has(specs.ArchX32):
		return 0
	}
	var first *refRule
	for _, rule := range r.rules[a.name][d.nr] {
		if rule.always(a.wide) {
			return rule.action
		}
		if first == nil && rule.matches(d, a.wide) {
			first = &rule
		}
	}
	if first != nil {
		return first.action
	}
	return r.other
}

func (r *reference) has(name specs.Arch) bool {
	for _, a := range r.p.Architectures {
		if a == name {
			return true
		}
	}
	return false
}

// always: no condition, or none that can fail.
func (r refRule) always(wide bool) bool {
	for _, a := range r.args {
		if a.Op != specs.OpMaskedEqual || a.Value != 0 && wide || uint32(a.Value) != 0 {
			return false
		}
	}
	return true
}

func (r refRule) matches(d data, wide bool) bool {
	for _, a := range r.args {
		v, x, y := d.args[a.Index], a.Value, a.ValueTwo
		if !wide {
			v, x, y = v&0xffffffff, x&0xffffffff, y&0xffffffff
		}
		ok := map[specs.LinuxSeccompOperator]bool{
			specs.OpEqualTo: v == x, specs.OpNotEqual: v != x, specs.OpLessThan: v < x, specs.OpLessEqual: v <= x,
			specs.OpGreaterEqual: v >= x, specs.OpGreaterThan: v > x, specs.OpMaskedEqual: v&x == y&x,
		}[a.Op]
		if !ok {
			return false
		}
	}
	return true
}
