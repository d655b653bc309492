package engine

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"coracle/spec"
	"coracle/userns"
)

func checkFuse(f doctorFacts) Check {
	return checkDevice("fuse", "/dev/fuse", f.fuse, "only needed where overlay is refused",
		"sudo modprobe fuse && sudo chmod 666 /dev/fuse")
}

func checkTun(f doctorFacts) Check {
	return checkDevice("tun", "/dev/net/tun", f.tun, "needed by networks of their own",
		"sudo modprobe tun && sudo chmod 666 /dev/net/tun")
}

// checkPing: net.ipv4.ping_group_range says whose groups may.
func checkPing(f doctorFacts) Check {
	if f.ping != nil {
		return warns("ping", "you may not send pings ("+f.ping.Error()+"), so containers' are refused", "sudo sysctl net.ipv4.ping_group_range='0 2147483647'")
	}
	return passes("ping", "containers can send pings")
}

func checkDevice(name, path string, err error, use, hint string) Check {
	switch {
	case err == nil:
		return passes(name, path+" can be opened")
	case errors.Is(err, fs.ErrNotExist):
		return warns(name, path+" is missing; "+use, hint)
	}
	return warns(name, err.Error()+"; "+use, hint)
}

// wantedControllers are those that limits need.
func wantedControllers() []string { return []string{"cpu", "memory", "pids"} }

func checkCgroup(f doctorFacts) Check {
	const name = "cgroup"
	c := f.cgroup
	switch {
	case c.version == 0:
		return warns(name, "no cgroups are mounted: memory, cpu and pids cannot be limited", "sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup")
	case c.version == 1:
		return warns(name, "this machine has cgroup v1, which cannot be delegated: memory, cpu and pids cannot be limited",
			"boot with systemd.unified_cgroup_hierarchy=1")
	case !c.writable && f.systemd:
		return warns(name, "no cgroup is delegated to you: memory, cpu and pids cannot be limited",
			"log in by ssh or at the console (not by su or sudo), or: sudo loginctl enable-linger "+f.id.Display())
	case !c.writable:
		return warns(name, "no cgroup is delegated to you: memory, cpu and pids cannot be limited",
			"as root: make a directory below /sys/fs/cgroup, chown it and its cgroup.procs to "+f.id.Display()+", and start the shell in it")
	}
	var missing []string
	for _, w := range wantedControllers() {
		if !slices.Contains(c.controllers, w) {
			missing = append(missing, w)
		}
	}
	if len(missing) > 0 {
		return warns(name, "not delegated to you: "+strings.Join(missing, " ")+" (at "+c.path+")",
			"sudo mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload; then log in again")
	}
	return passes(name, strings.Join(c.controllers, " ")+" are delegated at "+c.path)
}

// checkLimits says whether the limits that nobody asks for can be had; without them
// a run works, and a fork bomb too.
func checkLimits(f doctorFacts) Check {
	const name = "default-limits"
	switch {
	case f.limits != nil:
		return warns(name, f.limits.Error(), cmp.Or(hintFrom(f.limits), "see the check \"cgroup\""))
	case len(f.unlimited) > 0:
		return warns(name, "containers may have any number of processes: "+strings.Join(f.unlimited, "; "), "see the check \"cgroup\"; --pids-limit N makes it an error")
	}
	return passes(name, fmt.Sprintf("containers in the background may have %d processes and threads, those in the foreground where they have a cgroup", spec.DefaultPidsLimit))
}

func checkRuntimeDir(f doctorFacts) Check {
	const name = "runtime-dir"
	switch {
	case f.runtime != nil:
		hint := hintFrom(f.runtime)
		if hint == "" {
			hint = "name a directory of yours with --runroot DIR, or set XDG_RUNTIME_DIR"
		}
		return fails(name, f.runtime.Error(), hint)
	case f.xdg == "" && strings.HasPrefix(f.runRoot, "/tmp/"):
		hint := "log in by ssh or at the console (not by su or sudo), or set XDG_RUNTIME_DIR to a directory of yours that is emptied at boot"
		if f.systemd {
			hint += "; sudo loginctl enable-linger " + f.id.Display() + " makes /run/user/" + strconv.FormatUint(uint64(f.id.UID), 10)
		}
		return warns(name, "XDG_RUNTIME_DIR is not set; "+f.runRoot+" is used", hint)
	}
	return passes(name, f.runRoot)
}

func checkLinger(f doctorFacts) Check {
	const name = "linger"
	switch {
	case !f.systemd:
		return passes(name, "systemd does not run here: nothing ends your processes at logout")
	case f.host.UID == 0:
		return passes(name, "root needs none")
	case !f.lingering:
		return warns(name, "containers in the background end at your last logout", "sudo loginctl enable-linger "+f.id.Display())
	}
	return passes(name, "containers in the background outlive your logout")
}

