package spec

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestCanCheckpoint(t *testing.T) {
	own := []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}}
	with := func(n ...specs.LinuxNamespace) []specs.LinuxNamespace { return append(own[:2:2], n...) }
	for _, tt := range []struct {
		name, want string
		ns         []specs.LinuxNamespace
	}{
		{"plain", "", own},
		{"no pid namespace", "", own[1:]},
		{"no mount namespace", "linux.namespaces:", own[:1]},
		{"of its own", "", with(specs.LinuxNamespace{Type: specs.UserNamespace}, specs.LinuxNamespace{Type: specs.CgroupNamespace}, specs.LinuxNamespace{Type: specs.TimeNamespace})},
		{"joined", "", with(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: "/x"}, specs.LinuxNamespace{Type: specs.IPCNamespace, Path: "/x"})},
		{"joined user", "linux.namespaces[2].path:", with(specs.LinuxNamespace{Type: specs.UserNamespace, Path: "/x"})},
		{"joined time", "linux.namespaces[3].path:", with(specs.LinuxNamespace{Type: specs.UTSNamespace}, specs.LinuxNamespace{Type: specs.TimeNamespace, Path: "/x"})},
	} {
		err := canCheckpoint(&specs.Spec{Linux: &specs.Linux{Namespaces: tt.ns}})
		if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v, want a refusal of %q", tt.name, err, tt.want)
		}
	}
}

func TestTellingLines(t *testing.T) {
	for log, want := range map[string]string{
		"":                "",
		"a\nb\nc\nd\ne\n": "b; c; d; e",
		"a\n(0.1) Error (x.c:1): no\nb\nError: e":                                                             "(0.1) Error (x.c:1): no",
		"Error (a:1): 1\nError (a:2): 2\nError (a:3): 3\nError (a:4): 4\nError (a:5): FAILED\nand so it ends": "Error (a:2): 2; Error (a:3): 3; Error (a:4): 4; Error (a:5): FAILED",
	} {
		if got := tellingLines(log); got != want {
			t.Errorf("%q: %q, want %q", log, got, want)
		}
	}
}

func TestOtherThanLoopback(t *testing.T) {
	const head = "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop\n"
	for _, tt := range []struct {
		dev  string
		want bool
	}{{"", false}, {head, false}, {head + "    lo: 0 0\n", false}, {head + "    lo: 0 0\n  eth0: 0 0\n", true}} {
		if got := otherThanLoopback(tt.dev); got != tt.want {
			t.Errorf("%q: %v", tt.dev, got)
		}
	}
}

func TestPageServer(t *testing.T) {
	for _, at := range []string{"x", ":1", "a:", "a:0", "a:70000", "a:b", "::1:80"} {
		if _, err := pageServer(at); err == nil || !strings.Contains(err.Error(), at) {
			t.Errorf("%s: %v", at, err)
		}
	}
	ps, err := pageServer("[::1]:27277")
	if err != nil || ps.GetAddress() != "::1" || ps.GetPort() != 27277 {
		t.Errorf("%v, %v", ps, err)
	}
	if ps, err := pageServer(""); ps != nil || err != nil {
		t.Errorf("none: %v, %v", ps, err)
	}
}

func TestCgroupMode(t *testing.T) {
	plain := &specs.Spec{Linux: &specs.Linux{}}
	own := &specs.Spec{Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.CgroupNamespace}}}}
	for _, tt := range []struct {
		s       *specs.Spec
		name    string
		unified bool
		want    rpc.CriuCgMode
		refused bool
	}{
		{plain, "", true, rpc.CriuCgMode_SOFT, false},
		{plain, "", false, rpc.CriuCgMode_IGNORE, false},
		{own, "", false, rpc.CriuCgMode_SOFT, false},
		{plain, "ignore", true, rpc.CriuCgMode_IGNORE, false},
		{own, "ignore", true, 0, true},
		{own, "strict", true, rpc.CriuCgMode_STRICT, false},
		{plain, "full", false, rpc.CriuCgMode_FULL, false},
		{plain, "none", true, 0, true},
	} {
		got, err := cgroupMode(tt.s, tt.name, tt.unified)
		if got != tt.want || (err != nil) != tt.refused {
			t.Errorf("%q, unified %v: %v, %v", tt.name, tt.unified, got, err)
		}
	}
}

