package spec

import (
	"slices"
	"strings"

	"coracle/internal/plainjson"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// process checks what becomes of the payload; field is where it stands.
func (v *validator) process(field string, p *specs.Process) error {
	if p == nil {
		return wrong(field, "missing")
	}
	if p.CommandLine != "" {
		return wrong(field+".commandLine", "it is for Windows; Linux has args")
	}
	if err := v.command(field, p); err != nil {
		return err
	}
	if err := v.user(field+".user", &p.User); err != nil {
		return err
	}
	v.capabilities(field+".capabilities", p.Capabilities)
	if err := checkRlimits(field+".rlimits", p.Rlimits); err != nil {
		return err
	}
	if err := v.oomScoreAdj(field+".oomScoreAdj", p.OOMScoreAdj); err != nil {
		return err
	}
	if err := v.securityModules(field, p); err != nil {
		return err
	}
	return v.scheduling(field, p)
}

func (v *validator) command(field string, p *specs.Process) error {
	if len(p.Args) == 0 {
		return wrong(field+".args", "missing: there is nothing to run")
	}
	if p.Args[0] == "" {
		return wrong(field+".args[0]", "the name of the program is empty")
	}
	if err := noNulIn(field+".args", p.Args); err != nil {
		return err
	}
	for i, e := range p.Env {
		name, _, ok := strings.Cut(e, "=")
		if !ok || name == "" {
			return wrong(at(field+".env", i), "%s is not NAME=VALUE", plainjson.Quote(e))
		}
	}
	if err := noNulIn(field+".env", p.Env); err != nil {
		return err
	}
	if err := absolute(field+".cwd", p.Cwd); err != nil {
		return err
	}
	// Without a terminal the size is to be ignored.
	if cs := p.ConsoleSize; p.Terminal && cs != nil && (cs.Height > 0xffff || cs.Width > 0xffff) {
		return wrong(field+".consoleSize", "%d by %d; a terminal has 65535 at most", cs.Width, cs.Height)
	}
	return nil
}

func (v *validator) user(field string, u *specs.User) error {
	if u.Username != "" {
		return wrong(field+".username", "it is for Windows; Linux has uid and gid")
	}
	if err := v.mappedID(field+".uid", u.UID, false); err != nil {
		return err
	}
	if err := v.mappedID(field+".gid", u.GID, true); err != nil {
		return err
	}
	const mostGroups = 65536 // NGROUPS_MAX
	if err := notOver(field+".additionalGids", len(u.AdditionalGids), mostGroups); err != nil {
		return err
	}
	for i, g := range u.AdditionalGids {
		if err := v.mappedID(at(field+".additionalGids", i), g, true); err != nil {
			return err
		}
	}
	if u.Umask != nil && *u.Umask > 0o777 {
		return wrong(field+".umask", "%d (octal %#o) is more than octal 0777; JSON has no octal numbers, 022 is 18", *u.Umask, *u.Umask)
	}
	return nil
}

func checkRlimits(field string, limits []specs.POSIXRlimit) error {
	seen := make(map[string]bool, len(limits))
	for i, r := range limits {
		switch _, ok := RlimitNumber(r.Type); {
		case r.Type == "":
			return wrong(at(field, i)+".type", "missing")
		case !ok:
			return wrong(at(field, i)+".type", "there is no limit %s (getrlimit(2) lists them)", plainjson.Quote(r.Type))
		case seen[r.Type]:
			return wrong(at(field, i), "a second %s", r.Type)
		case r.Soft > r.Hard:
			return wrong(at(field, i)+".soft", "%d is more than hard, %d", r.Soft, r.Hard)
		}
		seen[r.Type] = true
	}
	return nil
}

func (v *validator) oomScoreAdj(field string, adj *int) error {
	switch {
	case adj == nil:
		return nil
	case *adj < -1000 || *adj > 1000:
		return wrong(field, "%d is not between -1000 and 1000", *adj)
	case *adj < v.h.OOMScoreAdj && !v.h.Root:
		return wrong(field, "%d is less than the caller's own, %d, and that takes CAP_SYS_RESOURCE outside the user namespace", *adj, v.h.OOMScoreAdj)
	}
	return nil
}

// securityModules are AppArmor and SELinux, of the process and of its mounts.
func (v *validator) securityModules(field string, p *specs.Process) error {
	if err := noNul(field+".apparmorProfile", p.ApparmorProfile); err != nil {
		return err
	}
	if err := noNul(field+".selinuxLabel", p.SelinuxLabel); err != nil {
		return err
	}
	if p.ApparmorProfile != "" && p.ApparmorProfile != "unconfined" && !v.h.AppArmor {
		return wrong(field+".apparmorProfile", "this kernel has no AppArmor, or it is not enabled")
	}
	if p.SelinuxLabel != "" && !v.h.SELinux {
		return wrong(field+".selinuxLabel", "this kernel has no SELinux, or it is not enabled")
	}
	return nil
}

func (v *validator) scheduling(field string, p *specs.Process) error {
	if p.Scheduler != nil {
		if err := v.scheduler(field+".scheduler", p.Scheduler); err != nil {
			return err
		}
	}
	if io := p.IOPriority; io != nil {
		field := field + ".ioPriority"
		switch io.Class {
		case specs.IOPRIO_CLASS_BE, specs.IOPRIO_CLASS_IDLE:
		case specs.IOPRIO_CLASS_RT:
			if !v.h.Root {
				return wrong(field+".class", "%s takes CAP_SYS_NICE outside the user namespace", io.Class)
			}
		case "":
			return wrong(field+".class", "missing")
		default:
			return wrong(field+".class", "there is no class %s; IOPRIO_CLASS_RT, IOPRIO_CLASS_BE and IOPRIO_CLASS_IDLE are", plainjson.Quote(string(io.Class)))
		}
		if io.Priority < 0 || io.Priority > 7 {
			return wrong(field+".priority", "%d is not between 0 (highest) and 7", io.Priority)
		}
	}
	if a := p.ExecCPUAffinity; a != nil {
		for _, l := range []struct{ name, cpus string }{{"initial", a.Initial}, {"final", a.Final}} {
			if err := checkList(field+".execCPUAffinity."+l.name, l.cpus, mostCPUs); err != nil {
				return err
			}
		}
	}
	return nil
}

// scheduler holds the values to sched_setattr(2).
func (v *validator) scheduler(field string, s *specs.Scheduler) error {
	realtime := s.Policy == specs.SchedFIFO || s.Policy == specs.SchedRR
	switch {
	case s.Policy == "":
		return wrong(field+".policy", "missing")
	case s.Policy == specs.SchedISO:
		return wrong(field+".policy", "Linux reserves the name SCHED_ISO and has no such policy")
	case !slices.Contains(schedulerPolicies(), s.Policy):
		return wrong(field+".policy", "there is no policy %s", plainjson.Quote(string(s.Policy)))
	case s.Nice < -20 || s.Nice > 19:
		return wrong(field+".nice", "%d is not between -20 and 19", s.Nice)
	case realtime && (s.Priority < 1 || s.Priority > 99):
		return wrong(field+".priority", "%d is not between 1 and 99, as %s wants", s.Priority, s.Policy)
	case !realtime && s.Priority != 0:
		return wrong(field+".priority", "%d, and %s has none; SCHED_FIFO and SCHED_RR have", s.Priority, s.Policy)
	}
	for i, f := range s.Flags {
		if !slices.Contains(schedulerFlags(), f) {
			return wrong(at(field+".flags", i), "there is no flag %s", plainjson.Quote(string(f)))
		}
	}
	if s.Policy == specs.SchedDeadline {
		return v.deadline(field, s)
	}
	for _, t := range []struct {
		name string
		ns   uint64
	}{{"runtime", s.Runtime}, {"deadline", s.Deadline}, {"period", s.Period}} {
		if t.ns != 0 {
			return wrong(field+"."+t.name, "%d, and %s has none; SCHED_DEADLINE has", t.ns, s.Policy)
		}
	}
	return nil
}

// deadline holds to sched(7): 1024 <= runtime <= deadline <= period, below 2^63;
// a period of 0 is the deadline.
func (v *validator) deadline(field string, s *specs.Scheduler) error {
	period, name := s.Period, "period"
	if period == 0 {
		period, name = s.Deadline, "deadline"
	}
	switch {
	case s.Runtime < 1024:
		return wrong(field+".runtime", "%d ns; the kernel wants 1024 at least", s.Runtime)
	case s.Runtime > s.Deadline:
		return wrong(field+".deadline", "%d ns is less than runtime, %d", s.Deadline, s.Runtime)
	case s.Deadline > period:
		return wrong(field+".period", "%d ns is less than deadline, %d", period, s.Deadline)
	case period >= 1<<63:
		return wrong(field+"."+name, "%d ns is 2^63 or more", period)
	case !v.h.Root:
		return wrong(field+".policy", "SCHED_DEADLINE takes CAP_SYS_NICE outside the user namespace")
	}
	return nil
}

// capabilities that cannot be granted are left out, with a warning, by the
// specification: a bundle runs here and there.
func (v *validator) capabilities(field string, want *specs.LinuxCapabilities) {
	held := capSets{bounding: allCaps, permitted: allCaps}
	if !v.inUserNamespace() && v.h.Permitted != 0 {
		held = capSets{bounding: v.h.Bounding, permitted: v.h.Permitted}
	}
	last := v.h.LastCapability
	if last <= 0 || last > lastCap {
		last = lastCap
	}
	_, left := grantable(want, held, last)
	for _, name := range left {
		v.warn(field, "%s is left out: it is unknown here, or the caller or a set that it must be in lacks it", plainjson.Quote(name))
	}
}
