package spec

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// elsewhere runs the test that calls it again, as root in a mount namespace of
// its own, with user also in a user namespace of which it is root. There it
// says true.
func elsewhere(t *testing.T, user bool) bool {
	t.Helper()
	const env = "CORACLE_TEST_ELSEWHERE"
	if os.Getenv(env) == t.Name() {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	need(t, os.Geteuid() == 0, "root, to mount on the host's side")
	pattern := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run="+pattern, "-test.v=true")
	cmd.Env = append(os.Environ(), env+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if user {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65536}}
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// mountTmpfs mounts one on the test's side, for as long as the test runs.
func mountTmpfs(t *testing.T, dir string, flags uintptr) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(dir, 0o755), unix.Mount("tmpfs", dir, "tmpfs", flags, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// without removes a namespace from s.
func without(s *specs.Spec, kinds ...specs.LinuxNamespaceType) *specs.Spec {
	var kept []specs.LinuxNamespace
	for _, ns := range s.Linux.Namespaces {
		keep := true
		for _, k := range kinds {
			keep = keep && ns.Type != k
		}
		if keep {
			kept = append(kept, ns)
		}
	}
	s.Linux.Namespaces = kept
	return s
}

// setMount replaces the mount at a destination.
func setMount(s *specs.Spec, m specs.Mount) {
	for i := range s.Mounts {
		if s.Mounts[i].Destination == m.Destination {
			s.Mounts[i] = m
			return
		}
	}
	s.Mounts = append(s.Mounts, m)
}

// mounted is the container's mountinfo, by mount point: the last there, as
// "OPTIONS PROPAGATION… - TYPE SUPEROPTIONS".
func mounted(t *testing.T, s *specs.Spec, x Extra) map[string]string {
	t.Helper()
	s.Process.Args = []string{"cat", "/proc/self/mountinfo"}
	out, code, err := runSpec(t, s, x)
	if err != nil || code != 0 {
		t.Fatalf("exit %d, %v: %s", code, err, out)
	}
	at := make(map[string]string)
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		dash := 6
		for f[dash] != "-" {
			dash++
		}
		at[f[4]] = strings.Join(append(f[5:dash+2:dash+2], f[dash+3]), " ")
	}
	return at
}

var peerGroup = regexp.MustCompile(`shared:\d+`)

func wantMount(t *testing.T, at map[string]string, point string, words ...string) {
	t.Helper()
	got, ok := at[point]
	if !ok {
		t.Errorf("nothing is mounted on %s", point)
	}
	got = peerGroup.ReplaceAllString(got, "shared:1") // the machine's next number
	for _, w := range words {
		not := strings.HasPrefix(w, "!")
		if strings.Contains(","+strings.ReplaceAll(got, " ", ",")+",", ","+strings.TrimPrefix(w, "!")+",") == not {
			t.Errorf("%s: %q, want %s", point, got, w)
		}
	}
}

func TestStartMountOptions(t *testing.T) {
	root, bundle := busyboxRoot(t), t.TempDir()
	for _, d := range []string{bundle + "/vol/sub", root + "/real", root + "/sticky", bundle + "/up", bundle + "/work"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		os.WriteFile(bundle+"/vol/file", []byte("x"), 0o644), os.Symlink("vol", bundle+"/link"), os.Symlink("real", root+"/alias"),
		os.Chmod(root+"/sticky", 0o750|os.ModeSticky),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s := testSpec(root)
	s.Mounts = append(s.Mounts,
		specs.Mount{Destination: "/a", Type: "none", Source: "vol", Options: []string{"rbind", "ro", "nosuid", "nodev", "noexec", "nosymfollow"}},
		specs.Mount{Destination: "rel/ative", Type: "bind", Source: "link", Options: []string{"bind", "rro"}},
		specs.Mount{Destination: "/file/made", Type: "bind", Source: "vol/file", Options: []string{"bind"}},
		specs.Mount{Destination: "/alias", Type: "tmpfs", Source: "mem", Options: []string{"shared", "size=64k", "nr_inodes=9", "sync", "lazytime", "iversion", "nodev"}},
		specs.Mount{Destination: "/b", Type: "bind", Source: "vol", Options: []string{"bind", "runbindable"}},
		specs.Mount{Destination: "/b", Options: []string{"remount", "bind", "ro", "nosuid"}},
		specs.Mount{Destination: "/real", Options: []string{"remount", "size=128k", "ro"}},
		specs.Mount{Destination: "/sticky", Type: "tmpfs"},
		specs.Mount{Destination: "/own", Type: "tmpfs", Options: []string{"mode=711", "ro"}},
	)
	at := mounted(t, s, Extra{Bundle: bundle})
	wantMount(t, at, "/a", "ro", "nosuid", "nodev", "noexec", "nosymfollow")
	wantMount(t, at, "/rel/ative", "ro")
	wantMount(t, at, "/file/made", "rw")
	wantMount(t, at, "/real", "nodev", "shared:1", "ro", "size=128k", "nr_inodes=9", "sync")
	if !probeKernel().mounts { // see remountFS
		wantMount(t, at, "/real", "lazytime")
	}
	wantMount(t, at, "/b", "unbindable", "ro", "nosuid")
	wantMount(t, at, "/own", "ro", "mode=711")
	s.Process.Args = []string{"sh", "-c", "stat -c %a /sticky /own; cat /rel/ative/file; stat -c %F /file/made /rel"}
	out, _, err := runSpec(t, s, Extra{Bundle: bundle})
	if err != nil || out != "1750\n711\nxregular file\ndirectory\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// Attributes of all that is mounted below a source, and of the source alone.
func TestStartRecursiveAttributes(t *testing.T) {
	if !elsewhere(t, false) {
		return
	}
	src := t.TempDir()
	mountTmpfs(t, src, unix.MS_NOEXEC)
	mountTmpfs(t, src+"/sub", unix.MS_NOEXEC)
	for _, user := range []bool{true, false} {
		s := testSpec(busyboxRoot(t))
		if !user {
			without(s, specs.UserNamespace)
		}
		s.Mounts = append(s.Mounts,
			specs.Mount{Destination: "/all", Source: src, Options: []string{"rbind", "rro", "rnosuid", "rnodev", "rnosymfollow"}},
			specs.Mount{Destination: "/top", Source: src, Options: []string{"rbind", "ro"}},
			specs.Mount{Destination: "/both", Source: src, Options: []string{"rbind", "rro"}})
		if !user { // in a user namespace the host's are locked
			setMount(s, specs.Mount{Destination: "/both", Source: src, Options: []string{"rbind", "ro", "rexec", "rnoatime"}})
		}
		at := mounted(t, s, Extra{})
		for _, p := range []string{"/all", "/all/sub"} {
			wantMount(t, at, p, "ro", "nosuid", "nodev", "nosymfollow")
		}
		wantMount(t, at, "/top", "ro")
		wantMount(t, at, "/top/sub", "rw", "noexec", "!ro")
		if !user {
			wantMount(t, at, "/both/sub", "!noexec", "noatime")
		}
	}
	// What is locked cannot be taken away.
	s := testSpec(busyboxRoot(t), "true")
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Source: src, Options: []string{"rbind", "exec"}})
	if _, _, err := runSpec(t, s, Extra{}); !errors.Is(err, unix.EPERM) {
		t.Errorf("exec of a locked mount: %v", err)
	}
	// A root that is a bind of a locked mount becomes read-only as any other.
	root := filepath.Join(src, "root")
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", busyboxRoot(t), root).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	if err := unix.Mount("", src, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		t.Fatal(err)
	}
	s = testSpec(root)
	s.Root.Readonly = true
	wantMount(t, mounted(t, s, Extra{}), "/", "ro", "nosuid", "nodev")
}

func TestStartRefusesMounts(t *testing.T) {
	for _, tt := range []struct {
		m    specs.Mount
		want string
	}{
		{specs.Mount{Destination: "/", Type: "tmpfs"}, `mounts[6].destination: "/" is the root itself`},
		{specs.Mount{Destination: "/x", Type: "tmpfs", Options: []string{"nosuchoption"}}, "mount tmpfs on /x: option nosuchoption: invalid argument"},
		{specs.Mount{Destination: "/x", Source: "/nowhere", Options: []string{"bind"}}, "bind /nowhere on /x: no such file or directory"},
		{specs.Mount{Destination: "/bin/sh/x", Type: "tmpfs"}, "/bin/sh/x: open the target: not a directory"},
		{specs.Mount{Destination: "/nothing", Options: []string{"remount", "ro"}}, "remount /nothing: no such file or directory"},
	} {
		s := testSpec(busyboxRoot(t), "true")
		s.Mounts = append(s.Mounts, tt.m)
		if _, _, err := runSpec(t, s, Extra{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want %q", tt.m, err, tt.want)
		}
	}
	s := testSpec(busyboxRoot(t), "true")
	s.Linux.GIDMappings = singleMap().GIDs
	s.Linux.UIDMappings = singleMap().UIDs
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Type: "tmpfs", Options: []string{"gid=7"}})
	if _, _, err := runSpec(t, s, Extra{}); err == nil || !strings.Contains(err.Error(), "mounts[6].options: /x: gid=7: the container's user namespace has no such id (linux.gidMappings)") {
		t.Errorf("an unmapped group: %v", err)
	}
}

