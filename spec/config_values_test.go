package spec

import (
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestValidateMounts(t *testing.T) {
	mount := func(m specs.Mount) func(*specs.Spec, *HostFacts) {
		return func(s *specs.Spec, _ *HostFacts) { s.Mounts = append(s.Mounts, m) }
	}
	idmap := func(uids, gids []specs.LinuxIDMapping, options ...string) specs.Mount {
		return specs.Mount{Destination: "/a", Source: "/b", Options: append([]string{"bind"}, options...), UIDMappings: uids, GIDMappings: gids}
	}
	one := idMaps(0, 0, 1)
	refusedAll(t, []badConfig{
		{mount(specs.Mount{Type: "tmpfs"}), "mounts[2].destination: missing"},
		{mount(specs.Mount{Destination: "/a\x00", Type: "tmpfs"}), "mounts[2].destination: "},
		{mount(specs.Mount{Destination: "/a", Type: "tmpfs\x00"}), "mounts[2].type: "},
		{mount(specs.Mount{Destination: "/a", Type: "tmpfs", Source: "\x00"}), "mounts[2].source: "},
		{mount(specs.Mount{Destination: "/a", Type: "tmpfs", Options: []string{"ro", "\x00"}}), "mounts[2].options[1]: "},
		{mount(specs.Mount{Destination: "/a/..", Type: "tmpfs"}), `mounts[2].destination: "/a/.." is the root itself`},
		{mount(specs.Mount{Destination: "/a"}), "mounts[2].type: missing"},
		{mount(specs.Mount{Destination: "/a", Options: []string{"rbind"}}), "mounts[2].source: missing"},
		{mount(specs.Mount{Destination: "/a", Type: "bind"}), "mounts[2].source: missing"},
		{mount(specs.Mount{Destination: "/a", Source: "/b", Options: []string{"bind", "tmpcopyup"}}), "mounts[2].options: tmpcopyup is for a tmpfs"},
		{mount(specs.Mount{Destination: "/a", Type: "proc", Options: []string{"tmpcopyup"}}), "mounts[2].options: tmpcopyup is for a tmpfs"},
		{mount(specs.Mount{Destination: "/a", Options: []string{"remount", "tmpcopyup"}}), "mounts[2].options: remount changes a mount"},
		{mount(specs.Mount{Destination: "/a", Type: "tmpfs", UIDMappings: one, GIDMappings: one}), "mounts[2].options: idmap needs a bind mount"},
		{mount(idmap(one, nil)), "mounts[2].gidMappings: missing"},
		{mount(idmap(nil, one)), "mounts[2].uidMappings: missing"},
		{mount(idmap(idMaps(0, 0, 0), one)), "mounts[2].uidMappings[0].size: 0"},
		{mount(idmap(one, idMaps(0, 0, 2, 1, 5, 1))), "mounts[2].gidMappings[1]: "},
		{mount(specs.Mount{Destination: "/a", Type: "tmpfs", Options: []string{"idmap"}}), "mounts[2].options: idmap is for a bind mount"},
		{func(s *specs.Spec, _ *HostFacts) {
			mount(idmap(nil, nil, "ridmap"))(s, nil)
			drop(s, specs.UserNamespace)
			s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
		}, "mounts[2].uidMappings: missing: idmap takes the container's own map"},
		{func(s *specs.Spec, h *HostFacts) { mount(idmap(one, one))(s, h); h.IDMappedMounts = false }, "mounts[2]: an idmapped mount needs CAP_SYS_ADMIN"},
	})
	all := everything()
	accepted(t, all, map[string]func(*specs.Spec){
		"":   func(s *specs.Spec) { mount(idmap(one, one))(s, nil) },
		"#1": func(s *specs.Spec) { mount(idmap(nil, nil, "ridmap"))(s, nil) },
		"#2": func(s *specs.Spec) {
			mount(specs.Mount{Destination: "/a", Type: "tmpfs", Options: []string{"tmpcopyup", "size=1m"}})(s, nil)
		},
		"#3": func(s *specs.Spec) { s.Mounts = nil },
		"mounts[2].destination: \"a\" is taken from /": func(s *specs.Spec) { mount(specs.Mount{Destination: "a", Type: "tmpfs"})(s, nil) },
		"#4": func(s *specs.Spec) {
			mount(specs.Mount{Destination: "/proc", Options: []string{"remount", "ro"}})(s, nil)
		},
	})
}

func TestValidateProcess(t *testing.T) {
	set := func(f func(p *specs.Process)) func(*specs.Spec, *HostFacts) {
		return func(s *specs.Spec, _ *HostFacts) { f(s.Process) }
	}
	limit := func(l ...specs.POSIXRlimit) func(*specs.Spec, *HostFacts) {
		return set(func(p *specs.Process) { p.Rlimits = l })
	}
	refusedAll(t, []badConfig{
		{func(s *specs.Spec, _ *HostFacts) { s.Process = nil }, "process: missing"},
		{set(func(p *specs.Process) { p.Args = nil }), "process.args: missing"},
		{set(func(p *specs.Process) { p.Args[0] = "" }), "process.args[0]: the name of the program is empty"},
		{set(func(p *specs.Process) { p.Args = []string{"a", "b\x00c"} }), "process.args[1]: "},
		{set(func(p *specs.Process) { p.CommandLine = "a" }), "process.commandLine: it is for Windows"},
		{set(func(p *specs.Process) { p.Env = []string{"A=1", "B"} }), `process.env[1]: "B" is not NAME=VALUE`},
		{set(func(p *specs.Process) { p.Env = []string{"=1"} }), `process.env[0]: "=1" is not NAME=VALUE`},
		{set(func(p *specs.Process) { p.Env = []string{"A=\x00"} }), "process.env[0]: "},
		{set(func(p *specs.Process) { p.Cwd = "" }), "process.cwd: missing"},
		{set(func(p *specs.Process) { p.Cwd = "tmp" }), `process.cwd: "tmp" is not an absolute path`},
		{set(func(p *specs.Process) { p.Cwd = "/\x00" }), "process.cwd: "},
		{set(func(p *specs.Process) { p.Terminal, p.ConsoleSize = true, &specs.Box{Height: 65536} }), "process.consoleSize: 0 by 65536"},
		{set(func(p *specs.Process) { p.User.Username = "me" }), "process.user.username: it is for Windows"},
		{set(func(p *specs.Process) { p.User.UID = 5000 }), "process.user.uid: uid 5000 has no mapping in linux.uidMappings"},
		{set(func(p *specs.Process) { p.User.GID = 1000 }), "process.user.gid: gid 1000 has no mapping in linux.gidMappings"},
		{set(func(p *specs.Process) { p.User.UID = 4294967295 }), "process.user.uid: 4294967295 is no id"},
		{set(func(p *specs.Process) { p.User.AdditionalGids = []uint32{1, 2000} }), "process.user.additionalGids[1]: gid 2000 has no mapping"},
		{func(s *specs.Spec, h *HostFacts) {
			drop(s, specs.UserNamespace)
			s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
			h.UserNamespace, h.UIDMap = true, idMaps(0, 1000, 1)
			s.Process.User.UID = 1
		}, "process.user.uid: uid 1 has no mapping in the map of its user namespace"},
		{set(func(p *specs.Process) { p.User.Umask = ptr(uint32(0o1000)) }), "process.user.umask: 512 (octal 01000) is more than octal 0777"},
		{limit(specs.POSIXRlimit{}), "process.rlimits[0].type: missing"},
		{limit(specs.POSIXRlimit{Type: "RLIMIT_FOO"}), `process.rlimits[0].type: there is no limit "RLIMIT_FOO"`},
		{limit(specs.POSIXRlimit{Type: "nofile"}), `process.rlimits[0].type: there is no limit "nofile"`},
		{limit(specs.POSIXRlimit{Type: "RLIMIT_CPU"}, specs.POSIXRlimit{Type: "RLIMIT_CPU"}), "process.rlimits[1]: a second RLIMIT_CPU"},
		{limit(specs.POSIXRlimit{Type: "RLIMIT_CPU", Soft: 2, Hard: 1}), "process.rlimits[0].soft: 2 is more than hard, 1"},
		{set(func(p *specs.Process) { p.OOMScoreAdj = ptr(1001) }), "process.oomScoreAdj: 1001 is not between"},
		{set(func(p *specs.Process) { p.OOMScoreAdj = ptr(-1001) }), "process.oomScoreAdj: -1001 is not between"},
		{func(s *specs.Spec, h *HostFacts) { s.Process.OOMScoreAdj = ptr(-1); h.Root = false }, "process.oomScoreAdj: -1 is less than the caller's own, 0, and that takes CAP_SYS_RESOURCE"},
		{func(s *specs.Spec, h *HostFacts) { s.Process.ApparmorProfile = "x"; h.AppArmor = false }, "process.apparmorProfile: this kernel has no AppArmor"},
		{set(func(p *specs.Process) { p.ApparmorProfile = "x\x00" }), "process.apparmorProfile: "},
		{func(s *specs.Spec, h *HostFacts) { s.Process.SelinuxLabel = "x"; h.SELinux = false }, "process.selinuxLabel: this kernel has no SELinux"},
		{set(func(p *specs.Process) { p.SelinuxLabel = "x\x00" }), "process.selinuxLabel: "},
	})
	accepted(t, everything(), map[string]func(*specs.Spec){
		"": func(s *specs.Spec) {
			s.Process.User = specs.User{UID: 999, GID: 1, AdditionalGids: []uint32{0, 1, 999}, Umask: ptr(uint32(0o777))}
		},
		"#1": func(s *specs.Spec) { s.Process.ConsoleSize = &specs.Box{Height: 1 << 20} }, // no terminal: to be ignored
		"#2": func(s *specs.Spec) {
			limit(specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Soft: 1<<64 - 1, Hard: 1<<64 - 1})(s, nil)
		},
		"#3": func(s *specs.Spec) { s.Process.OOMScoreAdj = ptr(-1000) },
		"#4": func(s *specs.Spec) {
			s.Process.ApparmorProfile, s.Process.SelinuxLabel, s.Linux.MountLabel = "a", "b", "c"
		},
	})
	accepted(t, rootless(), map[string]func(*specs.Spec){
		"":   func(s *specs.Spec) { s.Process.OOMScoreAdj = ptr(0) },
		"#1": func(s *specs.Spec) { s.Process.ApparmorProfile = "unconfined" },
	})
	if _, err := ValidateProcess(&specs.Process{Args: []string{"a"}, Cwd: "/", User: specs.User{UID: 5000}}, plain(), rootless()); err == nil ||
		err.Error() != "process.user.uid: uid 5000 has no mapping in linux.uidMappings" {
		t.Error(err)
	}
}

