package spec

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"coracle/spec/seccomp"
)

// capabilities decides the five sets. Root has what is bounding; any other
// user starts with nothing but what --cap-add names, which must be ambient to
// survive exec (podman's rule; docker gives other users nothing). Inheritable
// stays empty otherwise (CVE-2022-24769).
func (g *generator) capabilities() error {
	known := g.kernelCapabilities()
	add, err := parseCapabilities("--cap-add", g.opt.CapAdd, known)
	if err != nil {
		return err
	}
	drop, err := parseCapabilities("--cap-drop", g.opt.CapDrop, known)
	if err != nil {
		return err
	}
	base := defaultCapabilities()
	if g.opt.Privileged {
		base = known
	}
	bounding, err := mergeCapabilities(base, add, drop, known)
	if err != nil {
		return err
	}
	g.bounding = bounding
	sets := g.spec.Process.Capabilities
	sets.Bounding = bounding
	if g.user.uid == 0 {
		sets.Effective, sets.Permitted = bounding, bounding
		return nil
	}
	asked, err := mergeCapabilities(nil, add, capabilitySet{names: drop.names}, known)
	if err != nil {
		return err
	}
	sets.Effective, sets.Permitted, sets.Inheritable, sets.Ambient = asked, asked, asked, asked
	return nil
}

// kernelCapabilities are those up to the kernel's last one: a runtime refuses
// a name that the kernel does not know.
func (g *generator) kernelCapabilities() []string {
	names := capabilityNames()
	data, err := g.in.Host.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return names
	}
	last, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || last < 0 || last+1 >= len(names) {
		return names
	}
	return names[:last+1]
}

// securityOpt is what all --security-opt say together.
type securityOpt struct {
	seccomp  string // "", unconfined, default, or a file
	apparmor string
	noNew    bool
	masked   []string // to be masked as well
	unmasked []string // patterns
	unmask   bool     // everything
	procOpts []string
	cgroups  bool // its own are writable
}

func securityKeys() []string {
	return []string{"seccomp=", "apparmor=", "label=", "no-new-privileges", "mask=", "unmask=", "proc-opts=", "systempaths=", "writable-cgroups"}
}

// parseSecurityOpt reads all --security-opt. docker still takes a colon for
// the equals sign.
func parseSecurityOpt(words []string) (o securityOpt, err error) {
	for _, word := range words {
		key, value, pair := strings.Cut(word, "=")
		if !pair {
			key, value, pair = strings.Cut(word, ":")
		}
		if err := o.set(key, value, pair); err != nil {
			return o, refused("--security-opt", word, err)
		}
	}
	return o, nil
}

func (g *generator) securityOptions() (err error) {
	g.profile, err = parseSecurityOpt(g.opt.SecurityOpt)
	return err
}

func (o *securityOpt) set(key, value string, pair bool) (err error) {
	if key != "no-new-privileges" && key != "writable-cgroups" && pair && value == "" {
		return bad("%s needs a value", key)
	}
	switch key {
	case "no-new-privileges":
		o.noNew, err = parseBool(key, value, pair)
	case "writable-cgroups":
		o.cgroups, err = parseBool(key, value, pair)
	case "seccomp":
		o.seccomp = value
	case "apparmor":
		o.apparmor = value
	case "label":
		if value != "disable" {
			return bad("SELinux labels cannot be set").hint("label=disable is the only one that can be given")
		}
	case "mask":
		o.masked, err = appendPaths(o.masked, value)
	case "unmask":
		err = o.setUnmask(value)
	case "systempaths":
		if value != "unconfined" {
			return bad("unknown value %q of systempaths", value).hint("it may be unconfined")
		}
		o.unmask = true
	case "proc-opts":
		o.procOpts, err = appendProcOpts(o.procOpts, value)
	default:
		return bad("unknown option %q", key).hint("options are %s", strings.Join(securityKeys(), ", "))
	}
	return err
}

func (o *securityOpt) setUnmask(value string) (err error) {
	if strings.EqualFold(value, "all") {
		o.unmask = true
		return nil
	}
	o.unmasked, err = appendPaths(o.unmasked, value)
	return err
}

// appendPaths reads PATH:PATH….
func appendPaths(paths []string, value string) ([]string, error) {
	for p := range strings.SplitSeq(value, ":") {
		if !path.IsAbs(p) {
			return nil, bad("%q is not an absolute path", p)
		}
		if _, err := path.Match(p, ""); err != nil {
			return nil, bad("bad pattern %q", p)
		}
		paths = append(paths, path.Clean(p))
	}
	return paths, nil
}