func outsideOf(s *specs.Spec) []outside {
	return outsideMounts(s, "/bundle", "/sys/fs/cgroup/box", func(p string) string {
		return strings.Replace(filepath.Clean(p), "/var/run/", "/run/", 1)
	})
}

var checkpointMounts = &specs.Spec{
	Mounts: []specs.Mount{
		{Destination: "/proc", Type: "proc"}, {Destination: "/dev", Type: "tmpfs"}, {Destination: "/sys", Type: "sysfs"},
		{Destination: "/sys/fs/cgroup", Type: "cgroup"},
		{Destination: "/var/run/data/", Type: "bind", Source: "data", Options: []string{"rbind"}},
		{Destination: "/one", Source: "/srv", Options: []string{"bind", "ro"}},
	},
	Linux: &specs.Linux{MaskedPaths: []string{"/proc/kcore", "/proc/acpi"}, Devices: []specs.LinuxDevice{{Path: "/dev/fuse"}}},
}

// What the container has of the host's is external, and nothing of its own is:
// neither its file systems nor what it has bound itself.
func TestExternalPlaces(t *testing.T) {
	host := parseMounts("1 0 8:1 / / rw - ext4 a rw\n2 1 0:5 / /dev rw - devtmpfs d rw\n3 1 0:6 / /sys rw - sysfs s rw\n" +
		"4 3 0:7 / /sys/fs/cgroup rw - cgroup2 c rw\n5 1 8:2 / /bundle/data/dee\\040p rw - ext4 b rw\n")
	box := parseMounts("10 9 8:1 /bundle/rootfs / rw - ext4 a rw\n11 10 0:30 / /proc rw - proc p rw\n12 11 0:5 /null /proc/kcore rw - devtmpfs d rw\n" +
		"13 11 0:31 / /proc/acpi ro - tmpfs t ro\n14 10 0:32 / /dev rw - tmpfs t rw\n15 14 0:5 /null /dev/null rw - devtmpfs d rw\n" +
		"16 10 0:33 / /sys ro - sysfs s rw\n17 16 0:7 /box /sys/fs/cgroup ro - cgroup2 c rw\n18 10 8:1 /bundle/data /run/data rw - ext4 a rw\n" +
		"19 18 8:2 / /run/data/dee\\040p rw - ext4 b rw\n20 10 8:1 /srv /one ro - ext4 a rw\n21 20 8:1 /home /one/more rw - ext4 a rw\n" +
		"22 18 0:34 / /run/data/own rw - tmpfs t rw\n23 10 8:1 /bundle/rootfs/usr /mnt rw - ext4 a rw\n")
	want := []string{"/proc/kcore", "/dev/null", "/sys/fs/cgroup", "/run/data", "/run/data/dee p", "/one"}
	if got := externalPlaces(outsideOf(checkpointMounts), box, host); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestRestoredMounts(t *testing.T) {
	host := parseMounts("1 0 8:1 / / rw - ext4 a rw\n5 1 8:2 / /bundle/data/dee\\040p rw - ext4 b rw\n6 1 8:3 / /srv/below rw - ext4 c rw\n")
	got := map[string]string{}
	for _, m := range restoredMounts(outsideOf(checkpointMounts), host) {
		got[m.GetKey()] = m.GetVal()
	}
	for place, source := range map[string]string{
		"/run/data": "/bundle/data", "/run/data/dee p": "/bundle/data/dee p", "/one": "/srv", "/one/below": "",
		"/sys": "/sys", "/sys/fs/cgroup": "/sys/fs/cgroup/box", "/dev": "", "/dev/null": "/dev/null", "/dev/fuse": "/dev/fuse", "/proc/kcore": "/dev/null",
	} {
		if got[place] != source {
			t.Errorf("%s: from %q, want %q", place, got[place], source)
		}
	}
}

// What a root lacks is made in it, and in what is bound there, never outside.
func TestMountPlaces(t *testing.T) {
	root, data, secret := t.TempDir(), t.TempDir(), t.TempDir()
	if err := errors.Join(os.Mkdir(root+"/a", 0o755), os.Symlink(secret, root+"/out"), os.Symlink("/a", root+"/in")); err != nil {
		t.Fatal(err)
	}
	m := &making{s: &specs.Spec{Linux: &specs.Linux{}, Mounts: []specs.Mount{
		{Destination: "/mem", Type: "tmpfs"}, {Destination: "/mem/below", Type: "tmpfs"}, {Destination: "/in/b/c", Type: "tmpfs"},
		{Destination: "/data", Type: "bind", Source: data}, {Destination: "/data/sub/file", Type: "bind", Source: "/dev/null"},
		{Destination: "/out/x", Type: "tmpfs"},
	}}, c: &Container{record: record{Rootfs: root}}}
	if err := m.mountPlaces(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{root + "/mem": true, root + "/mem/below": false, root + "/a/b/c": true, root + "/data": true,
		root + "/data/sub": false, data + "/sub/file": true, secret + "/x": false, root + secret + "/x": true} {
		if _, err := os.Lstat(name); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", name, err, want)
		}
	}
	if st, err := os.Stat(data + "/sub/file"); err != nil || !st.Mode().IsRegular() {
		t.Errorf("the place of a bound file is %v, %v", st, err)
	}
}

// fakeCRIU is a program in CRIU's place.
func fakeCRIU(t *testing.T, script string) *dump {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/criu", []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	d, err := openDump(CheckpointOptions{ImagePath: dir + "/images", WorkPath: dir + "/work"}, "dump.log", true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return d
}

// A CRIU that fails, or does nothing any more, is told by what it said.
func TestCRIUFails(t *testing.T) {
	stopped, stop := context.WithCancelCause(t.Context())
	stop(errors.New("interrupt"))
	const log = `echo "(0.1) Error (a.c:1): too bad" >"$(dirname "$0")/work/dump.log"`
	for _, tt := range []struct {
		name, script string
		ctx          context.Context
		want         []string
	}{
		{"does not start", "echo no such library >&2; exit 1", t.Context(), []string{"it ended early: exit status 1: no such library", "left no log"}},
		{"fails", log + "; exit 3", t.Context(), []string{"exit status 3", "too bad", "dump.log"}},
		{"hangs", log + "; exec sleep 1000 >/dev/null 2>&1", t.Context(), []string{"it hung", "too bad"}},
		{"is stopped", log + "; exec sleep 1000 >/dev/null 2>&1", stopped, []string{"it was stopped: interrupt"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := fakeCRIU(t, tt.script)
			talk := d.talk(nil)
			talk.patience, talk.grace = 500*time.Millisecond, time.Millisecond
			_, err := talk.run(tt.ctx, &rpc.CriuReq{Type: asked(rpc.CriuReqType_VERSION)})
			err = d.explain(err)
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v; want %q in it", err, want)
				}
			}
		})
	}
}