func TestValidateCapabilities(t *testing.T) {
	caps := func(c specs.LinuxCapabilities) func(*specs.Spec) {
		return func(s *specs.Spec) { s.Process.Capabilities = &c }
	}
	kill := []string{"CAP_KILL"}
	accepted(t, rootless(), map[string]func(*specs.Spec){
		"":   caps(specs.LinuxCapabilities{Bounding: kill, Effective: kill, Permitted: kill, Inheritable: kill, Ambient: kill}),
		"#1": caps(specs.LinuxCapabilities{}),
		`process.capabilities: "CAP_FOO" is left out`:                caps(specs.LinuxCapabilities{Bounding: []string{"CAP_KILL", "CAP_FOO"}}),
		`process.capabilities: "CAP_KILL" is left out#not permitted`: caps(specs.LinuxCapabilities{Effective: kill}),
		`process.capabilities: "CAP_KILL" is left out#not bounding`:  caps(specs.LinuxCapabilities{Inheritable: kill}),
		`process.capabilities: "CAP_KILL" is left out#not inheritable`: caps(specs.LinuxCapabilities{
			Bounding: kill, Permitted: kill, Ambient: kill}),
	})
	old := rootless()
	old.LastCapability = 37
	accepted(t, old, map[string]func(*specs.Spec){
		`process.capabilities: "CAP_BPF" is left out`: caps(specs.LinuxCapabilities{Bounding: []string{"CAP_BPF"}}),
	})
	poor := HostFacts{Root: true, TimeNamespaces: true, Permitted: 1, Bounding: 1}
	accepted(t, poor, map[string]func(*specs.Spec){
		"": caps(specs.LinuxCapabilities{Bounding: kill}), // all are there in a user namespace of its own
		`process.capabilities: "CAP_KILL" is left out`: func(s *specs.Spec) {
			drop(s, specs.UserNamespace)
			s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
			caps(specs.LinuxCapabilities{Bounding: append(kill, "CAP_CHOWN"), Permitted: []string{"CAP_CHOWN"}})(s)
		},
	})
}

