package sandbox

import (
	"fmt"
	"path"
	"runtime"
	"slices"
	"strconv"

	"coracle/fuse"
	"coracle/spec"
	"coracle/spec/seccomp"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Made is what a plan is carried out with.
type Made struct {
	Spec   *specs.Spec
	Root   *fuse.Rootfs
	Filter seccomp.Program
	Uppers []string // of the layers that are in memory, relative to the root of the scratch
}

// Ask is what of a run is not in the plan.
type Ask struct {
	Terminal bool
	Root     *fuse.Rootfs           // of Options.Tree: an overlay with an upper on the scratch
	Upper    func(layer int) string // directories of layers; nil: on the scratch
	Work     func(layer int) string
	Mode     func(layer int) uint32 // of the directories of layers that are on the scratch
	// Volatile has the kernel not write the layers to the disk when they are unmounted,
	// with all else that waits there; nobody needs them before review has synced them.
	Volatile bool
}

// Spec is the plan in the words of runtime-spec.
func (pl *Plan) Spec(ask Ask) (Made, error) {
	filter, err := pl.filter()
	if err != nil {
		return Made{}, err
	}
	s := &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			Args: pl.Command, Env: pl.Env, Cwd: pl.Cwd, Terminal: ask.Terminal, NoNewPrivileges: true,
			User:         specs.User{UID: pl.UID, GID: pl.GID, Umask: &pl.facts.Umask},
			Capabilities: &specs.LinuxCapabilities{},
			Rlimits:      pl.Limits.rlimits(),
		},
		Root: &specs.Root{},
		Linux: &specs.Linux{
			UIDMappings: OneID(pl.UID), GIDMappings: OneID(pl.GID),
			Namespaces:    namespaces(pl.Network.Mode == HostNetwork),
			MaskedPaths:   maskedProc(),
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/proc/mtrr"},
		},
	}
	if pl.Limits.Nice > 0 {
		s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Nice: int32(pl.Limits.Nice)}
	}
	if s.Process.IOPriority, err = pl.Limits.ioPriority(); err != nil {
		return Made{}, err
	}
	if err := pl.name(s); err != nil {
		return Made{}, err
	}
	m := Made{Spec: s, Filter: filter, Root: pl.rootfs(ask)}
	s.Root.Path = path.Join(pl.facts.Scratch, "root")
	s.Mounts = pl.systemMounts()
	for _, at := range pl.Places {
		mount, err := pl.mount(at, &m, ask)
		if err != nil {
			return Made{}, err
		}
		s.Mounts = append(s.Mounts, mount)
	}
	for _, mask := range pl.Masked {
		s.Linux.MaskedPaths = append(s.Linux.MaskedPaths, mask.Path)
	}
	return m, nil
}

// filter is the sandbox's own.
func (pl *Plan) filter() (seccomp.Program, error) {
	p, err := pl.wholeFilter()
	if err == nil && pl.Network.Loopback == DenyLoopback {
		p = seccomp.PlainSockets(p)
	}
	return p, err
}

func (pl *Plan) wholeFilter() (seccomp.Program, error) {
	if pl.Allow32 {
		return seccomp.CompileSandbox32(runtime.GOARCH)
	}
	if filter, ok := seccomp.ReadySandbox(runtime.GOARCH); ok {
		return filter, nil
	}
	return seccomp.CompileSandbox(runtime.GOARCH)
}

