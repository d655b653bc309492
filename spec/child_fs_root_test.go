package spec

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// carryOut runs steps as root of new user and mount namespaces, with c.root a
// clone of dir, and returns what failed.
func carryOut(t *testing.T, dir string, steps func(c *child)) error {
	t.Helper()
	stub, err := userns.OpenStub()
	if err != nil {
		t.Fatal(err)
	}
	defer stub.Close()
	c := &child{p: &userns.Program{}, s: testSpec(dir), x: &Extra{}, ns: &namespaces{}, userns: true}
	c.root, c.target, c.mount, c.dir, c.tmp = c.p.NewReg(), c.p.NewReg(), c.p.NewReg(), c.p.NewReg(), c.p.NewReg()
	if c.x.lacks = probeKernel(); c.x.lacks.any() {
		if err := c.x.numbers(8); err != nil {
			t.Fatal(err)
		}
	}
	c.hostProc()
	c.openCarrier()
	c.p.Call("become user 0", unix.SYS_SETRESUID, 0, 0, 0)
	c.p.Call("make all mounts private", unix.SYS_MOUNT, 0, "/", 0, uintptr(unix.MS_REC|unix.MS_PRIVATE), 0)
	c.openStage()
	c.openTree("bind the root", atFDCWD, dir, true)
	c.placeRoot("bind the root", dir)
	c.startWalker()
	steps(c)
	x := userns.Exec{Candidates: []string{"/bin/true"}, Args: []string{"true"}, FirstFD: 3}
	c.p.ExecStub(c.p.PrepareStub(stub, x), x)
	if c.err != nil {
		t.Fatal(c.err)
	}
	p, err := userns.Start(c.p, unix.CLONE_NEWUSER|unix.CLONE_NEWNS)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := errors.Join(userns.WriteMap(t.Context(), p.PID, singleMap()), p.Release()); err != nil {
		t.Fatal(err)
	}
	failed := p.WaitExec()
	if _, _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	return failed
}

// A path that leads elsewhere once something is mounted where it led before is
// noticed.
func TestCoverNoticesAnotherPath(t *testing.T) {
	root := busyboxRoot(t)
	replaceByLink(t, root+"/to", "etc")
	cover := func(swap bool) func(c *child) {
		return func(c *child) {
			c.inRoot("find it", "to", unix.O_PATH, 0, c.target)
			if swap { // what a process that shares the directory could do just now
				c.p.Call("", unix.SYS_UNLINKAT, c.root, "to", 0)
				c.p.Call("", unix.SYS_SYMLINKAT, "tmp", c.root, "to")
			}
			c.openTree("clone it", c.target, "", true)
			c.cover("cover it", "/to")
			c.endWalker()
		}
	}
	if err := carryOut(t, root, cover(false)); err != nil {
		t.Errorf("nobody swaps: %v", err)
	}
	err := carryOut(t, root, cover(true))
	if !errors.Is(err, unix.EXDEV) || !strings.Contains(err.Error(), "cover it: look at it again: something else is there now") {
		t.Errorf("a swapped link: %v", err)
	}
}

func TestCheckRootNoticesTheOldRoot(t *testing.T) {
	pivot := func(detach bool) func(c *child) {
		return func(c *child) {
			c.endWalker()
			c.closeStage()
			c.p.Call("enter the root", unix.SYS_FCHDIR, c.root)
			c.p.Call("pivot_root", unix.SYS_PIVOT_ROOT, ".", ".")
			if detach {
				c.p.Call("detach the old root", unix.SYS_UMOUNT2, ".", unix.MNT_DETACH)
			}
			c.p.Call("enter the root", unix.SYS_CHDIR, "/")
			c.checkRoot()
		}
	}
	// Without its /bin/true neither comes further than the exec.
	var exec *userns.ExecError
	if err := carryOut(t, t.TempDir(), pivot(true)); !errors.As(err, &exec) {
		t.Errorf("detached: %v", err)
	}
	if err := carryOut(t, t.TempDir(), pivot(false)); !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "remains of the old root") {
		t.Errorf("not detached: %v", err)
	}
}

func TestStartLeavesNothingOfTheOldRoot(t *testing.T) {
	s := testSpec(busyboxRoot(t))
	for point := range mounted(t, s, Extra{}) {
		if point != "/" && !strings.HasPrefix(point, "/proc") && !strings.HasPrefix(point, "/sys") && !strings.HasPrefix(point, "/dev") {
			t.Errorf("%s is still mounted", point)
		}
	}
}

// The host's /dev/null must be one before it hides anything.
func TestStartMasksWithTheRealNull(t *testing.T) {
	if !elsewhere(t, false) {
		return
	}
	if err := unix.Mount("/dev/zero", "/dev/null", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount("/dev/null", unix.MNT_DETACH) }()
	s := testSpec(busyboxRoot(t), "true")
	s.Mounts = s.Mounts[:1] // no /dev, whose null would be missed first
	setMount(s, specs.Mount{Destination: "/dev", Source: t.TempDir(), Options: []string{"bind"}})
	if _, _, err := runSpec(t, s, Extra{}); !errors.Is(err, unix.ENXIO) || !strings.Contains(err.Error(), "look at /dev/null: it is another file") {
		t.Errorf("got %v", err)
	}
}