func checkKernel(f doctorFacts) Check {
	const name = "kernel"
	major, minor := kernelVersion(f.kernel)
	// For reading only: what the kernel can do is found out by trying.
	without := ""
	if len(f.lacks) > 0 {
		without = ", without " + strings.Join(f.lacks, ", ") + ": mounts are made in another way that takes longer, idmapped ones cannot be had"
	}
	switch {
	case major < 5 || major == 5 && minor < 3:
		return fails(name, f.kernel+": it has no pidfd_open, by which a container's processes are known"+without, "use Linux 5.3 or later; from 5.12 on nothing is missing")
	case major == 5 && minor < 11:
		return warns(name, f.kernel+without, "use Linux 5.12 or later; from 5.11 on overlay works without root")
	case major == 5 && minor < 12:
		return warns(name, f.kernel+without, "use Linux 5.12 or later, where nothing is missing")
	case without != "":
		return warns(name, f.kernel+without, "a filter around us hides what this kernel has: run the outer container with a seccomp profile that knows these system calls")
	}
	return passes(name, f.kernel)
}

// kernelVersion reads "6.1.0-18-amd64"; 0 0 where it cannot.
func kernelVersion(release string) (major, minor int) {
	a, rest, _ := strings.Cut(release, ".")
	b := strings.FieldsFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	major, err := strconv.Atoi(a)
	if err != nil || len(b) == 0 {
		return 0, 0
	}
	minor, _ = strconv.Atoi(b[0]) // only digits
	return major, minor
}

func checkSeccomp(f doctorFacts) Check {
	if f.seccomp != nil {
		return fails("seccomp", "the kernel has no seccomp filters: "+f.seccomp.Error(),
			"boot a kernel built with CONFIG_SECCOMP_FILTER=y, or run with --security-opt seccomp=unconfined")
	}
	return passes("seccomp", "filters work")
}

func checkAppArmor(f doctorFacts) Check {
	const name = "apparmor"
	label := f.host.Label
	if label == "" {
		label = "unconfined"
	}
	var refused *userns.RestrictedError
	switch {
	case errors.As(f.probe, &refused) && refused.Cause == userns.CauseAppArmor:
		return warns(name, refused.Reason, refused.Advice)
	case !f.apparmor && f.host.AppArmorRestrict == "":
		return passes(name, "off")
	case f.host.AppArmorRestrict == "1":
		return passes(name, "restricts user namespaces, and lets this program have them ("+label+")")
	}
	return passes(name, "on ("+label+")")
}

func checkSELinux(f doctorFacts) Check {
	const name = "selinux"
	var refused *userns.RestrictedError
	switch {
	case errors.As(f.probe, &refused) && refused.Cause == userns.CauseSELinux:
		return warns(name, refused.Reason, refused.Advice)
	case f.host.SELinux == "":
		return passes(name, "off")
	}
	return passes(name, f.host.SELinux+" ("+f.host.Label+")")
}

func checkLandlock(f doctorFacts) Check {
	if f.landlock == 0 {
		return warns("landlock", "the kernel has none: --landlock and the sandbox's second line of defence are refused",
			"boot with lsm=landlock,… on a kernel built with CONFIG_SECURITY_LANDLOCK=y (5.13 or later)")
	}
	return passes("landlock", fmt.Sprintf("ABI %d", f.landlock))
}

// helperProgram is a program that some feature uses.
type helperProgram struct{ name, use, install string }

func helperPrograms() []helperProgram {
	return []helperProgram{
		{"fuse-overlayfs", "where overlay is refused", "sudo apt-get install fuse-overlayfs"},
		{"slirp4netns", "--network slirp4netns", "sudo apt-get install slirp4netns"},
		{"pasta", "--network pasta", "sudo apt-get install passt"},
		{"criu", "checkpoint and restore", "sudo apt-get install criu"},
	}
}

// checkPrograms wants nothing that is not needed: a missing program is a
// warning only where something would use it.
func checkPrograms(f doctorFacts) []Check {
	var checks []Check
	for _, p := range helperPrograms() {
		path, found := f.programs[p.name]
		needed := p.name == "fuse-overlayfs" && f.driver != "" && f.driver != "overlay"
		switch {
		case found:
			checks = append(checks, passes(p.name, path))
		case needed:
			checks = append(checks, warns(p.name, "not installed, and overlay is refused here", p.install))
		default:
			checks = append(checks, Check{p.name, VerdictOK, "not installed; only for " + p.use, p.install})
		}
	}
	return checks
}
