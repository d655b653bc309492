package spec

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"coracle/spec/seccomp"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// rootless is where most containers run: a user namespace, no cgroup.
func rootless() HostFacts { return HostFacts{UserNamespace: true, TimeNamespaces: true} }

// everything is a machine that has whatever can be asked for.
func everything() HostFacts {
	return HostFacts{
		Root: true, AppArmor: true, SELinux: true, TimeNamespaces: true, IDMappedMounts: true,
	}
}

func idMaps(m ...uint32) (out []specs.LinuxIDMapping) {
	for i := 0; i < len(m); i += 3 {
		out = append(out, specs.LinuxIDMapping{ContainerID: m[i], HostID: m[i+1], Size: m[i+2]})
	}
	return out
}

// plain is a configuration that nobody refuses.
func plain() *specs.Spec {
	ns := func(types ...specs.LinuxNamespaceType) (out []specs.LinuxNamespace) {
		for _, t := range types {
			out = append(out, specs.LinuxNamespace{Type: t})
		}
		return out
	}
	return &specs.Spec{
		Version:  "1.2.0",
		Root:     &specs.Root{Path: "rootfs"},
		Hostname: "h",
		Process:  &specs.Process{Args: []string{"sh"}, Env: []string{"A=", "B=c=d"}, Cwd: "/"},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/data", Source: "data", Options: []string{"rbind", "ro"}},
		},
		Linux: &specs.Linux{
			Namespaces: ns(specs.UserNamespace, specs.MountNamespace, specs.PIDNamespace, specs.NetworkNamespace, specs.IPCNamespace,
				specs.UTSNamespace, specs.CgroupNamespace, specs.TimeNamespace),
			UIDMappings: idMaps(0, 1000, 1, 1, 100000, 999),
			GIDMappings: idMaps(0, 1000, 1, 1, 100000, 999),
			Resources:   &specs.LinuxResources{},
		},
	}
}

// drop removes a namespace.
func drop(s *specs.Spec, t specs.LinuxNamespaceType) {
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == t })
}

// joined gives a namespace a path.
func joined(s *specs.Spec, t specs.LinuxNamespaceType, path string) {
	for i := range s.Linux.Namespaces {
		if s.Linux.Namespaces[i].Type == t {
			s.Linux.Namespaces[i].Path = path
		}
	}
}

type badConfig struct {
	set  func(s *specs.Spec, h *HostFacts)
	want string // the error begins so
}

