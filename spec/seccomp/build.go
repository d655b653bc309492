package seccomp

import (
	"slices"

	"golang.org/x/sys/unix"
)

const actENOSYS = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)

// entry is a rule for one number of one ABI; several may have the same number.
type entry struct {
	nr   uint32
	rule *rule
}

// build returns the root of the decision diagram: first the audit token, then
// one search over all numbers that can occur with it. Until an argument is
// looked at, only instructions are used that the kernel can follow when it
// loads a filter (seccomp_is_const_allow, Linux 5.11), so that it finds out by
// itself which calls are always allowed and need not run the filter for them.
func (prof *profile) build(b *builder) (nodeID, error) {
	badArch := b.ret(unix.SECCOMP_RET_KILL_THREAD)
	other := badArch
	for i := len(prof.abis) - 1; i >= 0; i-- {
		a := prof.abis[i]
		if a.id == archX32 {
			continue // shares the token, and so the search, of the native ABI
		}
		spans, err := prof.spans(b, a)
		if err != nil {
			return 0, err
		}
		if a.id == archAMD64 {
			if spans, err = prof.addX32(b, spans, badArch); err != nil {
				return 0, err
			}
		}
		other = b.test(nodeEqual, wordArch, a.token, b.tree(wordNr, mergeSpans(spans)), other)
	}
	return b.enter(wordNone, other), nil
}

// addX32 appends what happens to numbers that x86_64 itself does not have: the
// x32 ABI's, and what is far too high (which the kernel refuses anyway; the
// answers are the ones of libseccomp behind runc's ENOSYS stub).
func (prof *profile) addX32(b *builder, spans []span[uint32], badArch nodeID) ([]span[uint32], error) {
	other := b.ret(prof.other)
	x32 := []span[uint32]{{x32Bit, badArch}}
	tooHigh, listed := badArch, false
	if i := slices.IndexFunc(prof.abis, func(a abi) bool { return a.id == archX32 }); i >= 0 {
		var err error
		if x32, err = prof.spans(b, prof.abis[i]); err != nil {
			return nil, err
		}
		if len(x32) > 1 && x32[1].start == x32Bit {
			x32 = x32[1:]
		}
		x32[0].start = x32Bit // what is below is the native ABI's
		tooHigh, listed = other, true
	}
	if _, ok := prof.newest(prof.abis[0]); ok {
		tooHigh = b.ret(actENOSYS)
	}
	spans = append(spans, x32...)
	spans = append(spans, span[uint32]{2 * x32Bit, tooHigh}, span[uint32]{3 * x32Bit, x32[len(x32)-1].to})
	if !listed {
		// -1 is what a tracer sets to skip a call, and the filter runs again
		// after it: not a foreign call.
		spans = append(spans, span[uint32]{wholeWord, other})
	}
	return spans, nil
}

// spans cuts the numbers of an ABI into ranges of one verdict.
func (prof *profile) spans(b *builder, a abi) ([]span[uint32], error) {
	entries, err := prof.entries(a)
	if err != nil {
		return nil, err
	}
	other := b.ret(prof.other)
	s := make([]span[uint32], 1, 2*len(entries)+2)
	s[0] = span[uint32]{0, other}
	var rules []*rule
	for i := 0; i < len(entries); {
		nr := entries[i].nr
		for rules = rules[:0]; i < len(entries) && entries[i].nr == nr; i++ {
			rules = append(rules, entries[i].rule)
		}
		to := b.verdict(rules, a.wide, other)
		if last := &s[len(s)-1]; last.start == nr {
			last.to = to
		} else if last.to != to {
			s = append(s, span[uint32]{nr, to})
		}
		if to != other {
			s = append(s, span[uint32]{nr + 1, other})
		}
	}
	if top, ok := prof.newest(a); ok {
		for s[len(s)-1].start > top {
			s = s[:len(s)-1]
		}
		s = append(s, span[uint32]{top + 1, b.ret(actENOSYS)})
	}
	return s, nil
}

// verdict is the node for all rules of one system call.
func (b *builder) verdict(rules []*rule, wide bool, other nodeID) nodeID {
	for _, r := range rules {
		if len(r.conds) == 0 {
			return b.ret(r.action)
		}
	}
	return b.decide(rules, wide, other)
}

// entries lists the rules of an ABI by number, and for equal numbers in the
// order of the profile. The result is overwritten by the next call.
func (prof *profile) entries(a abi) ([]entry, error) {
	out := prof.found[:0]
	conditional := 0
	for _, c := range prof.calls {
		nr, direct := a.number(c.row)
		muxNr, muxCall, muxed := a.multiplexed(c.row)
		for i := range c.rules {
			r := &c.rules[i]
			if r.action == prof.other {
				continue
			}
			if len(r.conds) > 0 {
				conditional++
				r = r.narrow(a.wide)
			}
			if direct {
				out = append(out, entry{nr, r})
			}
			if muxed {
				out = append(out, entry{muxNr, r.throughMux(muxCall)})
			}
		}
	}
	// Each needs an instruction of its own; do not work at what cannot be loaded.
	if conditional > maxInstructions {
		return nil, &sizeError{}
	}
	prof.found = out
	return prof.sorted(), nil
}

// sorted orders what was found by number and otherwise leaves their order alone. Plain
// integers with the old place in their low half sort ten times as fast as the
// entries do, and this is on the way of every start.
func (prof *profile) sorted() []entry {
	keys := prof.keys[:0]
	for i, e := range prof.found {
		keys = append(keys, uint64(e.nr)<<32|uint64(i))
	}
	slices.Sort(keys)
	out := prof.inOrder[:0]
	for _, k := range keys {
		out = append(out, prof.found[uint32(k)])
	}
	prof.keys, prof.inOrder = keys, out
	return out
}

// throughMux is r for socketcall(2) or ipc(2), whose first argument selects the
// call. What r says of its own first argument is lost, and the others are the
// multiplexer's, not the call's: the real ones are in memory, out of a
// filter's reach. This is libseccomp's reading, and why a profile cannot
// restrict, say, the address family of socket on i386.
func (r *rule) throughMux(call uint32) *rule {
	conds := []cond{{arg: 0, op: opEQ, a: uint64(call)}}
	for _, c := range r.conds {
		if c.arg != 0 {
			conds = append(conds, c)
		}
	}
	return &rule{r.action, conds}
}

// newest is the highest number that the profile mentions for an ABI, and
// whether numbers above it get ENOSYS. runc's rule (its "ENOSYS stub"), and the
// reason is the C library: it tries a new system call and falls back to an old
// one on ENOSYS, but takes EPERM for an answer. A profile cannot have an
// opinion on what is newer than itself, so saying "not there" is as safe as
// refusing and breaks nothing. A permissive default action is left alone, and
// a tracer is expected to know what it does.
func (prof *profile) newest(a abi) (uint32, bool) {
	switch prof.other & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_LOG, unix.SECCOMP_RET_TRACE:
		return 0, false
	}
	top := uint32(0)
	for _, c := range prof.calls {
		// libseccomp gives multiplexed calls a number below zero.
		if _, _, muxed := a.multiplexed(c.row); muxed {
			continue
		}
		if nr, ok := a.number(c.row); ok {
			top = max(top, nr)
		}
	}
	return top, top > 0
}