func TestValidateScheduling(t *testing.T) {
	sched := func(c specs.Scheduler) func(*specs.Spec, *HostFacts) {
		return func(s *specs.Spec, _ *HostFacts) { s.Process.Scheduler = &c }
	}
	io := func(p specs.LinuxIOPriority) func(*specs.Spec, *HostFacts) {
		return func(s *specs.Spec, _ *HostFacts) { s.Process.IOPriority = &p }
	}
	cpus := func(initial, final string) func(*specs.Spec, *HostFacts) {
		return func(s *specs.Spec, _ *HostFacts) {
			s.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: initial, Final: final}
		}
	}
	dl := specs.Scheduler{Policy: specs.SchedDeadline, Runtime: 2000, Deadline: 3000, Period: 4000}
	deadline := func(f func(*specs.Scheduler)) func(*specs.Spec, *HostFacts) {
		c := dl
		f(&c)
		return sched(c)
	}
	unprivileged := func(f func(*specs.Spec, *HostFacts)) func(*specs.Spec, *HostFacts) {
		return func(s *specs.Spec, h *HostFacts) { f(s, h); h.Root = false }
	}
	refusedAll(t, []badConfig{
		{sched(specs.Scheduler{}), "process.scheduler.policy: missing"},
		{sched(specs.Scheduler{Policy: "SCHED_FOO"}), `process.scheduler.policy: there is no policy "SCHED_FOO"`},
		{sched(specs.Scheduler{Policy: specs.SchedISO}), "process.scheduler.policy: Linux reserves the name SCHED_ISO"},
		{sched(specs.Scheduler{Policy: specs.SchedOther, Nice: 20}), "process.scheduler.nice: 20 is not"},
		{sched(specs.Scheduler{Policy: specs.SchedOther, Nice: -21}), "process.scheduler.nice: -21 is not"},
		{sched(specs.Scheduler{Policy: specs.SchedOther, Priority: 1}), "process.scheduler.priority: 1, and SCHED_OTHER has none"},
		{sched(specs.Scheduler{Policy: specs.SchedFIFO}), "process.scheduler.priority: 0 is not between 1 and 99"},
		{sched(specs.Scheduler{Policy: specs.SchedRR, Priority: 100}), "process.scheduler.priority: 100 is not between"},
		{sched(specs.Scheduler{Policy: specs.SchedIdle, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagReclaim, "X"}}), `process.scheduler.flags[1]: there is no flag "X"`},
		{sched(specs.Scheduler{Policy: specs.SchedBatch, Runtime: 1}), "process.scheduler.runtime: 1, and SCHED_BATCH has none"},
		{sched(specs.Scheduler{Policy: specs.SchedBatch, Deadline: 1}), "process.scheduler.deadline: 1, and"},
		{sched(specs.Scheduler{Policy: specs.SchedBatch, Period: 1}), "process.scheduler.period: 1, and"},
		{deadline(func(c *specs.Scheduler) { c.Runtime = 1023 }), "process.scheduler.runtime: 1023 ns"},
		{deadline(func(c *specs.Scheduler) { c.Runtime = 3001 }), "process.scheduler.deadline: 3000 ns is less than runtime"},
		{deadline(func(c *specs.Scheduler) { c.Period = 2999 }), "process.scheduler.period: 2999 ns is less than deadline"},
		{deadline(func(c *specs.Scheduler) { c.Period = 1 << 63 }), "process.scheduler.period: 9223372036854775808 ns is 2^63"},
		{deadline(func(c *specs.Scheduler) { c.Deadline, c.Period = 1<<63, 0 }), "process.scheduler.deadline: 9223372036854775808 ns is 2^63"},
		{unprivileged(sched(dl)), "process.scheduler.policy: SCHED_DEADLINE takes CAP_SYS_NICE"},
		{io(specs.LinuxIOPriority{}), "process.ioPriority.class: missing"},
		{io(specs.LinuxIOPriority{Class: "BE"}), `process.ioPriority.class: there is no class "BE"`},
		{io(specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 8}), "process.ioPriority.priority: 8 is not"},
		{io(specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: -1}), "process.ioPriority.priority: -1 is not"},
		{unprivileged(io(specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_RT})), "process.ioPriority.class: IOPRIO_CLASS_RT takes CAP_SYS_NICE"},
		{cpus("0-", ""), `process.execCPUAffinity.initial: "0-" is not a list like 0-3,7`},
		{cpus("", "0,,1"), `process.execCPUAffinity.final: "0,,1" is not a list`},
		{cpus("", "a"), `process.execCPUAffinity.final: "a" is not a list`},
		{cpus("", "+1"), `process.execCPUAffinity.final: "+1" is not a list`},
		{cpus("", "3-1"), `process.execCPUAffinity.final: "3-1": 3-1 runs backwards`},
		{cpus("", "0-8192"), `process.execCPUAffinity.final: "0-8192": 8192 is more than 8191`},
		{cpus("", "99999999999999999999"), `process.execCPUAffinity.final: "99999999999999999999" is not a list`},
	})
	accepted(t, everything(), map[string]func(*specs.Spec){
		"":   func(s *specs.Spec) { sched(dl)(s, nil) },
		"#1": func(s *specs.Spec) { deadline(func(c *specs.Scheduler) { c.Period = 0 })(s, nil) },
		"#2": func(s *specs.Spec) {
			sched(specs.Scheduler{Policy: specs.SchedRR, Priority: 99, Flags: schedulerFlags()})(s, nil)
		},
		"#3": func(s *specs.Spec) { io(specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_RT, Priority: 7})(s, nil) },
		"#4": func(s *specs.Spec) { cpus("0", "0-3,7,8191")(s, nil) },
	})
}