// Callers' search paths often end before administrators' programs.
func TestFindProgram(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/criu", nil, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	if got, err := findProgram("criu", "/none:"+dir); got != dir+"/criu" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := findProgram("criu", "/none"); !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("%q, %v", got, err)
	}
}

// A checkpoint that did not come about leaves what was there, and its log.
func TestDiscard(t *testing.T) {
	d := fakeCRIU(t, "exit 1")
	images := d.images.Name()
	d.before = []string{"old.img"}
	for _, name := range []string{"old.img", "new.img", stdioFile, "dump.log", "mine"} {
		if err := os.WriteFile(filepath.Join(images, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d.discard()
	var left []string
	entries, err := os.ReadDir(images)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if err != nil || !slices.Equal(left, []string{"dump.log", "mine", "old.img"}) {
		t.Errorf("%q, %v", left, err)
	}
}

func TestCheckParent(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(dir+"/images", 0o755), os.Mkdir(dir+"/pre", 0o755)); err != nil {
		t.Fatal(err)
	}
	for parent, ok := range map[string]bool{"": true, "../pre": true, "../none": false, dir + "/pre": false} {
		if err := checkParent(CheckpointOptions{ImagePath: dir + "/images", ParentPath: parent}); (err == nil) != ok {
			t.Errorf("%q: %v", parent, err)
		}
	}
}

// A restore that is killed leaves the root mounted in the state directory: it
// is not deleted with it.
func TestDeleteAfterKilledRestore(t *testing.T) {
	need(t, HostRoot(), "root, to mount")
	root := t.TempDir()
	if err := os.WriteFile(root+"/precious", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r := &Runtime{Root: t.TempDir()}
	lock, err := r.claim("box")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mountRoot(root, filepath.Join(r.dir("box"), rootMount), false); err != nil {
		t.Fatal(err)
	}
	lock.Close()
	if err := r.Delete(t.Context(), "box", true); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(root + "/precious"); err != nil {
		t.Errorf("the root's files: %v", err)
	}
	if _, err := os.Stat(r.dir("box")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state: %v", err)
	}
}