// File systems that show a namespace of the host's: in a user namespace the
// kernel refuses them, and the host's own is bound.
func TestStartHostNamespaces(t *testing.T) {
	s := without(testSpec(busyboxRoot(t)), specs.NetworkNamespace, specs.PIDNamespace, specs.IPCNamespace)
	s.Linux.Sysctl = nil
	_, err := os.Stat("/dev/mqueue")
	if err != nil {
		setMount(s, specs.Mount{Destination: "/dev/mqueue", Type: "tmpfs"})
	}
	at := mounted(t, s, Extra{})
	wantMount(t, at, "/proc", "proc", "nosuid", "nodev", "noexec")
	wantMount(t, at, "/sys", "sysfs", "ro", "nosuid", "nodev", "noexec")
	if err == nil {
		wantMount(t, at, "/dev/mqueue", "mqueue")
	}
	for point, what := range at {
		if strings.HasPrefix(point, "/sys/") && !strings.HasPrefix(what, "ro,") {
			t.Errorf("%s is writable: %s", point, what)
		}
	}
	for _, m := range []specs.Mount{
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid"}},
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"hidepid=2"}},
	} {
		s := without(testSpec(busyboxRoot(t), "true"), specs.NetworkNamespace, specs.PIDNamespace)
		s.Linux.Sysctl = nil
		setMount(s, m)
		if _, _, err := runSpec(t, s, Extra{}); !errors.Is(err, unix.EPERM) {
			t.Errorf("%v: %v: it was asked for what the host's is not", m, err)
		}
	}
}

