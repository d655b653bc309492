package userns

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Report is what the identity checks of `coracle doctor` look at.
type Report struct {
	UIDs, GIDs []Range   // subordinate ids that can be mapped
	Outside    []Range   // granted, but not in our own user namespace
	Bad        []BadLine // lines of ours that say nothing usable
	Shared     []string  // ranges that somebody else has too, one sentence each
	Service    bool      // a directory service is asked (nsswitch.conf)
	Root       bool      // no subordinate ids and no helpers are needed
	Helpers    []HelperReport
	AddSubIDs  string // the command that would give the caller a range
}

// HelperReport is newuidmap or newgidmap.
type HelperReport struct {
	Name, Path    string // Path is "" where it is not installed
	Problem, Hint string // "" when it works as far as can be seen
}

// Inspect gathers what there is to say about the caller's ids.
func Inspect(ctx context.Context, id Identity) (Report, error) {
	return realSystem().inspect(ctx, id)
}

func (s system) inspect(ctx context.Context, id Identity) (Report, error) {
	r := Report{Root: id.UID == 0 && id.SetID, Service: s.subIDService()}
	l, err := s.subIDs(ctx, id, [2]string{})
	if err != nil {
		return r, err
	}
	r.Bad = l.Bad
	f := s.facts()
	var out []Range
	r.UIDs, r.Outside = usable(l.UIDs, f.Own.UIDs, id.UID)
	r.GIDs, out = usable(l.GIDs, f.Own.GIDs, id.mapGID())
	r.Outside = append(r.Outside, out...)
	for _, k := range []struct {
		file, users string
		ranges      []Range
	}{{"/etc/subuid", "/etc/passwd", l.UIDs}, {"/etc/subgid", "/etc/group", l.GIDs}} {
		grants, _ := s.read(k.file) // none: nothing is shared
		users, _ := s.read(k.users)
		r.Shared = append(r.Shared, sharedRanges(k.file, string(grants), owners(id, ""), k.ranges)...)
		r.Shared = append(r.Shared, takenIDs(k.users, string(users), k.ranges)...)
	}
	osRelease, _ := s.read("/etc/os-release")
	h := s.helperFacts(id)
	for _, p := range []struct {
		name, capability string
		helperProgram
	}{{"newuidmap", "cap_setuid", h.UID}, {"newgidmap", "cap_setgid", h.GID}} {
		hr := HelperReport{Name: p.name, Path: p.Path}
		if p.Path == "" {
			hr.Problem, hr.Hint = "not installed", installHint(string(osRelease))
		} else {
			hr.Problem, hr.Hint = p.powerless(p.capability, h.NoNewPrivs)
		}
		r.Helpers = append(r.Helpers, hr)
	}
	r.AddSubIDs = addSubIDs(id, s.allSubIDs(), []string{"/etc/subuid", "/etc/subgid"})
	return r, nil
}

// sharedRanges are the lines of others that overlap our ranges: their
// containers and ours can then read each other's files.
func sharedRanges(file, data string, owners []string, ours []Range) []string {
	var out []string
	for _, l := range subIDLines(data) {
		if slices.Contains(owners, l.Owner) {
			continue
		}
		for _, r := range ours {
			if overlaps(r.Start, l.Start, r.Count, l.Count) {
				out = append(out, fmt.Sprintf("%s gives ids of %s to %s too", file, r, l.Owner))
			}
		}
	}
	return out
}

// takenIDs are users or groups of the host inside our ranges: containers
// could act as them.
func takenIDs(file, data string, ours []Range) []string {
	var out []string
	for line := range strings.Lines(data) {
		f := strings.Split(line, ":")
		if len(f) < 3 {
			continue
		}
		id, err := strconv.ParseUint(strings.TrimSpace(f[2]), 10, 32)
		if err != nil || id == OverflowID {
			continue
		}
		for _, r := range ours {
			if overlaps(r.Start, uint32(id), r.Count, 1) {
				out = append(out, fmt.Sprintf("%s of %s (id %d) is in the range %s", f[0], file, id, r))
			}
		}
	}
	return out
}