func TestValidateDevices(t *testing.T) {
	device := func(d specs.LinuxDevice) func(*specs.Spec, *HostFacts) {
		return func(s *specs.Spec, _ *HostFacts) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/a", Type: "c"}, d}
		}
	}
	net := func(host, name string) func(*specs.Spec, *HostFacts) {
		return func(s *specs.Spec, _ *HostFacts) {
			s.Linux.NetDevices = map[string]specs.LinuxNetDevice{host: {Name: name}}
		}
	}
	rule := func(r specs.LinuxDeviceCgroup) func(*specs.Spec, *HostFacts) {
		return func(s *specs.Spec, _ *HostFacts) { s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{r} }
	}
	mode := func(m os.FileMode) *os.FileMode { return &m }
	fuse := specs.LinuxDevice{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229}
	refusedAll(t, []badConfig{
		{device(specs.LinuxDevice{Type: "c"}), "linux.devices[1].path: missing"},
		{device(specs.LinuxDevice{Path: "dev/x", Type: "c"}), `linux.devices[1].path: "dev/x" is not an absolute path`},
		{device(specs.LinuxDevice{Path: "/dev/../dev/a", Type: "c"}), `linux.devices[1].path: "/dev/../dev/a" is the path of linux.devices[0] too`},
		{device(specs.LinuxDevice{Path: "/x"}), "linux.devices[1].type: missing"},
		{device(specs.LinuxDevice{Path: "/x", Type: "d"}), `linux.devices[1].type: there is no type "d"`},
		{device(specs.LinuxDevice{Path: "/x", Type: "c", Major: -1}), "linux.devices[1].major: -1 is not"},
		{device(specs.LinuxDevice{Path: "/x", Type: "c", Major: 4096}), "linux.devices[1].major: 4096 is not"},
		{device(specs.LinuxDevice{Path: "/x", Type: "b", Minor: 1 << 20}), "linux.devices[1].minor: 1048576 is not"},
		{device(specs.LinuxDevice{Path: "/x", Type: "b", Minor: -1 << 63}), "linux.devices[1].minor: -9223372036854775808 is not"},
		{device(specs.LinuxDevice{Path: "/x", Type: "c", FileMode: mode(0o10666)}), "linux.devices[1].fileMode: 4534 (octal 010666) is more than octal 07777"},
		{device(specs.LinuxDevice{Path: "/x", Type: "c", FileMode: mode(os.ModeDevice | 0o666)}), "linux.devices[1].fileMode: "},
		{device(specs.LinuxDevice{Path: "/x", Type: "c", UID: ptr(uint32(1000))}), "linux.devices[1].uid: uid 1000 has no mapping"},
		{device(specs.LinuxDevice{Path: "/x", Type: "c", GID: ptr(uint32(1000))}), "linux.devices[1].gid: gid 1000 has no mapping"},
		{func(s *specs.Spec, h *HostFacts) { net("eth0", "")(s, h); h.Root = false }, "linux.netDevices: moving an interface takes CAP_NET_ADMIN"},
		{func(s *specs.Spec, h *HostFacts) { net("eth0", "")(s, h); drop(s, specs.NetworkNamespace) }, "linux.netDevices: the container has no network namespace"},
		{net("", "a"), `linux.netDevices[""]: not the name`},
		{net("a/b", ""), `linux.netDevices["a/b"]: not the name`},
		{net("eth%d", ""), `linux.netDevices["eth%d"]: not the name`},
		{net("eth0", "sixteen-letters-"), `linux.netDevices["eth0"].name: "sixteen-letters-" is not the name`},
		{net("eth0", ".."), `linux.netDevices["eth0"].name: ".." is not`},
		{net("eth0", "a b"), `linux.netDevices["eth0"].name: "a b" is not`},
		{net("eth0", "a:b"), `linux.netDevices["eth0"].name: "a:b" is not`},
		{net("eth0", "%d%d"), `linux.netDevices["eth0"].name: "%d%d" is not`},
		{net("eth0", "%s"), `linux.netDevices["eth0"].name: "%s" is not`},
		{func(s *specs.Spec, _ *HostFacts) {
			s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"a": {Name: "b"}, "b": {}}
		}, `linux.netDevices["b"].name: "b" is the name of "a" too`},
		{rule(specs.LinuxDeviceCgroup{Type: "p", Access: "r"}), `linux.resources.devices[0].type: there is no type "p"`},
		{rule(specs.LinuxDeviceCgroup{}), "linux.resources.devices[0].access: missing"},
		{rule(specs.LinuxDeviceCgroup{Access: "rx"}), `linux.resources.devices[0].access: "rx"; only r, w and m`},
		{rule(specs.LinuxDeviceCgroup{Access: "r", Major: ptr(int64(-2))}), "linux.resources.devices[0].major: -2 is not"},
		{rule(specs.LinuxDeviceCgroup{Access: "r", Minor: ptr(int64(1 << 40))}), "linux.resources.devices[0].minor: 1099511627776 is not"},
	})
	allow := specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: ptr(int64(10)), Minor: ptr(int64(-1)), Access: "rwm"}
	deny := specs.LinuxDeviceCgroup{Access: "rwm"}
	accepted(t, rootless(), map[string]func(*specs.Spec){
		"":   func(s *specs.Spec) { device(fuse)(s, nil); s.Linux.Devices[0].Type = "p" },
		"#1": func(s *specs.Spec) { s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{deny} },
		"#2": func(s *specs.Spec) {
			s.Linux.Devices = []specs.LinuxDevice{fuse}
			s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{deny, allow}
		},
		"linux.devices[1]: the node is the host's": func(s *specs.Spec) {
			d := fuse
			d.FileMode = mode(0o20666)
			device(d)(s, nil)
		},
	})
	root := HostFacts{Root: true, TimeNamespaces: true}
	accepted(t, root, map[string]func(*specs.Spec){
		"": func(s *specs.Spec) {
			s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"a": {Name: "x%d"}, "b": {Name: "x%d"}, "c": {}}
		},
	})
}