func TestStartDevptsGroup(t *testing.T) {
	pts := func(options ...string) specs.Mount {
		return specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: append([]string{"newinstance", "ptmxmode=0666"}, options...)}
	}
	s := testSpec(busyboxRoot(t))
	setMount(s, pts("gid=5", "mode=0620"))
	wantMount(t, mounted(t, s, Extra{}), "/dev/pts", "devpts", "mode=620", "!gid=5")
	setMount(s, pts("gid=6"))
	s.Process.Args = []string{"true"}
	if _, _, err := runSpec(t, s, Extra{}); err == nil || !strings.Contains(err.Error(), "gid=6") {
		t.Errorf("another group: %v", err)
	}
	need(t, os.Geteuid() == 0, "root")
	s = without(testSpec(busyboxRoot(t)), specs.UserNamespace)
	setMount(s, pts("gid=5"))
	wantMount(t, mounted(t, s, Extra{}), "/dev/pts", "gid=5")
}

func TestStartCgroupMount(t *testing.T) {
	cgroup := specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}}
	s := testSpec(busyboxRoot(t))
	setMount(s, cgroup)
	wantMount(t, mounted(t, s, Extra{}), "/sys/fs/cgroup", "cgroup2", "ro", "nosuid")
	s = without(s, specs.CgroupNamespace)
	wantMount(t, mounted(t, s, Extra{}), "/sys/fs/cgroup", "cgroup2", "ro", "nosuid")
}