// appendProcOpts takes the options of proc(5) that a user namespace may set.
func appendProcOpts(options []string, value string) ([]string, error) {
	for word := range strings.SplitSeq(value, ",") {
		key, v, _ := strings.Cut(word, "=")
		switch {
		case key == "hidepid" && slices.Contains([]string{"0", "1", "2", "4", "off", "noaccess", "invisible", "ptraceable"}, v):
		case key == "subset" && v == "pid":
		case key == "gid":
			if _, ok := parseID(v); !ok {
				return nil, bad("gid needs a number, not %q", v)
			}
		default:
			return nil, bad("unknown option %q of proc", word).hint("hidepid=0|1|2|4, gid=N, subset=pid")
		}
		options = append(options, word)
	}
	return options, nil
}

// unmasks says whether a path is to be left as it is.
func (o *securityOpt) unmasks(p string) bool {
	return o.unmask || slices.ContainsFunc(o.unmasked, func(pattern string) bool {
		ok, _ := path.Match(pattern, p) // the pattern was checked when it was read
		return ok
	})
}

// security decides masks, no_new_privs and AppArmor.
func (g *generator) security() error {
	g.spec.Process.NoNewPrivileges = g.profile.noNew
	if err := g.appArmor(); err != nil {
		return err
	}
	l := g.spec.Linux
	if !g.opt.Privileged {
		for _, p := range g.maskedPaths() {
			if !g.profile.unmasks(p) {
				l.MaskedPaths = append(l.MaskedPaths, p)
			}
		}
		for _, p := range defaultReadonlyPaths() {
			if !g.profile.unmasks(p) {
				l.ReadonlyPaths = append(l.ReadonlyPaths, p)
			}
		}
	}
	if g.allReadOnly() {
		// Not options of the mounts: the runtime must make the nodes first,
		// and crun remounts a read-only tmpfs below what it bound over it.
		for _, p := range []string{"/dev", "/dev/shm"} {
			if !g.userMounted(p) {
				l.ReadonlyPaths = append(l.ReadonlyPaths, p)
			}
		}
	}
	for _, p := range g.profile.masked {
		if !slices.Contains(l.MaskedPaths, p) {
			l.MaskedPaths = append(l.MaskedPaths, p)
		}
	}
	return nil
}

// defaultMaskedPaths is docker's list (moby, daemon/pkg/oci/defaults.go).
func defaultMaskedPaths() []string {
	return []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
}

// defaultReadonlyPaths is docker's list, likewise.
func defaultReadonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// maskedPaths adds the throttle counters of each CPU, a side channel
// (GHSA-6fw5-f8r9-fgfm), as docker does.
func (g *generator) maskedPaths() []string {
	paths := defaultMaskedPaths()
	const cpus = "/sys/devices/system/cpu"
	// All CPUs have it or none: one look on machines without.
	if _, err := g.in.Host.Stat(cpus + "/cpu0/thermal_throttle"); err != nil {
		return paths
	}
	names, err := g.in.Host.ReadDir(cpus)
	if err != nil {
		return paths
	}
	slices.Sort(names)
	for _, name := range names {
		number, isCPU := strings.CutPrefix(name, "cpu")
		if _, err := strconv.Atoi(number); !isCPU || err != nil {
			continue
		}
		if p := path.Join(cpus, name, "thermal_throttle"); g.exists(p) {
			paths = append(paths, p)
		}
	}
	return paths
}

func (g *generator) exists(p string) bool {
	_, err := g.in.Host.Stat(p)
	return err == nil
}

func (g *generator) appArmor() error {
	profile := g.profile.apparmor
	if profile == "" || profile == "unconfined" {
		return nil
	}
	enabled, err := g.in.Host.ReadFile("/sys/module/apparmor/parameters/enabled")
	if err != nil || strings.TrimSpace(string(enabled)) != "Y" {
		return refuse("--security-opt", "apparmor="+profile, "AppArmor is not enabled on this host").hint("leave it out, or apparmor=unconfined")
	}
	g.spec.Process.ApparmorProfile = profile
	return nil
}

// seccomp chooses the filter: docker's own profile, except for --privileged.
func (g *generator) seccomp() error {
	choice := g.profile.seccomp
	switch {
	case choice == "unconfined", choice == "" && g.opt.Privileged:
		return nil
	case choice == "", choice == "default", choice == "builtin":
		profile, err := seccomp.Default(g.bounding, g.in.Arch)
		if err != nil {
			return fmt.Errorf("default seccomp profile: %w", err)
		}
		g.spec.Linux.Seccomp = profile
		if ready, ok := seccomp.Ready(g.bounding, g.in.Arch); ok {
			g.res.Filter = &ready
		}
		return nil
	}
	data, err := g.readHost(choice)
	var profile *specs.LinuxSeccomp
	if err == nil {
		profile, err = seccomp.LoadProfile(data, g.bounding, g.in.Arch)
	}
	if err != nil {
		return refuse("--security-opt", "seccomp="+choice, "").because(err)
	}
	g.spec.Linux.Seccomp = profile
	return nil
}
