package userns

import (
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// shortage says why only the caller's own id can be mapped, and what to type;
// "" when there is no reason.
func (src sources) shortage(id Identity) (why, hint string) {
	type kind struct {
		file   string
		ranges []Range
		own    []specs.LinuxIDMapping
		caller uint32
	}
	var empty []string
	for _, k := range []kind{
		{"/etc/subuid", src.sub.UIDs, src.own.UIDs, id.UID},
		{"/etc/subgid", src.sub.GIDs, src.own.GIDs, id.mapGID()},
	} {
		if in, out := usable(k.ranges, k.own, k.caller); len(in) > 0 {
			continue
		} else if len(out) > 0 {
			return strings.TrimPrefix(outsideError(k.file, out, k.own).Error(), ErrTooFewIDs.Error()+": "),
				"list ids of this user namespace in " + k.file + ", or start the outer container with more ids"
		}
		empty = append(empty, k.file)
	}
	if len(empty) > 0 {
		if len(src.sub.Bad) > 0 {
			return src.sub.Bad[0].String(), "correct that line"
		}
		return "no subordinate ids for " + id.Display() + " in " + strings.Join(empty, " and "), addSubIDs(id, src.others, empty)
	}
	if id.SetID {
		return "", ""
	}
	return src.helper.shortage(src.distro)
}

// addSubIDs is the command that gives the caller subordinate ids, from the
// first 65536 that nobody has.
func addSubIDs(id Identity, others []Range, files []string) string {
	const count = 65536
	start := uint64(100000)
	for _, r := range joinRanges(others) {
		if r.end() > start && uint64(r.Start) < start+count {
			start = r.end()
		}
	}
	if id.Name == "" || !id.Local {
		// usermod knows only the users of /etc/passwd.
		return fmt.Sprintf("echo %s:%d:%d | sudo tee -a %s", id.Display(), start, count, strings.Join(files, " "))
	}
	var flags strings.Builder
	for _, f := range []struct{ file, flag string }{{"/etc/subuid", "--add-subuids"}, {"/etc/subgid", "--add-subgids"}} {
		if slices.Contains(files, f.file) {
			fmt.Fprintf(&flags, " %s %d-%d", f.flag, start, start+count-1)
		}
	}
	return "sudo usermod" + flags.String() + " " + id.Name
}
