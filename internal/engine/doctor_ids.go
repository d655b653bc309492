package engine

import (
	"errors"
	"fmt"
	"strings"

	"coracle/userns"

	"golang.org/x/sys/unix"
)

// hintFrom is the hint that an error carries.
func hintFrom(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

func checkCaller(f doctorFacts) Check {
	switch {
	case f.idErr != nil:
		return fails("caller", f.idErr.Error(), "look at /etc/passwd, and at what `getent passwd` says")
	case f.id.Name == "":
		return warns("caller", fmt.Sprintf("user %d is neither in /etc/passwd nor known to getent", f.id.UID),
			"ask the administrator for an entry; containers run, without a name for you")
	}
	return passes("caller", fmt.Sprintf("%s (user %d, group %d)", f.id.Name, f.id.UID, f.id.GID))
}

// enoughIDs is what images take for granted: 0 to 65535.
const enoughIDs = 65535

func checkSubIDs(f doctorFacts) Check {
	const name = "subids"
	r := f.report
	uids, gids := countIDs(r.UIDs), countIDs(r.GIDs)
	switch {
	case f.idErr != nil || f.reportErr != nil:
		return warns(name, "not readable: "+errors.Join(f.idErr, f.reportErr).Error(), "look at /etc/subuid, /etc/subgid and `getsubids`")
	case r.Root:
		return passes(name, "root maps the ids of its own user namespace")
	case len(r.Bad) > 0:
		return warns(name, r.Bad[0].String(), "correct that line")
	case len(r.Outside) > 0 && (uids == 0 || gids == 0):
		return warns(name, fmt.Sprintf("%v do not exist in the user namespace around us", r.Outside),
			"start the outer container with more ids, or list ids that it has in /etc/subuid and /etc/subgid")
	case uids == 0 || gids == 0:
		return warns(name, "none: only your own id can be mapped", r.AddSubIDs)
	case len(r.Shared) > 0:
		return warns(name, strings.Join(r.Shared, "; "), "give every user a range of its own in /etc/subuid and /etc/subgid")
	case uids < enoughIDs || gids < enoughIDs:
		return warns(name, fmt.Sprintf("%d user and %d group ids, and images use up to %d", uids, gids, enoughIDs+1), r.AddSubIDs)
	}
	source := "/etc/subuid and /etc/subgid"
	if r.Service {
		source = "getsubids"
	}
	return passes(name, fmt.Sprintf("%d user and %d group ids from %s", uids, gids, source))
}

func countIDs(ranges []userns.Range) uint64 {
	var n uint64
	for _, r := range ranges {
		n += uint64(r.Count)
	}
	return n
}

func checkHelpers(f doctorFacts) []Check {
	var checks []Check
	for _, h := range f.report.Helpers {
		switch {
		case f.report.Root:
			checks = append(checks, passes(h.Name, "not needed by root"))
		case h.Problem != "":
			checks = append(checks, warns(h.Name, h.Problem, h.Hint))
		default:
			checks = append(checks, passes(h.Name, h.Path))
		}
	}
	return checks
}

func checkUserNamespaces(f doctorFacts) Check {
	const name = "user-namespaces"
	if f.probe == nil {
		return passes(name, "can be created")
	}
	hint := hintFrom(f.probe)
	if hint == "" {
		hint = "look at `sudo dmesg` and the audit log for what refused it"
	}
	return fails(name, f.probe.Error(), hint)
}

func checkIDMaps(f doctorFacts) Check {
	const name = "id-maps"
	switch {
	case f.probe != nil || f.idErr != nil:
		return warns(name, "not tried: user namespaces do not work", "solve that first")
	case f.maps != nil:
		hint := hintFrom(f.maps)
		if hint == "" {
			hint = "look at /etc/subuid and /etc/subgid"
		}
		return fails(name, f.maps.Error(), hint)
	case f.ids.Single:
		hint := f.ids.Hint
		if hint == "" {
			hint = "start the outer container with more ids"
		}
		return warns(name, f.ids.Notice, hint)
	}
	n := 0
	for _, m := range f.ids.Map.UIDs {
		n += int(m.Size)
	}
	return passes(name, fmt.Sprintf("%d user ids can be mapped", n))
}

func checkNamespaces(f doctorFacts) Check {
	const name = "namespaces"
	if f.probe != nil {
		return warns(name, "not tried: user namespaces do not work", "solve that first")
	}
	if f.spaces == nil {
		return passes(name, "mount, pid, network, ipc, uts and cgroup namespaces, with a /proc and /sys of their own")
	}
	hint := "see the limits: sysctl -a | grep '^user.max_.*_namespaces'"
	var at *userns.StepError
	if errors.As(f.spaces, &at) && strings.HasPrefix(at.Step, "mount ") && (at.Errno == unix.EPERM || at.Errno == unix.EACCES) {
		hint = "start the outer container with /proc and /sys unmasked (podman: --security-opt unmask=ALL; docker: --security-opt systempaths=unconfined)"
	}
	return fails(name, f.spaces.Error(), hint)
}