// refusedAll runs a table of what is refused, on a machine that has everything
// unless the entry says otherwise.
func refusedAll(t *testing.T, table []badConfig) {
	t.Helper()
	for _, c := range table {
		s, h := plain(), everything()
		c.set(s, &h)
		_, err := Validate(s, h)
		var ce *ConfigError
		var se *seccomp.FieldError
		if !errors.As(err, &ce) && !errors.As(err, &se) || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}

// accepted runs a table of what is well, with the warnings that come of it.
func accepted(t *testing.T, h HostFacts, table map[string]func(s *specs.Spec)) {
	t.Helper()
	for warning, set := range table {
		s := plain()
		set(s)
		warnings, err := Validate(s, h)
		warning, _, _ = strings.Cut(warning, "#") // what follows tells entries apart
		switch {
		case err != nil:
			t.Errorf("%s: %v", warning, err)
		case warning == "" && len(warnings) > 0:
			t.Errorf("warnings %q", warnings)
		case warning != "" && (len(warnings) != 1 || !strings.Contains(warnings[0], warning)):
			t.Errorf("warnings %q, want one: %s", warnings, warning)
		}
	}
}

func TestValidate(t *testing.T) {
	for name, h := range map[string]HostFacts{"rootless": rootless(), "everything": everything()} {
		if w, err := Validate(plain(), h); err != nil || len(w) > 0 {
			t.Errorf("%s: %q, %v", name, w, err)
		}
	}
}

// What our generator makes can be carried out where it is made for, and so can
// what runc spec writes.
func TestValidateExamples(t *testing.T) {
	n := 0
	for name, data := range goodConfigs(t) {
		s, err := LoadConfig(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		h := rootless()
		switch {
		case strings.HasPrefix(name, "testdata/golden/"):
			h.IDMappedMounts = true
		case strings.Contains(name, "runc-"):
		default:
			continue
		}
		n++
		if _, err := Validate(s, h); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n < 10 {
		t.Errorf("only %d examples", n)
	}
}

func TestValidateTop(t *testing.T) {
	version := func(v string) func(*specs.Spec, *HostFacts) {
		return func(s *specs.Spec, _ *HostFacts) { s.Version = v }
	}
	var table []badConfig
	for _, v := range []string{"1", "1.0", "v1.0.0", "1.0.0.0", "1.a.0", "1.00.0", "01.0.0", "1.0.0-", "1.0.0-a..b", "1.0.0-01", "1.0.0+", "1.0.0-ä", " 1.0.0", "1..0", "-1.0.0"} {
		table = append(table, badConfig{version(v), `ociVersion: "` + v + `" is not a version`})
	}
	hook := func(h specs.Hook) func(*specs.Spec, *HostFacts) {
		return func(s *specs.Spec, _ *HostFacts) {
			s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/ok"}, h}}
		}
	}
	refusedAll(t, append(table, []badConfig{
		{version(""), "ociVersion: missing; supported are 1.0.0 to 1.3.0"},
		{version("2.0.0"), `ociVersion: "2.0.0" is another specification; supported are 1.0.0 to 1.3.0`},
		{version("0.9.0"), `ociVersion: "0.9.0" is another`},
		{version("10.0.0"), `ociVersion: "10.0.0" is another`},
		{func(s *specs.Spec, _ *HostFacts) { s.Linux = nil }, "linux: missing"},
		{func(s *specs.Spec, _ *HostFacts) { s.VM = &specs.VM{} }, "vm: this runtime starts no virtual machines"},
		{func(s *specs.Spec, _ *HostFacts) { s.Root = nil }, "root: missing"},
		{func(s *specs.Spec, _ *HostFacts) { s.Root.Path = "" }, "root.path: missing"},
		{func(s *specs.Spec, _ *HostFacts) { s.Root.Path = "a\x00b" }, `root.path: "a\x00b" has a NUL`},
		{func(s *specs.Spec, _ *HostFacts) { drop(s, specs.UTSNamespace) }, "hostname: it would rename the host"},
		{func(s *specs.Spec, _ *HostFacts) { s.Hostname, s.Domainname = "", "d"; drop(s, specs.UTSNamespace) }, "domainname: it would rename the host"},
		{func(s *specs.Spec, h *HostFacts) {
			joined(s, specs.UTSNamespace, "/proc/1/ns/uts")
			h.HostNamespaces = []specs.LinuxNamespaceType{specs.UTSNamespace}
		}, "hostname: it would rename the host"},
		{func(s *specs.Spec, _ *HostFacts) { s.Hostname = strings.Repeat("a", 65) }, "hostname: "},
		{func(s *specs.Spec, _ *HostFacts) { s.Domainname = "a\x00" }, "domainname: "},
		{func(s *specs.Spec, _ *HostFacts) { s.Annotations = map[string]string{"": "x"} }, "annotations: a key is empty"},
		{hook(specs.Hook{}), "hooks.createRuntime[1].path: missing"},
		{hook(specs.Hook{Path: "bin/x"}), `hooks.createRuntime[1].path: "bin/x" is not an absolute path`},
		{hook(specs.Hook{Path: "/x", Timeout: ptr(0)}), "hooks.createRuntime[1].timeout: 0 seconds"},
		{hook(specs.Hook{Path: "/x", Timeout: ptr(-1)}), "hooks.createRuntime[1].timeout: -1"},
		{hook(specs.Hook{Path: "/x", Args: []string{"a", "b\x00"}}), "hooks.createRuntime[1].args[1]: "},
		{hook(specs.Hook{Path: "/x", Env: []string{"\x00"}}), "hooks.createRuntime[1].env[0]: "},
		{func(s *specs.Spec, _ *HostFacts) { s.Hooks = &specs.Hooks{Poststop: make([]specs.Hook, 5000)} }, "hooks.poststop: 5000 entries"},
	}...))
	accepted(t, rootless(), map[string]func(*specs.Spec){
		"":   func(s *specs.Spec) { s.Version = "1.0.0" },
		"#1": func(s *specs.Spec) { s.Version = "1.0.2-dev" },
		"#2": func(s *specs.Spec) { s.Version = "1.3.7-rc.1+build.5" },
		"ociVersion: \"1.4.0\" is newer than 1.3.0":  func(s *specs.Spec) { s.Version = "1.4.0" },
		"ociVersion: \"1.10.0\" is newer than 1.3.0": func(s *specs.Spec) { s.Version = "1.10.0" },
		"windows: ignored":                           func(s *specs.Spec) { s.Windows = &specs.Windows{} },
		"#3":                                         func(s *specs.Spec) { joined(s, specs.UTSNamespace, "/proc/5/ns/uts") },
		"#4":                                         func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststart: []specs.Hook{{Path: "/x", Timeout: ptr(1)}}} },
	})
}

// Every point of specs.Hooks is one of ours.
func TestHookPoints(t *testing.T) {
	typ := reflect.TypeFor[specs.Hooks]()
	points := hookPoints(nil)
	if len(points) != typ.NumField() {
		t.Fatalf("%d points", len(points))
	}
	for i, p := range points {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		if p.name != name {
			t.Errorf("%s, want %s", p.name, name)
		}
		s := plain()
		s.Hooks = &specs.Hooks{}
		reflect.ValueOf(s.Hooks).Elem().Field(i).Set(reflect.ValueOf([]specs.Hook{{}}))
		if _, err := Validate(s, everything()); err == nil || !strings.HasPrefix(err.Error(), "hooks."+name+"[0].path") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidateNamespaces(t *testing.T) {
	add := func(ns specs.LinuxNamespace) func(*specs.Spec, *HostFacts) {
		return func(s *specs.Spec, _ *HostFacts) { s.Linux.Namespaces = append(s.Linux.Namespaces, ns) }
	}
	uids := func(m ...uint32) func(*specs.Spec, *HostFacts) {
		return func(s *specs.Spec, _ *HostFacts) { s.Linux.UIDMappings = idMaps(m...) }
	}
	offset := func(clock string, o specs.LinuxTimeOffset) func(*specs.Spec, *HostFacts) {
		return func(s *specs.Spec, _ *HostFacts) { s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{clock: o} }
	}
	refusedAll(t, []badConfig{
		{add(specs.LinuxNamespace{Type: "net"}), `linux.namespaces[8].type: there is no namespace "net"`},
		{add(specs.LinuxNamespace{}), `linux.namespaces[8].type: there is no namespace ""`},
		{add(specs.LinuxNamespace{Type: specs.PIDNamespace}), "linux.namespaces[8]: a second pid namespace"},
		{add(specs.LinuxNamespace{Type: specs.PIDNamespace, Path: "/x"}), "linux.namespaces[8]: a second pid namespace"},
		{func(s *specs.Spec, _ *HostFacts) { joined(s, specs.PIDNamespace, "proc/1/ns/pid") }, `linux.namespaces[2].path: "proc/1/ns/pid" is not an absolute path`},
		{func(s *specs.Spec, _ *HostFacts) { joined(s, specs.PIDNamespace, "/\x00") }, "linux.namespaces[2].path: "},
		{func(s *specs.Spec, _ *HostFacts) { drop(s, specs.MountNamespace) }, "linux.namespaces: a mount namespace is missing"},
		{func(_ *specs.Spec, h *HostFacts) { h.TimeNamespaces = false }, "linux.namespaces: this kernel has no time namespaces"},
		{func(s *specs.Spec, _ *HostFacts) { drop(s, specs.UserNamespace) }, "linux.uidMappings: a map needs a user namespace"},
		{func(s *specs.Spec, _ *HostFacts) { drop(s, specs.UserNamespace); s.Linux.UIDMappings = nil }, "linux.gidMappings: a map needs a user namespace"},
		{uids(), "linux.uidMappings: missing"},
		{func(s *specs.Spec, _ *HostFacts) { s.Linux.GIDMappings = nil }, "linux.gidMappings: missing"},
		{func(s *specs.Spec, h *HostFacts) {
			joined(s, specs.UserNamespace, "/proc/5/ns/user")
			h.UIDMap = idMaps(0, 0, 1)
		}, "linux.uidMappings: it is not the map of the user namespace"},
		{uids(0, 1000, 0), "linux.uidMappings[0].size: 0"},
		{uids(1, 0, 4294967295), "linux.uidMappings[0]: 4294967295 ids from 1 are more"},
		{uids(0, 4294967295, 1), "linux.uidMappings[0]: 1 ids of the host from 4294967295"},
		{uids(0, 1000, 10, 9, 2000, 1), "linux.uidMappings[1]: it has ids of the container that entry 0"},
		{uids(0, 1000, 10, 10, 1009, 1), "linux.uidMappings[1]: it has ids of the host that entry 0"},
		{uids(make([]uint32, 3*341)...), "linux.uidMappings: 341 entries"},
		{offset("realtime", specs.LinuxTimeOffset{Secs: 1}), `linux.timeOffsets["realtime"]: `},
		{offset("boottime", specs.LinuxTimeOffset{Nanosecs: 1e9}), `linux.timeOffsets["boottime"].nanosecs: 1000000000`},
		{offset("monotonic", specs.LinuxTimeOffset{Secs: 9223372037}), `linux.timeOffsets["monotonic"].secs: `},
		{offset("monotonic", specs.LinuxTimeOffset{Secs: -1 << 63}), `linux.timeOffsets["monotonic"].secs: `},
		{func(s *specs.Spec, h *HostFacts) {
			offset("monotonic", specs.LinuxTimeOffset{})(s, h)
			drop(s, specs.TimeNamespace)
		}, "linux.timeOffsets: offsets need a time namespace"},
		{func(s *specs.Spec, h *HostFacts) {
			offset("monotonic", specs.LinuxTimeOffset{})(s, h)
			joined(s, specs.TimeNamespace, "/proc/5/ns/time")
		}, "linux.timeOffsets: the clocks of a time namespace that is joined"},
	})
	accepted(t, rootless(), map[string]func(*specs.Spec){
		"": func(s *specs.Spec) { uids(0, 0, 4294967295)(s, nil) },
		"#1": func(s *specs.Spec) {
			joined(s, specs.UserNamespace, "/proc/5/ns/user")
			s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
		},
		"#2": func(s *specs.Spec) { joined(s, specs.UserNamespace, "/proc/5/ns/user") },
		"#3": func(s *specs.Spec) { offset("boottime", specs.LinuxTimeOffset{Secs: -5, Nanosecs: 999999999})(s, nil) },
		"#4": func(s *specs.Spec) {
			s.Hostname, s.Linux.UIDMappings, s.Linux.GIDMappings = "", nil, nil
			s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.MountNamespace}}
		},
	})
}

func TestValidateSysctl(t *testing.T) {
	set := func(key string, without ...specs.LinuxNamespaceType) func(*specs.Spec, *HostFacts) {
		return func(s *specs.Spec, _ *HostFacts) {
			s.Hostname = ""
			s.Linux.Sysctl = map[string]string{key: "1"}
			for _, ns := range without {
				drop(s, ns)
				if ns == specs.UserNamespace {
					s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
				}
			}
		}
	}
	refusedAll(t, []badConfig{
		{set("net.ipv4.ip_forward", specs.NetworkNamespace), `linux.sysctl["net.ipv4.ip_forward"]: it would change the host: the container has no network namespace`},
		{set("net/ipv4/ip_forward", specs.NetworkNamespace), `linux.sysctl["net/ipv4/ip_forward"]: it would change the host`},
		{func(s *specs.Spec, h *HostFacts) {
			set("net.core.somaxconn")(s, h)
			joined(s, specs.NetworkNamespace, "/proc/1/ns/net")
			h.HostNamespaces = []specs.LinuxNamespaceType{specs.NetworkNamespace}
		}, `linux.sysctl["net.core.somaxconn"]: it would change the host`},
		{set("kernel.shmmax", specs.IPCNamespace), `linux.sysctl["kernel.shmmax"]: it would change the host: the container has no ipc`},
		{set("fs.mqueue.msg_max", specs.IPCNamespace), `linux.sysctl["fs.mqueue.msg_max"]: it would change the host`},
		{set("kernel.domainname", specs.UTSNamespace), `linux.sysctl["kernel.domainname"]: it would change the host: the container has no uts`},
		{set("user.max_user_namespaces", specs.UserNamespace), `linux.sysctl["user.max_user_namespaces"]: it would change the host: the container has no user`},
		{set("kernel.hostname"), `linux.sysctl["kernel.hostname"]: the configuration has a property of its own`},
		{func(s *specs.Spec, h *HostFacts) { set("kernel.domainname")(s, h); s.Domainname = "d" }, `linux.sysctl["kernel.domainname"]: the configuration says domainname`},
		{set("kernel.core_pattern"), `linux.sysctl["kernel.core_pattern"]: it would change the host: no namespace`},
		{set("kernel/core_pattern"), `linux.sysctl["kernel/core_pattern"]: it would change the host: no namespace`},
		{set("vm.swappiness"), `linux.sysctl["vm.swappiness"]: it would change the host`},
		{set("fs.file-max"), `linux.sysctl["fs.file-max"]: it would change the host`},
		{set("kernel.shmmax.x"), `linux.sysctl["kernel.shmmax.x"]: it would change the host`},
		{set("network.x"), `linux.sysctl["network.x"]: it would change the host`},
		{set("net/../kernel/core_pattern"), `linux.sysctl["net/../kernel/core_pattern"]: not the name`},
		{set("net.//.kernel.core_pattern"), `linux.sysctl["net.//.kernel.core_pattern"]: not the name`},
		{set("net.a/./b"), `linux.sysctl["net.a/./b"]: not the name`},
		{set("net./"), `linux.sysctl["net./"]: not the name`},
		{set("/net.x"), `linux.sysctl["/net.x"]: not the name`},
		{set(""), `linux.sysctl[""]: not the name`},
		{func(s *specs.Spec, _ *HostFacts) { s.Linux.Sysctl = map[string]string{"net.x": "1\x00"} }, `linux.sysctl["net.x"]: `},
	})
	ok := make(map[string]func(*specs.Spec))
	for _, key := range []string{"net.ipv4.ip_forward", "net/ipv4/conf/eth0.1/rp_filter", "net.ipv4.conf.eth0/1.rp_filter", "kernel.sem", "kernel/msgmax", "fs/mqueue/queues_max", "kernel.domainname", "user.max_user_namespaces"} {
		ok["#"+key] = func(s *specs.Spec) { set(key)(s, nil) }
	}
	accepted(t, rootless(), ok)
	for key, want := range map[string]string{
		"net.ipv4.ip_forward": "net/ipv4/ip_forward", "net/ipv4/ip_forward": "net/ipv4/ip_forward", "x": "x",
		"net.ipv4.conf.eth0/1.rp_filter": "net/ipv4/conf/eth0.1/rp_filter", "net/ipv4/conf/eth0.1/rp_filter": "net/ipv4/conf/eth0.1/rp_filter",
	} {
		if got := sysctlPath(key); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
}

// Whatever the size, an answer comes at once: each of these took seconds in
// other programs.
func TestValidateAbsurd(t *testing.T) {
	refusedAll(t, []badConfig{
		{func(s *specs.Spec, _ *HostFacts) { s.Mounts = make([]specs.Mount, 100000) }, "mounts: 100000 entries, and more than 4096"},
		{func(s *specs.Spec, _ *HostFacts) { s.Linux.Devices = make([]specs.LinuxDevice, 100000) }, "linux.devices: 100000 entries"},
		{func(s *specs.Spec, _ *HostFacts) { s.Linux.MaskedPaths = make([]string, 100000) }, "linux.maskedPaths: 100000 entries"},
		{func(s *specs.Spec, _ *HostFacts) { s.Linux.ReadonlyPaths = make([]string, 100000) }, "linux.readonlyPaths: 100000 entries"},
		{func(s *specs.Spec, _ *HostFacts) { s.Process.User.AdditionalGids = make([]uint32, 100000) }, "process.user.additionalGids: 100000 entries"},
		{func(s *specs.Spec, _ *HostFacts) { s.Linux.Resources.Devices = make([]specs.LinuxDeviceCgroup, 100000) }, "linux.resources.devices: 100000 entries"},
		{func(s *specs.Spec, _ *HostFacts) { s.Linux.UIDMappings = idMaps(make([]uint32, 300000)...) }, "linux.uidMappings: 100000 entries"},
	})
}

func TestReadHost(t *testing.T) {
	s := plain()
	joined(s, specs.NetworkNamespace, "/proc/self/ns/net")
	joined(s, specs.IPCNamespace, "/nowhere")
	s.Process.OOMScoreAdj = ptr(0)
	h, err := ReadHost(s)
	if err != nil {
		t.Fatal(err)
	}
	if h.Root && h.UserNamespace || h.Root && os.Geteuid() != 0 {
		t.Errorf("%+v", h)
	}
	if !slices.Equal(h.HostNamespaces, []specs.LinuxNamespaceType{specs.NetworkNamespace}) || !h.TimeNamespaces || h.LastCapability < 37 {
		t.Errorf("%+v", h)
	}
	s.Linux.Sysctl = map[string]string{"net.core.somaxconn": "1"}
	if _, err := Validate(s, h); err == nil || !strings.Contains(err.Error(), "it would change the host") {
		t.Error(err)
	}
}
