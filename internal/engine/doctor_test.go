package engine

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"coracle/fuse"
	"coracle/userns"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// soundFacts are those of a machine on which nothing is wrong.
func soundFacts() doctorFacts {
	full := userns.Map{
		UIDs: []specs.LinuxIDMapping{{HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65536}},
		GIDs: []specs.LinuxIDMapping{{HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65536}},
	}
	return doctorFacts{
		id: userns.Identity{UID: 1000, GID: 1000, Name: "ann", Local: true},
		report: userns.Report{
			UIDs: []userns.Range{{Start: 100000, Count: 65536}}, GIDs: []userns.Range{{Start: 100000, Count: 65536}},
			Helpers:   []userns.HelperReport{{Name: "newuidmap", Path: "/usr/bin/newuidmap"}, {Name: "newgidmap", Path: "/usr/bin/newgidmap"}},
			AddSubIDs: "sudo usermod --add-subuids …",
		},
		host: userns.Facts{UID: 1000, Label: "unconfined"},
		ids:  userns.Resolved{Map: full, Base: full},
		root: "/home/ann/.local/share/coracle", runRoot: "/run/user/1000/coracle", xdg: "/run/user/1000",
		filesystem: filesystemFacts{kind: "ext4", free: 100 << 30, total: 200 << 30, freeInodes: 1 << 20, allInodes: 1 << 21},
		driver:     "overlay",
		overlay:    fuse.Facts{Overlay: true, DataOnly: true, HostLower: true},
		cgroup:     cgroupFacts{version: 2, path: "/sys/fs/cgroup/x", writable: true, controllers: []string{"cpu", "memory", "pids"}},
		systemd:    true, lingering: true,
		kernel: "6.12.1", landlock: 5,
		programs: map[string]string{"pasta": "/usr/bin/pasta"},
	}
}

func TestDoctorSoundMachine(t *testing.T) {
	checks := examine(soundFacts())
	seen := map[string]bool{}
	for _, c := range checks {
		if c.Status != VerdictOK {
			t.Errorf("%+v", c)
		}
		if seen[c.Name] {
			t.Errorf("two checks are called %s", c.Name)
		}
		seen[c.Name] = true
	}
	if !CanRun(checks) {
		t.Error("run cannot work on a sound machine")
	}
	b, err := json.Marshal(checks[0])
	if want := `{"name":"caller","status":"ok","detail":"ann (user 1000, group 1000)","hint":""}`; err != nil || string(b) != want {
		t.Errorf("%s, %v", b, err)
	}
}