// Long option strings go through mount(2), which takes a page of them.
func TestStartLongOption(t *testing.T) {
	root := busyboxRoot(t)
	lower := filepath.Join(t.TempDir(), strings.Repeat("long/", 60))
	if err := os.MkdirAll(lower, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(lower+"/f", []byte("low"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := testSpec(root, "sh", "-c", "cat /o/f; grep ' /o ' /proc/self/mountinfo")
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/o", Type: "overlay", Source: "overlay", Options: []string{"lowerdir=" + lower + ":" + root + "/etc", "nosuid", "userxattr"}})
	out, _, err := runSpec(t, s, Extra{})
	if err != nil || !strings.HasPrefix(out, "low") || !strings.Contains(out, "nosuid") {
		t.Errorf("%q, %v", out, err)
	}
}

func idsFrom(first uint32) []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{ContainerID: 0, HostID: first, Size: 1000}}
}

func TestStartIDMapped(t *testing.T) {
	if !elsewhere(t, false) {
		return
	}
	src := t.TempDir()
	mountTmpfs(t, src, 0)
	mountTmpfs(t, src+"/sub", 0)
	if err := errors.Join(os.WriteFile(src+"/f", nil, 0o600), os.Chown(src+"/f", 3, 4), os.WriteFile(src+"/sub/f", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	s := without(testSpec(busyboxRoot(t), "sh", "-c", "stat -c %u:%g /own/f /all/f /all/sub/f /top/sub/f"), specs.UserNamespace)
	s.Mounts = append(s.Mounts,
		specs.Mount{Destination: "/own", Source: src, Options: []string{"bind", "idmap"}, UIDMappings: idsFrom(100), GIDMappings: idsFrom(200)},
		specs.Mount{Destination: "/all", Source: src, Options: []string{"rbind", "ridmap", "ro"}, UIDMappings: idsFrom(100), GIDMappings: idsFrom(200)},
		specs.Mount{Destination: "/top", Source: src, Options: []string{"rbind", "idmap"}, UIDMappings: idsFrom(100), GIDMappings: idsFrom(200)})
	if out, _, err := runSpec(t, s, Extra{}); err != nil || out != "103:204\n103:204\n100:200\n0:0\n" {
		t.Errorf("maps of their own: %q, %v", out, err)
	}
	// The container's map: what belongs to 3 on the disk belongs to 3 inside.
	s = testSpec(busyboxRoot(t), "sh", "-c", "stat -c %u:%g /own/f")
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/own", Source: src, Options: []string{"bind", "idmap"}})
	m := singleMap()
	m.UIDs, m.GIDs = []specs.LinuxIDMapping{{HostID: 0, Size: 1}, {ContainerID: 1, HostID: 5001, Size: 10}}, []specs.LinuxIDMapping{{HostID: 0, Size: 1}, {ContainerID: 1, HostID: 6001, Size: 10}}
	if out, err := runMapped(t, s, Extra{}, m); err != nil || out != "3:4\n" {
		t.Errorf("the container's map: %q, %v", out, err)
	}
	for _, tt := range []struct {
		m    specs.Mount
		want string
	}{
		{specs.Mount{Options: []string{"bind", "idmap"}}, "without uidMappings and gidMappings it takes those of the container's user namespace, and it has none"},
		{specs.Mount{Options: []string{"bind", "idmap"}, UIDMappings: idsFrom(1)}, "go together"},
		{specs.Mount{Options: []string{"bind"}, UIDMappings: idsFrom(1), GIDMappings: idsFrom(1)}, "need the option idmap or ridmap"},
	} {
		s := without(testSpec(busyboxRoot(t), "true"), specs.UserNamespace)
		tt.m.Destination, tt.m.Source = "/x", src
		s.Mounts = append(s.Mounts, tt.m)
		if _, _, err := runSpec(t, s, Extra{}); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "mounts[6]: idmap of "+src) {
			t.Errorf("%v: %v, want %q", tt.m, err, tt.want)
		}
	}
}

func TestStartDevices(t *testing.T) {
	mode, id := os.FileMode(0o640), uint32(7)
	devices := []specs.LinuxDevice{
		{Path: "/dev/mine", Type: "c", Major: 1, Minor: 5, FileMode: &mode, UID: &id, GID: &id},
		{Path: "/dev/sub/other", Type: "u", Major: 1, Minor: 7},
		{Path: "/pipe", Type: "p", FileMode: &mode},
		{Path: "/dev/null", Type: "c", Major: 1, Minor: 3},
	}
	script := "stat -c '%n %F %t:%T %a %u' /dev/mine /dev/sub/other /dev/zero /pipe 2>&1; readlink /dev/ptmx; ls /dev"
	t.Run("root", func(t *testing.T) {
		need(t, os.Geteuid() == 0, "root")
		s := without(testSpec(busyboxRoot(t), "sh", "-c", script), specs.UserNamespace)
		s.Linux.Devices = devices
		out, _, err := runSpec(t, s, Extra{})
		for _, want := range []string{
			"/dev/mine character special file 1:5 640 7\n", "/dev/sub/other character special file 1:7 666 0\n", "/dev/zero character special file 1:5 666 0\n", "/pipe fifo 0:0 640 0\n",
			"pts/ptmx\n", "urandom\n",
		} {
			if err != nil || !strings.Contains(out, want) {
				t.Errorf("%v: the output lacks %q:\n%s", err, want, out)
			}
		}
		if at := mounted(t, s, Extra{}); at["/dev/null"] != "" {
			t.Errorf("a node was bound, not made: %v", at)
		}
	})
	// In a user namespace only the host's can be had, under its own name.
	s := testSpec(busyboxRoot(t), "sh", "-c", "stat -c '%F %t:%T' /dev/full /pipe")
	s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/full", Type: "c", Major: 1, Minor: 7}, {Path: "/pipe", Type: "p"}}
	if out, _, err := runSpec(t, s, Extra{}); err != nil || out != "character special file 1:7\nfifo 0:0\n" {
		t.Errorf("%q, %v", out, err)
	}
	s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/random", Type: "c", Major: 9, Minor: 9}}
	if _, _, err := runSpec(t, s, Extra{}); !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), "/dev/random: another file is there") {
		t.Errorf("another device of the name is there already: %v", err)
	}
	setMount(s, specs.Mount{Destination: "/dev", Type: "tmpfs", Options: []string{"size=64k"}})
	s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/kmsg", Type: "c", Major: 9, Minor: 9}}
	if _, _, err := runSpec(t, s, Extra{}); !errors.Is(err, unix.ENXIO) || !strings.Contains(err.Error(), "/dev/kmsg: bind the host's: it is another device") {
		t.Errorf("another device than the host's of that name: %v", err)
	}
}