func namespaces(hostNet bool) []specs.LinuxNamespace {
	out := []specs.LinuxNamespace{{Type: specs.UserNamespace}, {Type: specs.MountNamespace}, {Type: specs.PIDNamespace},
		{Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.CgroupNamespace}}
	if !hostNet {
		out = append(out, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	}
	return out
}

// maskedProc is docker's list, as far as it is in /proc, and what else says more of
// the host than of the sandbox.
func maskedProc() []string {
	return []string{"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/proc/kallsyms", "/proc/kmsg", "/proc/modules", "/proc/config.gz"}
}

// rootfs is the root, and the tmpfs that all is on that the host does not have. It is
// mounted on a directory of ours, which comes into sight of nobody inside.
func (pl *Plan) rootfs(ask Ask) *fuse.Rootfs {
	scratch := pl.facts.Scratch
	data := "mode=0755"
	if n := pl.Limits.Disk; n > 0 {
		data += ",size=" + strconv.FormatUint(n, 10)
	}
	if n := pl.Limits.Inodes; n > 0 {
		data += ",nr_inodes=" + strconv.FormatUint(n, 10)
	}
	r := &fuse.Rootfs{Kind: fuse.Bind, Driver: "bind", Locked: true}
	if ask.Root != nil {
		own := *ask.Root
		r = &own
		r.Attrs |= unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
		r.Flags |= unix.MS_NOSUID | unix.MS_NODEV
	}
	r.Scratch = &fuse.Tmpfs{Target: scratch, Data: data}
	dir := func(name string, mode uint32) {
		r.Mkdirs = append(r.Mkdirs, fuse.Mkdir{Path: path.Join(scratch, name), Mode: mode})
	}
	dir("root", 0o755)
	dir("shm", 0o1777)
	dir("sys", 0o755)
	dir("sys/devices", 0o755)
	dir("sys/devices/system", 0o755)
	dir("sys/devices/system/cpu", 0o755)
	if slices.ContainsFunc(pl.Places, func(at Place) bool { return at.Path == nodesDir }) {
		dir("sys/devices/system/node", 0o755)
	}
	switch pl.Root {
	case HostRoot:
		r.Source = "/"
	case NoRoot:
		pl.plainRoot(r, dir)
	}
	return r
}

// plainRoot is an empty root: a directory of the scratch.
func (pl *Plan) plainRoot(r *fuse.Rootfs, dir func(string, uint32)) {
	r.Locked = false
	r.Source = path.Join(pl.facts.Scratch, "made")
	dir("made", 0o755)
	for _, name := range []string{"proc", "dev", "sys"} {
		dir("made/"+name, 0o755)
	}
}

// nodesDir has what NUMA nodes there are, and all of their memory's use: of /sys the one
// place that can be asked for (--ro), for programs that spread themselves over them.
const nodesDir = "/sys/devices/system/node"

// systemMounts come before the places.
func (pl *Plan) systemMounts() []specs.Mount {
	scratch := pl.facts.Scratch
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "mode=755", "size=64k", "nr_inodes=64"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
		{Destination: "/dev/shm", Type: "bind", Source: path.Join(scratch, "shm"), Options: []string{"bind", "nosuid", "nodev"}},
		{Destination: "/sys", Type: "bind", Source: path.Join(scratch, "sys"), Options: []string{"bind", "ro", "nosuid", "nodev", "noexec"}},
		{Destination: "/sys/devices/system/cpu", Type: "bind", Source: "/sys/devices/system/cpu", Options: []string{"bind", "ro", "nosuid", "nodev", "noexec"}},
	}
}

func (pl *Plan) mount(at Place, m *Made, ask Ask) (specs.Mount, error) {
	own := func(name string, mode uint32) string {
		full := path.Join(pl.facts.Scratch, name)
		m.Root.Mkdirs = append(m.Root.Mkdirs, fuse.Mkdir{Path: full, Mode: mode})
		return full
	}
	n := strconv.Itoa(len(m.Root.Mkdirs))
	switch at.Kind {
	case KindTmpfs:
		return specs.Mount{Destination: at.Path, Type: "bind", Source: own("t"+n, at.Mode), Options: []string{"bind", "nosuid", "nodev"}}, nil
	case KindRO:
		return specs.Mount{Destination: at.Path, Type: "bind", Source: at.Source, Options: []string{"rbind", "rro", "nosuid", "nodev"}}, nil
	case KindRW:
		options := []string{"rbind", "nosuid", "nodev"}
		if below(at.Source, "/dev") { // a device that is given is to be used
			options = options[:2]
		}
		return specs.Mount{Destination: at.Path, Type: "bind", Source: at.Source, Options: options}, nil
	case KindFile:
		full := path.Join(pl.facts.Scratch, "f"+strconv.Itoa(len(m.Root.Files)))
		m.Root.Files = append(m.Root.Files, fuse.NewFile{Path: full, Data: at.Data, Mode: 0o644})
		return specs.Mount{Destination: at.Path, Type: "bind", Source: full, Options: []string{"bind", "ro", "nosuid", "nodev"}}, nil
	case KindShield:
		return specs.Mount{Destination: at.Path, Type: "overlay", Source: "overlay", Options: []string{
			"lowerdir=" + fuse.EscapeLower(at.Source) + ":" + fuse.EscapeLower(pl.facts.Empty), "userxattr", "ro", "nosuid", "nodev"}}, nil
	case KindOverlay:
		upper, work := "", ""
		if ask.Upper != nil {
			upper, work = ask.Upper(at.Layer), ask.Work(at.Layer)
		} else {
			own("o"+n, 0o700)
			upper, work = own("o"+n+"/upper", ask.Mode(at.Layer)), own("o"+n+"/work", 0o700)
			m.Uppers = append(m.Uppers, "o"+n+"/upper") // places come in the order of their layers
		}
		options := []string{"lowerdir=" + fuse.EscapeLower(at.Source), "upperdir=" + spec.EscapeUpper(upper), "workdir=" + spec.EscapeUpper(work), "userxattr", "nosuid", "nodev"}
		if ask.Volatile {
			options = append(options, "volatile")
		}
		return specs.Mount{Destination: at.Path, Type: "overlay", Source: "overlay", Options: options}, nil
	}
	return specs.Mount{}, fmt.Errorf("a place of kind %q is unknown", at.Kind)
}

// kinds in the words of --explain.
func (k Kind) words() string {
	switch k {
	case KindTmpfs:
		return "empty, in memory"
	case KindRO:
		return "read-only"
	case KindRW:
		return "writable"
	case KindOverlay:
		return "copy-on-write"
	case KindShield:
		return "read-only, sockets hidden"
	case KindFile:
		return "a file"
	}
	return string(k)
}