func TestDoctorFindsWhatIsWrong(t *testing.T) {
	broken := errors.New("broken")
	hinted := &Error{Op: "x", Err: broken, Help: "type this"}
	noNamespaces := &userns.RestrictedError{Cause: userns.CauseMaxNamespaces, Reason: "user.max_user_namespaces is 0", Advice: "raise it"}
	apparmor := &userns.RestrictedError{Cause: userns.CauseAppArmor, Reason: "AppArmor", Advice: "the profile"}
	selinux := &userns.RestrictedError{Cause: userns.CauseSELinux, Reason: "SELinux", Advice: "setsebool"}
	for _, c := range []struct {
		name         string
		change       func(*doctorFacts)
		check        string
		status       Verdict
		detail, hint string
	}{
		{"unreadable passwd", func(f *doctorFacts) { f.idErr = broken }, "caller", VerdictFail, "broken", "getent"},
		{"no entry", func(f *doctorFacts) { f.id.Name = "" }, "caller", VerdictWarn, "user 1000", "administrator"},
		{"service is down", func(f *doctorFacts) { f.reportErr = broken }, "subids", VerdictWarn, "broken", "getsubids"},
		{"no subids", func(f *doctorFacts) { f.report.UIDs = nil }, "subids", VerdictWarn, "only your own id", "usermod"},
		{"a bad line", func(f *doctorFacts) {
			f.report.Bad = []userns.BadLine{{File: "/etc/subuid", Line: 3, Why: "no"}}
		}, "subids", VerdictWarn, "/etc/subuid:3: no", "correct"},
		{"few subids", func(f *doctorFacts) { f.report.GIDs[0].Count = 1000 }, "subids", VerdictWarn, "65536 user and 1000 group ids", "usermod"},
		{"shared subids", func(f *doctorFacts) { f.report.Shared = []string{"bob too"} }, "subids", VerdictWarn, "bob too", "range of its own"},
		{"outside", func(f *doctorFacts) {
			f.report.Outside, f.report.UIDs = f.report.UIDs, nil
		}, "subids", VerdictWarn, "100000-165535", "outer container"},
		{"root", func(f *doctorFacts) { f.report = userns.Report{Root: true} }, "subids", VerdictOK, "root", ""},
		{"no newuidmap", func(f *doctorFacts) {
			f.report.Helpers[0] = userns.HelperReport{Name: "newuidmap", Problem: "not installed", Hint: "apt-get install uidmap"}
		}, "newuidmap", VerdictWarn, "not installed", "uidmap"},
		{"plain newgidmap", func(f *doctorFacts) { f.report.Helpers[1].Problem, f.report.Helpers[1].Hint = "no caps", "setcap" }, "newgidmap", VerdictWarn, "no caps", "setcap"},
		{"no user namespaces", func(f *doctorFacts) { f.probe = noNamespaces }, "user-namespaces", VerdictFail, "max_user_namespaces is 0", "raise it"},
		{"unknown refusal", func(f *doctorFacts) { f.probe = broken }, "user-namespaces", VerdictFail, "broken", "dmesg"},
		{"maps not tried", func(f *doctorFacts) { f.probe = noNamespaces }, "id-maps", VerdictWarn, "not tried", "first"},
		{"maps refused", func(f *doctorFacts) { f.maps = hinted }, "id-maps", VerdictFail, "broken", "type this"},
		{"single id", func(f *doctorFacts) {
			f.ids = userns.Resolved{Map: userns.SingleMap(1000, 1000), Single: true, Notice: "only your own id is mapped", Hint: "usermod"}
		}, "id-maps", VerdictWarn, "only your own id", "usermod"},
		{"no network namespace", func(f *doctorFacts) { f.spaces = errors.New("create a network namespace: no space") }, "namespaces", VerdictFail, "network", "sysctl"},
		{"masked proc", func(f *doctorFacts) {
			f.spaces = &userns.StepError{Step: "mount a new /proc", Errno: unix.EPERM}
		}, "namespaces", VerdictFail, "/proc", "unmask=ALL"},
		{"unusable store", func(f *doctorFacts) { f.store = broken }, "store", VerdictFail, "broken", "--root"},
		{"newer store", func(f *doctorFacts) { f.store = hinted }, "store", VerdictFail, "broken", "type this"},
		{"nfs", func(f *doctorFacts) { f.filesystem.kind, f.filesystem.network = "nfs", true }, "store-filesystem", VerdictWarn, "nfs", "local disk"},
		{"tmpfs", func(f *doctorFacts) { f.filesystem.kind = "tmpfs" }, "store-filesystem", VerdictWarn, "memory", "--root"},
		{"ecryptfs", func(f *doctorFacts) { f.filesystem.kind = "ecryptfs" }, "store-filesystem", VerdictWarn, "overlay refuses", "--root"},
		{"no statfs", func(f *doctorFacts) { f.filesystem.err = broken }, "disk-space", VerdictWarn, "broken", "--root"},
		{"little space", func(f *doctorFacts) { f.filesystem.free = 1 << 30 }, "disk-space", VerdictWarn, "1.0 GiB of 200.0 GiB", "rmi"},
		{"no space", func(f *doctorFacts) { f.filesystem.free = 0 }, "disk-space", VerdictFail, "0 B", "make room"},
		{"few inodes", func(f *doctorFacts) { f.filesystem.freeInodes = 10 }, "inodes", VerdictWarn, "10 of", "rmi"},
		{"no inodes", func(f *doctorFacts) { f.filesystem.freeInodes = 0 }, "inodes", VerdictFail, "0 of", "remove"},
		{"btrfs", func(f *doctorFacts) { f.filesystem.freeInodes, f.filesystem.allInodes = 0, 0 }, "inodes", VerdictOK, "does not limit", ""},
		{"fuse-overlayfs", func(f *doctorFacts) { f.driver = "fuse-overlayfs" }, "overlay", VerdictWarn, "fuse-overlayfs", "5.11"},
		{"copy", func(f *doctorFacts) {
			f.driver, f.driverNotice, f.driverHint = "copy", "roots are copied", "install"
		}, "overlay", VerdictWarn, "roots are copied", "install"},
		{"overlay says why", func(f *doctorFacts) { f.driver, f.overlay.OverlayWhy = "fuse-overlayfs", "upper fs needs xattrs" }, "overlay", VerdictWarn, "needs xattrs", "5.11"},
		{"overlay without data-only layers", func(f *doctorFacts) { f.overlay.DataOnly = false }, "overlay", VerdictOK, "keep-id unpacks", ""},
		{"no driver", func(f *doctorFacts) { f.driverErr = broken }, "overlay", VerdictFail, "broken", "--storage-driver"},
		{"no fuse", func(f *doctorFacts) { f.fuse = &os.PathError{Op: "open", Path: "/dev/fuse", Err: unix.ENOENT} }, "fuse", VerdictWarn, "/dev/fuse is missing", "modprobe fuse"},
		{"closed tun", func(f *doctorFacts) { f.tun = &os.PathError{Op: "open", Path: "/dev/net/tun", Err: unix.EACCES} }, "tun", VerdictWarn, "permission denied", "chmod"},
		{"no pings", func(f *doctorFacts) { f.ping = unix.EACCES }, "ping", VerdictWarn, "permission denied", "ping_group_range"},
		{"no cgroups", func(f *doctorFacts) { f.cgroup = cgroupFacts{} }, "cgroup", VerdictWarn, "no cgroups", "mount"},
		{"cgroup v1", func(f *doctorFacts) { f.cgroup = cgroupFacts{version: 1} }, "cgroup", VerdictWarn, "v1", "unified_cgroup_hierarchy"},
		{"not delegated", func(f *doctorFacts) { f.cgroup.writable = false }, "cgroup", VerdictWarn, "no cgroup is delegated", "enable-linger ann"},
		{"not delegated, no systemd", func(f *doctorFacts) { f.cgroup.writable, f.systemd = false, false }, "cgroup", VerdictWarn, "no cgroup is delegated", "chown"},
		{"few controllers", func(f *doctorFacts) { f.cgroup.controllers = []string{"memory"} }, "cgroup", VerdictWarn, "cpu pids", "Delegate="},
		{"default limits", nil, "default-limits", VerdictOK, "2048 processes", ""},
		{"no default limits", func(f *doctorFacts) { f.unlimited = []string{"no cgroup is yours"} }, "default-limits", VerdictWarn, "any number of processes: no cgroup is yours", "--pids-limit"},
		{"unknown limits", func(f *doctorFacts) { f.limits = broken }, "default-limits", VerdictWarn, "broken", "cgroup"},
		{"no runtime directory", func(f *doctorFacts) { f.xdg, f.runRoot = "", "/tmp/coracle-1000" }, "runtime-dir", VerdictWarn, "/tmp/coracle-1000", "/run/user/1000"},
		{"bad runtime directory", func(f *doctorFacts) { f.runtime = hinted }, "runtime-dir", VerdictFail, "broken", "type this"},
		{"no linger", func(f *doctorFacts) { f.lingering = false }, "linger", VerdictWarn, "logout", "enable-linger ann"},
		{"no systemd", func(f *doctorFacts) { f.lingering, f.systemd = false, false }, "linger", VerdictOK, "systemd", ""},
		{"old kernel", func(f *doctorFacts) { f.kernel, f.lacks = "5.10.0-8-amd64", []string{"mount_setattr"} }, "kernel", VerdictWarn, "5.10.0-8-amd64, without mount_setattr: ", "5.12"},
		{"older kernel", func(f *doctorFacts) { f.kernel = "4.18.0-553.el8" }, "kernel", VerdictFail, "pidfd_open", "5.3"},
		{"kernel with overlay", func(f *doctorFacts) { f.kernel, f.lacks = "5.11.1", []string{"mount_setattr"} }, "kernel", VerdictWarn, "without mount_setattr", "5.12"},
		{"filtered kernel", func(f *doctorFacts) { f.lacks = []string{"openat2", "close_range"} }, "kernel", VerdictWarn, "without openat2, close_range: ", "seccomp profile"},
		{"no seccomp", func(f *doctorFacts) { f.seccomp = unix.ENOSYS }, "seccomp", VerdictFail, "no seccomp", "CONFIG_SECCOMP_FILTER"},
		{"apparmor", func(f *doctorFacts) { f.probe, f.apparmor = apparmor, true }, "apparmor", VerdictWarn, "AppArmor", "the profile"},
		{"apparmor lets us", func(f *doctorFacts) { f.apparmor, f.host.AppArmorRestrict = true, "1" }, "apparmor", VerdictOK, "restricts", ""},
		{"selinux", func(f *doctorFacts) { f.probe = selinux }, "selinux", VerdictWarn, "SELinux", "setsebool"},
		{"selinux lets us", func(f *doctorFacts) { f.host.SELinux = "enforcing" }, "selinux", VerdictOK, "enforcing", ""},
		{"no landlock", func(f *doctorFacts) { f.landlock = 0 }, "landlock", VerdictWarn, "none", "lsm=landlock"},
		{"not needed", nil, "criu", VerdictOK, "not installed; only for checkpoint", "apt-get"},
		{"needed", func(f *doctorFacts) { f.driver = "copy" }, "fuse-overlayfs", VerdictWarn, "not installed", "apt-get"},
		{"installed", nil, "pasta", VerdictOK, "/usr/bin/pasta", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := soundFacts()
			if c.change != nil {
				c.change(&f)
			}
			checks := examine(f)
			found := false
			for _, got := range checks {
				if strings.Contains(got.Detail, "\n") || got.Detail == "" || got.Status != VerdictOK && got.Hint == "" {
					t.Errorf("%+v", got)
				}
				if got.Name != c.check {
					continue
				}
				found = true
				if got.Status != c.status || !strings.Contains(got.Detail, c.detail) || !strings.Contains(got.Hint, c.hint) {
					t.Errorf("%+v", got)
				}
			}
			if !found {
				t.Errorf("no check %s", c.check)
			}
			if CanRun(checks) != (c.status != VerdictFail && f.probe == nil) {
				t.Errorf("CanRun is %v", CanRun(checks))
			}
		})
	}
}