// A file at a device's path that is another one is an error, what an earlier
// start has left there is not.
func TestStartDeviceInTheWay(t *testing.T) {
	for name, want := range map[string]error{"empty": nil, "full": unix.EEXIST} {
		root := busyboxRoot(t)
		if err := os.WriteFile(root+"/zero", []byte(map[string]string{"full": "x"}[name]), 0o644); err != nil {
			t.Fatal(err)
		}
		s := testSpec(root, "stat", "-c", "%t:%T", "/dev/zero")
		s.Linux.Devices = []specs.LinuxDevice{{Path: "/zero", Type: "c", Major: 1, Minor: 5}}
		_, _, err := runSpec(t, s, Extra{})
		if name == "empty" && errors.Is(err, unix.ENOENT) {
			err = nil // the host has no /zero to bind: it came that far
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

func TestStartDevIsTheHosts(t *testing.T) {
	bound := testSpec(busyboxRoot(t), "sh", "-c", "ls /dev; ls -l /dev/ptmx")
	bound.Mounts = []specs.Mount{bound.Mounts[0], {Destination: "/dev", Source: t.TempDir(), Options: []string{"rbind"}}}
	if out, _, err := runSpec(t, bound, Extra{}); err != nil || strings.Contains(out, "null") {
		t.Errorf("a bound /dev: %q, %v", out, err)
	}
	// Without any mount there, the image's directory.
	root := busyboxRoot(t)
	if err := os.Symlink("/dev/zero", root+"/dev/ptmx"); err != nil {
		t.Fatal(err)
	}
	bare := testSpec(root, "sh", "-c", "echo x > /dev/null && readlink /dev/ptmx")
	bare.Mounts = bare.Mounts[:1]
	if out, _, err := runSpec(t, bare, Extra{}); err != nil || out != "pts/ptmx\n" {
		t.Errorf("no mount on /dev: %q, %v", out, err)
	}
	// Read-only once its nodes are there.
	ro := testSpec(busyboxRoot(t), "sh", "-c", "test -c /dev/null && echo node; touch /dev/x 2>/dev/null || echo ro")
	setMount(ro, specs.Mount{Destination: "/dev", Type: "tmpfs", Options: []string{"ro", "mode=755"}})
	if out, _, err := runSpec(t, ro, Extra{}); err != nil || out != "node\nro\n" {
		t.Errorf("a read-only /dev: %q, %v", out, err)
	}
}

func TestStartInsideAUserNamespace(t *testing.T) {
	if !elsewhere(t, true) {
		return
	}
	s := without(testSpec(busyboxRoot(t), "sh", "-c", "cat /proc/self/uid_map; test -c /dev/null && echo null; readlink /proc/self/ns/user"), specs.UserNamespace)
	setMount(s, specs.Mount{Destination: "/dev/pts", Type: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}})
	setMount(s, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro"}})
	s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/full", Type: "c", Major: 1, Minor: 7}}
	ns, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := runSpec(t, s, Extra{})
	if err != nil || !strings.Contains(out, "65536\nnull\n"+ns) {
		t.Errorf("%q, %v", out, err)
	}
	at := mounted(t, s, Extra{})
	wantMount(t, at, "/dev/null", "rw")
	wantMount(t, at, "/dev/pts", "gid=5")
	wantMount(t, at, "/sys/fs/cgroup", "ro", "cgroup2")
	// The network is the host's: its sysfs is not ours to mount.
	s = without(s, specs.NetworkNamespace)
	s.Linux.Sysctl = nil
	wantMount(t, mounted(t, s, Extra{}), "/sys", "sysfs", "ro")
}