// An image's /dev/null, which runc once bound over what was to be masked
// (CVE-2025-31133), is not the one that masks.
func TestStartMasksWithoutTheImage(t *testing.T) {
	root := busyboxRoot(t)
	replaceByLink(t, root+"/dev/null", "/proc/sys/kernel/core_pattern")
	s := testSpec(root, "sh", "-c", "stat -c '%t:%T' /proc/keys; grep -c core_pattern /proc/self/mountinfo")
	s.Mounts = s.Mounts[:1]
	if out, _, err := runSpec(t, s, Extra{}); err != nil || out != "1:3\n0\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// What the container mounts below a shared volume is seen outside only where
// linux.rootfsPropagation says so, what the host mounts below a slave inside.
func TestStartPropagation(t *testing.T) {
	if !elsewhere(t, false) {
		return
	}
	src := t.TempDir()
	mountTmpfs(t, src, 0)
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil { // as on a host with systemd
		t.Fatal(err)
	}
	defer func() { _ = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }()
	for _, tt := range []struct {
		root, volume string
		user         bool
		out, in      bool
	}{
		{"", "rprivate", false, false, false},
		{"", "rslave", false, false, true},
		{"", "rshared", false, false, true},
		{"slave", "rslave", true, false, true},
		{"shared", "rshared", true, false, true},
		{"shared", "rshared", false, true, true},
		{"shared", "rprivate", false, false, false},
		{"rshared", "", false, false, false},
		{"unbindable", "", false, false, false},
	} {
		name := tt.root + "+" + tt.volume
		before := pointsNow(t)
		s := testSpec(busyboxRoot(t), "sh", "-c", `mount -t tmpfs in /v/a && touch /v/a/there && touch /v/ready
			for i in 1 2 3 4 5 6 7 8 9 10; do test -e /v/go && break; sleep 0.1; done
			test -e /v/b/there && echo seen; umount /v/a; true`)
		caps := []string{"CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"}
		s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
		if !tt.user {
			without(s, specs.UserNamespace)
		}
		s.Linux.RootfsPropagation = tt.root
		options := []string{"rbind"}
		if tt.volume != "" {
			options = append(options, tt.volume)
		}
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/v", Source: src, Options: options})
		for _, d := range []string{"a", "b"} {
			if err := os.MkdirAll(filepath.Join(src, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		host := make(chan bool)
		go func() {
			for range 50 {
				if _, err := os.Stat(src + "/ready"); err == nil {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			_, err := os.Stat(src + "/a/there")
			_ = unix.Mount("tmpfs", src+"/b", "tmpfs", 0, "")
			_ = os.WriteFile(src+"/b/there", nil, 0o644)
			_ = os.WriteFile(src+"/go", nil, 0o644)
			host <- err == nil
		}()
		out, _, err := runSpec(t, s, Extra{})
		seen := <-host
		_ = unix.Unmount(src+"/b", unix.MNT_DETACH)
		_ = os.Remove(src + "/go")
		_ = os.Remove(src + "/ready")
		if err != nil || seen != tt.out || (out == "seen\n") != tt.in {
			t.Errorf("%s, user namespace %v: %v: seen outside %v, inside %q", name, tt.user, err, seen, out)
		}
		if after := pointsNow(t); after != before {
			t.Fatalf("%s: the host's mounts have changed:\n%s\nnow:\n%s", name, before, after)
		}
	}
}

func pointsNow(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var points []string
	for line := range strings.Lines(string(data)) {
		// Those of scripts that run beside this go when their directories go.
		if point := strings.Fields(line)[4]; !strings.Contains(point, "/coracle-e2e-") {
			points = append(points, point)
		}
	}
	return strings.Join(points, "\n")
}

func TestStartRootPropagation(t *testing.T) {
	for how, want := range map[string]string{"": "!shared:1", "private": "!shared:1", "shared": "shared:", "rshared": "shared:", "unbindable": "unbindable", "runbindable": "unbindable"} {
		s := testSpec(busyboxRoot(t))
		s.Linux.RootfsPropagation = how
		at := mounted(t, s, Extra{})
		if word, not := strings.CutPrefix(want, "!"); strings.Contains(at["/"], strings.TrimSuffix(word, "1")) == not {
			t.Errorf("%q: / is %q", how, at["/"])
		}
		if r := strings.HasPrefix(how, "r"); how == "rshared" && strings.Contains(at["/dev"], "shared:") != r {
			t.Errorf("%q: /dev is %q", how, at["/dev"])
		}
	}
}

func TestStartWithoutPivot(t *testing.T) {
	s := testSpec(busyboxRoot(t), "true")
	if _, _, err := runSpec(t, s, Extra{NoPivot: true}); err == nil || !strings.Contains(err.Error(), "--no-pivot: a user namespace cannot") {
		t.Errorf("in a user namespace: %v", err)
	}
	need(t, os.Geteuid() == 0, "root")
	root := busyboxRoot(t)
	if err := os.WriteFile(root+"/mine", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	before := pointsNow(t)
	s = without(testSpec(root, "sh", "-c", "ls /mine /../mine; cat /proc/self/mountinfo"), specs.UserNamespace)
	s.Root.Readonly = true
	out, code, err := runSpec(t, s, Extra{NoPivot: true})
	if err != nil || code != 0 || !strings.HasPrefix(out, "/../mine\n/mine\n") {
		t.Errorf("%q, %d, %v", out, code, err)
	}
	for _, host := range []string{"/usr", "/home", "/run", "/var"} {
		if strings.Contains(out, " "+host+" ") {
			t.Errorf("%s of the host is within reach:\n%s", host, out)
		}
	}
	if after := pointsNow(t); after != before {
		t.Errorf("the host's mounts have changed:\n%s\nnow:\n%s", before, after)
	}
}