func TestKernelVersion(t *testing.T) {
	for in, want := range map[string][2]int{"6.1.0-18-amd64": {6, 1}, "5.10": {5, 10}, "6.18.44-fc": {6, 18}, "": {}, "x.y": {}} {
		if a, b := kernelVersion(in); a != want[0] || b != want[1] {
			t.Errorf("%q: %d.%d", in, a, b)
		}
	}
}

func TestBytesText(t *testing.T) {
	for in, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 3 << 29: "1.5 GiB", 1<<64 - 1: "16.0 EiB"} {
		if got := bytesText(in); got != want {
			t.Errorf("%d: %s, want %s", in, got, want)
		}
	}
}

func TestDoctorThisMachine(t *testing.T) {
	dir := t.TempDir()
	e, err := Open(Config{Root: dir + "/store", RunRoot: dir + "/run"})
	if err != nil {
		t.Fatal(err)
	}
	checks := e.Doctor(t.Context())
	for _, c := range checks {
		if c.Status == VerdictFail {
			if os.Getenv("CORACLE_MUST_WORK") == "1" {
				t.Errorf("%+v", c)
			}
			t.Logf("%+v", c)
		}
	}
	if err := os.WriteFile(dir+"/store/x", nil, 0o600); err != nil {
		t.Errorf("the store was not made: %v", err)
	}
	// A directory that is somebody else's work is not taken for a store.
	other := t.TempDir()
	if err := os.WriteFile(other+"/thesis.txt", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if e, err = Open(Config{Root: other, RunRoot: dir + "/run"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range e.Doctor(t.Context()) {
		if c.Name == "store" && c.Status != VerdictFail {
			t.Errorf("%+v", c)
		}
	}
	if names, err := os.ReadDir(other); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
}

func TestInfoThisMachine(t *testing.T) {
	dir := t.TempDir()
	e, err := Open(Config{Root: dir + "/store", RunRoot: dir + "/run"})
	if err != nil {
		t.Fatal(err)
	}
	info, err := e.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Store.Root != dir+"/store" || info.Store.Total == 0 || info.Host.Kernel == "" || info.Host.Memory == 0 || len(info.Identity.UIDMap) == 0 {
		t.Errorf("%+v", info)
	}
}