func TestValidateLinux(t *testing.T) {
	set := func(f func(l *specs.Linux)) func(*specs.Spec, *HostFacts) {
		return func(s *specs.Spec, _ *HostFacts) { f(s.Linux) }
	}
	rdt := func(r specs.LinuxIntelRdt) func(*specs.Spec, *HostFacts) {
		return set(func(l *specs.Linux) { l.IntelRdt = &r })
	}
	numa := func(mode specs.MemoryPolicyModeType, nodes string, flags ...specs.MemoryPolicyFlagType) func(*specs.Spec, *HostFacts) {
		return set(func(l *specs.Linux) {
			l.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: mode, Nodes: nodes, Flags: flags}
		})
	}
	filter := func(p specs.LinuxSeccomp) func(*specs.Spec, *HostFacts) {
		return set(func(l *specs.Linux) { l.Seccomp = &p })
	}
	notify := specs.LinuxSyscall{Names: []string{"mkdir"}, Action: specs.ActNotify}
	refusedAll(t, []badConfig{
		{set(func(l *specs.Linux) { l.RootfsPropagation = "up" }), `linux.rootfsPropagation: there is no propagation "up"`},
		{set(func(l *specs.Linux) { l.MaskedPaths = []string{"/a", "b"} }), `linux.maskedPaths[1]: "b" is not an absolute path`},
		{set(func(l *specs.Linux) { l.ReadonlyPaths = []string{""} }), "linux.readonlyPaths[0]: missing"},
		{set(func(l *specs.Linux) { l.ReadonlyPaths = []string{"/\x00"} }), "linux.readonlyPaths[0]: "},
		{func(s *specs.Spec, h *HostFacts) { s.Linux.MountLabel = "x"; h.SELinux = false }, "linux.mountLabel: this kernel has no SELinux"},
		{set(func(l *specs.Linux) { l.MountLabel = "x\x00" }), "linux.mountLabel: "},
		{set(func(l *specs.Linux) { l.CgroupsPath = "/a/../../b" }), `linux.cgroupsPath: "/a/../../b" leads out`},
		{set(func(l *specs.Linux) { l.CgroupsPath = ".." }), `linux.cgroupsPath: ".." leads out`},
		{set(func(l *specs.Linux) { l.CgroupsPath = "a\x00" }), "linux.cgroupsPath: "},
		{set(func(l *specs.Linux) { l.CgroupsPath = strings.Repeat("a", 256) }), "linux.cgroupsPath: a name of 256 bytes"},
		{set(func(l *specs.Linux) { l.CgroupsPath = strings.Repeat("/a", 2048) }), "linux.cgroupsPath: 4096 bytes"},
		{set(func(l *specs.Linux) { l.Personality = &specs.LinuxPersonality{} }), "linux.personality.domain: missing"},
		{set(func(l *specs.Linux) { l.Personality = &specs.LinuxPersonality{Domain: "BSD"} }), `linux.personality.domain: there is no domain "BSD"`},
		{set(func(l *specs.Linux) {
			l.Personality = &specs.LinuxPersonality{Domain: "LINUX", Flags: []specs.LinuxPersonalityFlag{"X"}}
		}), "linux.personality.flags: the specification has none"},
		{rdt(specs.LinuxIntelRdt{ClosID: "/", Schemata: []string{"L3:0=f"}, EnableMonitoring: true}), "linux.intelRdt: this runtime assigns no classes of service"},
		{rdt(specs.LinuxIntelRdt{ClosID: ".."}), `linux.intelRdt.closID: ".." is not`},
		{rdt(specs.LinuxIntelRdt{ClosID: "a/b"}), `linux.intelRdt.closID: "a/b" is not`},
		{rdt(specs.LinuxIntelRdt{MemBwSchema: "L3:0=f"}), "linux.intelRdt.memBwSchema: "},
		{rdt(specs.LinuxIntelRdt{L3CacheSchema: "L3:0=f\nMB:0=1"}), "linux.intelRdt.l3CacheSchema: more than one line"},
		{rdt(specs.LinuxIntelRdt{L3CacheSchema: "MB:0=f"}), "linux.intelRdt.l3CacheSchema: "},
		{rdt(specs.LinuxIntelRdt{Schemata: []string{"L3:0=f", "a\nb"}}), "linux.intelRdt.schemata[1]: not one line"},
		{numa("", ""), "linux.memoryPolicy.mode: missing"},
		{numa("MPOL_X", ""), `linux.memoryPolicy.mode: there is no mode "MPOL_X"`},
		{numa(specs.MpolBind, "x"), `linux.memoryPolicy.nodes: "x" is not a list`},
		{numa(specs.MpolBind, "1024"), `linux.memoryPolicy.nodes: "1024": 1024 is more than 1023`},
		{numa(specs.MpolBind, ""), "linux.memoryPolicy.nodes: missing: MPOL_BIND needs one"},
		{numa(specs.MpolLocal, "0"), "linux.memoryPolicy.nodes: MPOL_LOCAL has no nodes"},
		{numa(specs.MpolDefault, "0"), "linux.memoryPolicy.nodes: MPOL_DEFAULT has no nodes"},
		{numa(specs.MpolBind, "0", "X"), `linux.memoryPolicy.flags[0]: there is no flag "X"`},
		{numa(specs.MpolBind, "0", specs.MpolFStaticNodes, specs.MpolFRelativeNodes), "linux.memoryPolicy.flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES contradict"},
		{numa(specs.MpolPreferred, "", specs.MpolFStaticNodes), "linux.memoryPolicy.flags: MPOL_F_STATIC_NODES is about nodes"},
		{numa(specs.MpolInterleave, "0", specs.MpolFNumaBalancing), "linux.memoryPolicy.flags: MPOL_F_NUMA_BALANCING goes with"},
		{filter(specs.LinuxSeccomp{DefaultAction: "SCMP_ACT_FOO"}), "linux.seccomp.defaultAction: "},
		{filter(specs.LinuxSeccomp{Syscalls: []specs.LinuxSyscall{notify}}), "linux.seccomp.defaultAction: missing"},
		{filter(specs.LinuxSeccomp{DefaultAction: specs.ActNotify}), "linux.seccomp.defaultAction: "},
		{filter(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, DefaultErrnoRet: ptr(uint(1))}), "linux.seccomp.defaultErrnoRet: "},
		{filter(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"SCMP_ARCH_VAX"}}), "linux.seccomp.architectures[0]: "},
		{filter(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"X"}}), "linux.seccomp.flags[0]: "},
		{filter(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerMetadata: "x"}), "linux.seccomp.listenerMetadata: "},
		{filter(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{notify}}), "linux.seccomp.listenerPath: missing"},
		{filter(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Action: specs.ActErrno}}}), "linux.seccomp.syscalls[0].names: missing"},
		{filter(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"a"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Op: "X"}}}}}), "linux.seccomp.syscalls[0].args[0].op: "},
		{filter(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"a"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}}}), "linux.seccomp.syscalls[0].args[0].index: "},
	})
	ok := map[string]func(*specs.Spec){
		"#1": func(s *specs.Spec) { s.Linux.CgroupsPath = "user.slice:coracle:a..b" },
		"#2": func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32} },
		"#3": func(s *specs.Spec) {
			filter(specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{notify}, ListenerPath: "/s", ListenerMetadata: "m"})(s, nil)
		},
		"#4": func(s *specs.Spec) { numa(specs.MpolPreferred, "")(s, nil) },
		"#5": func(s *specs.Spec) {
			numa(specs.MpolBind, "0-3,7", specs.MpolFNumaBalancing, specs.MpolFStaticNodes)(s, nil)
		},
	}
	for _, p := range strings.Fields("private rprivate slave rslave shared rshared unbindable runbindable") {
		ok["#"+p] = func(s *specs.Spec) { s.Linux.RootfsPropagation = p }
	}
	accepted(t, everything(), ok)
}
