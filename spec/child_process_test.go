package spec

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// runMapped is runSpec with a map of the caller's choice.
func runMapped(t *testing.T, s *specs.Spec, x Extra, m userns.Map) (string, error) {
	t.Helper()
	stub, err := userns.OpenStub()
	if err != nil {
		t.Fatal(err)
	}
	defer stub.Close()
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	x.Stub, x.Stdio = stub, [3]*os.File{nil, out, out}
	p, err := start(t, s, x, m)
	if err != nil {
		return "", err
	}
	if _, _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out.Name())
	return string(data), err
}

// wideMap is the map that only root can write; its ids belong to nobody.
func wideMap() userns.Map {
	ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: firstID, Size: 65536}}
	return userns.Map{UIDs: ids, GIDs: ids}
}

// unprivileged runs the calling test again as an ordinary user where this is
// root, and says whether the caller is that one.
func unprivileged(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	dir, err := os.MkdirTemp("", "coracle-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	const uid = 54321
	if err := os.Chown(dir, uid, uid); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "test")
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(bin, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	out.Close()
	name, _, _ := strings.Cut(t.Name(), "/")
	cmd := exec.CommandContext(t.Context(), bin, "-test.v", "-test.run", "^"+name+"$")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	text, err := cmd.CombinedOutput()
	// Go's child changes its user while it still has our memory, which takes our
	// own files under /proc from us.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err != nil || !strings.Contains(string(text), "--- PASS: "+name) {
		t.Errorf("as user %d: %v\n%s", uid, err, text)
	}
	return false
}

func sh(script string) func(root string) *specs.Spec {
	return func(root string) *specs.Spec {
		s := testSpec(root, "sh", "-c", script)
		s.Linux.MaskedPaths = nil
		return s
	}
}

// What each field of process does, as the payload sees it.
func TestProcessFieldsFromInside(t *testing.T) {
	unlimited := ^uint64(0)
	for _, tt := range []struct {
		name   string
		set    func(s *specs.Spec, x *Extra)
		script string
		want   string
	}{
		{"nice", func(s *specs.Spec, _ *Extra) {
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Nice: 7}
		}, `cut -d' ' -f19,41 /proc/self/stat`, "7 0\n"},
		{"batch", func(s *specs.Spec, _ *Extra) {
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 3, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}}
		}, `exec cut -d' ' -f19,41 /proc/self/stat`, "3 3\n"},
		{"idle", func(s *specs.Spec, _ *Extra) {
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedIdle}
		}, `cut -d' ' -f41 /proc/self/stat`, "5\n"},
		{"best effort", func(s *specs.Spec, _ *Extra) {
			s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 6}
		}, `busybox ionice -p $$`, "best-effort: prio 6\n"},
		{"idle I/O", func(s *specs.Spec, _ *Extra) {
			s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_IDLE, Priority: 0}
		}, `busybox ionice -p $$`, "idle\n"},
		{"memory", func(s *specs.Spec, _ *Extra) {
			s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes}}
		}, `grep -m1 -o 'bind[^ ]*' /proc/self/numa_maps`, "bind=static:0\n"},
		{"memory, local", func(s *specs.Spec, _ *Extra) {
			s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolLocal}
		}, `grep -m1 -o ' local ' /proc/self/numa_maps`, " local \n"},
		{"personality", func(s *specs.Spec, _ *Extra) {
			s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
		}, `cat /proc/self/personality; busybox uname -m`, "00000008\ni686\n"},
		{"umask", func(s *specs.Spec, _ *Extra) { s.Process.User.Umask = ptr(uint32(0o27)) }, `umask`, "0027\n"},
		{"no umask", nil, `umask`, "0022\n"},
		{"oom", func(s *specs.Spec, _ *Extra) { s.Process.OOMScoreAdj = ptr(321) }, `cat /proc/self/oom_score_adj`, "321\n"},
		{"keyring", func(_ *specs.Spec, x *Extra) { x.ID = "boat1" }, `grep -o '3f1b.*_ses.boat1' /proc/keys | tr -s ' '`, "3f1b0000 0 0 keyring _ses.boat1\n"},
		{"rlimit", func(s *specs.Spec, _ *Extra) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 77, Hard: 88}, {Type: "RLIMIT_CORE", Soft: 0, Hard: 0}}
		}, `ulimit -Sn; ulimit -Hn; ulimit -c`, "77\n88\n0\n"},
		{"unlimited rlimit", func(s *specs.Spec, _ *Extra) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_CPU", Soft: unlimited, Hard: unlimited}}
		}, `ulimit -t`, "unlimited\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, x := sh(tt.script)(busyboxRoot(t)), Extra{}
			for _, n := range []string{"cut", "tr"} {
				_ = os.Symlink("busybox", s.Root.Path+"/bin/"+n)
			}
			if tt.set != nil {
				tt.set(s, &x)
			}
			if out, _, err := runSpec(t, s, x); err != nil || out != tt.want {
				t.Errorf("%q, %v; want %q", out, err, tt.want)
			}
		})
	}
}

// What the kernel refuses, and what we refuse before it is asked, by the
// field's name.
func TestProcessFieldsRefused(t *testing.T) {
	if !unprivileged(t) {
		return
	}
	for _, tt := range []struct {
		set  func(s *specs.Spec)
		want string
	}{
		{func(s *specs.Spec) {
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedFIFO, Priority: 10}
		}, "process.scheduler: set SCHED_FIFO: operation not permitted"},
		{func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedISO} }, "process.scheduler: set SCHED_ISO: invalid argument"},
		{func(s *specs.Spec) { s.Process.Scheduler = &specs.Scheduler{Policy: "SCHED_FAST"} }, `process.scheduler.policy: "SCHED_FAST" is unknown`},
		{func(s *specs.Spec) {
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Flags: []specs.LinuxSchedulerFlag{"X"}}
		}, `process.scheduler.flags[0]: "X" is unknown`},
		{func(s *specs.Spec) {
			s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_RT}
		}, "process.ioPriority: set IOPRIO_CLASS_RT 0: operation not permitted"},
		{func(s *specs.Spec) {
			s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 8}
		}, "process.ioPriority.priority: 8 is not from 0 to 7"},
		{func(s *specs.Spec) { s.Process.IOPriority = &specs.LinuxIOPriority{Class: "BEST"} }, `process.ioPriority.class: "BEST" is unknown`},
		{func(s *specs.Spec) {
			s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "900"}
		}, "linux.memoryPolicy: set MPOL_BIND: invalid argument"},
		{func(s *specs.Spec) {
			s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "1-"}
		}, `linux.memoryPolicy.nodes: "1-" is not a list`},
		{func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: "BSD"} }, `linux.personality.domain: "BSD" is unknown`},
		{func(s *specs.Spec) { s.Process.OOMScoreAdj = ptr(-1) }, "process.oomScoreAdj: set it to -1: permission denied"},
		{func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1 << 40, Hard: 1 << 40}}
		}, "process.rlimits: set RLIMIT_NOFILE to 1099511627776:1099511627776: operation not permitted"},
		{func(s *specs.Spec) { s.Process.User.UID = 7 }, "process.user.uid: become user 7: invalid argument"},
		{func(s *specs.Spec) { s.Process.User.GID = 7 }, "process.user.gid: become group 7: invalid argument"},
		{func(s *specs.Spec) { s.Process.User.AdditionalGids = []uint32{0} }, "process.user.additionalGids: set the supplementary groups: operation not permitted"},
		{func(s *specs.Spec) { s.Process.ApparmorProfile = "mine" }, `process.apparmorProfile: "mine" cannot be applied: AppArmor is not enabled`},
		{func(s *specs.Spec) { s.Process.SelinuxLabel = "a:b:c:s0" }, `process.selinuxLabel: "a:b:c:s0" cannot be applied: SELinux is not enabled`},
	} {
		t.Run(tt.want, func(t *testing.T) {
			s := testSpec(busyboxRoot(t), "true")
			tt.set(s)
			if _, _, err := runSpec(t, s, Extra{ProcessExtra: ProcessExtra{LSM: &LSM{}}}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	// The present value is no change, and an unconfined profile none either.
	s := testSpec(busyboxRoot(t), "true")
	s.Process.OOMScoreAdj, s.Process.ApparmorProfile = ptr(0), "unconfined"
	if _, _, err := runSpec(t, s, Extra{ProcessExtra: ProcessExtra{LSM: &LSM{}}}); err != nil {
		t.Error(err)
	}
}

// Root of the host may do for the child what a user namespace forbids it, if it
// has the capability itself.
func TestProcessPrivilegedLauncher(t *testing.T) {
	need(t, os.Geteuid() == 0, "root")
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MSGQUEUE, &own); err != nil {
		t.Fatal(err)
	}
	s := sh(`cat /proc/self/oom_score_adj; grep -o 'msgqueue size *[0-9]* *[0-9]*' /proc/self/limits | tr -s ' '`)(busyboxRoot(t))
	_ = os.Symlink("busybox", s.Root.Path+"/bin/tr")
	s.Process.OOMScoreAdj = ptr(-7)
	s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_MSGQUEUE", Soft: own.Max + 1, Hard: own.Max + 2}}
	want := fmt.Sprintf("-7\nmsgqueue size %d %d\n", own.Max+1, own.Max+2)
	held, err := heldCaps(false)
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := runSpec(t, s, Extra{})
	if held.permitted&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		if err == nil || !strings.Contains(err.Error(), "process.oomScoreAdj: set it to -7") {
			t.Errorf("without CAP_SYS_RESOURCE: %q, %v", out, err)
		}
	} else if err != nil || out != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
}

func TestProcessGroups(t *testing.T) {
	need(t, os.Geteuid() == 0, "root, to write an id map of 65536 ids")
	root := busyboxRoot(t)
	for d := root; d != "/"; d = filepath.Dir(d) {
		if st, err := os.Stat(d); err == nil && st.Mode()&0o001 == 0 {
			if err := os.Chmod(d, st.Mode()|0o055); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := sh(`id`)(root)
	s.Process.User = specs.User{UID: 1000, GID: 2000, AdditionalGids: []uint32{3000, 4000}}
	if out, err := runMapped(t, s, Extra{}, wideMap()); err != nil || out != "uid=1000 gid=2000 groups=2000,3000,4000\n" && out != "uid=1000 gid=2000 groups=3000,4000\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestGrantable(t *testing.T) {
	all := []string{"CAP_CHOWN", "CAP_KILL", "CAP_CHECKPOINT_RESTORE", "CAP_FUTURE"}
	want := &specs.LinuxCapabilities{Bounding: all, Permitted: all, Effective: all, Inheritable: all, Ambient: all}
	chown, kill, restore := uint64(1), uint64(1<<5), uint64(1<<40)
	for _, tt := range []struct {
		name string
		held capSets
		last int
		bits uint64
		left string
	}{
		{"a namespace of its own", capSets{bounding: allCaps, permitted: allCaps}, lastCap, chown | kill | restore, "CAP_FUTURE"},
		{"an older kernel", capSets{bounding: allCaps, permitted: allCaps}, 39, chown | kill, "CAP_CHECKPOINT_RESTORE CAP_FUTURE"},
		{"root of a container", capSets{bounding: chown, permitted: chown | kill}, lastCap, 0, "CAP_CHECKPOINT_RESTORE CAP_FUTURE CAP_KILL"},
	} {
		got, left := grantable(want, tt.held, tt.last)
		w := capSets{tt.bits, tt.bits, tt.bits, tt.bits, tt.bits}
		if tt.bits == 0 {
			w = capSets{bounding: chown, permitted: chown | kill, effective: chown | kill, inheritable: chown, ambient: chown}
		}
		if got != w || strings.Join(left, " ") != tt.left {
			t.Errorf("%s: %+v, left %v; want %+v, %q", tt.name, got, left, w, tt.left)
		}
	}
	if got, left := grantable(nil, capSets{bounding: allCaps, permitted: allCaps}, lastCap); got != (capSets{}) || left != nil {
		t.Errorf("nothing asked for: %+v, %v", got, left)
	}
}

// All five sets, for root and for a user, as the payload has them.
func TestProcessCapabilities(t *testing.T) {
	need(t, os.Geteuid() == 0, "root, to write an id map of 65536 ids")
	root := busyboxRoot(t)
	for d := root; d != "/"; d = filepath.Dir(d) {
		_ = os.Chmod(d, 0o755)
	}
	_ = os.Chmod("/tmp", 0o777|os.ModeSticky)
	caps := func(names ...string) []string { return names }
	for _, uid := range []uint32{0, 1000} {
		s := sh(`grep Cap /proc/self/status | tr -d '\n\t'`)(root)
		_ = os.Symlink("busybox", root+"/bin/tr")
		s.Process.User.UID = uid
		s.Process.Capabilities = &specs.LinuxCapabilities{
			Bounding: caps("CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_FUTURE"), Permitted: caps("CAP_CHOWN", "CAP_KILL"), Effective: caps("CAP_CHOWN"),
			Inheritable: caps("CAP_CHOWN", "CAP_KILL"), Ambient: caps("CAP_KILL", "CAP_FUTURE"),
		}
		// Root gets what the bounding and the inheritable set allow, a user what
		// is ambient.
		want := "CapInh:0000000000000021CapPrm:0000000000000020CapEff:0000000000000020CapBnd:0000000000002021CapAmb:0000000000000020"
		if uid == 0 {
			want = "CapInh:0000000000000021CapPrm:0000000000002021CapEff:0000000000002021CapBnd:0000000000002021CapAmb:0000000000000020"
		}
		if out, err := runMapped(t, s, Extra{}, wideMap()); err != nil || out != want {
			t.Errorf("user %d: %q, %v\nwant %q", uid, out, err, want)
		}
	}
}

func TestBitList(t *testing.T) {
	for _, tt := range []struct {
		list string
		want string
	}{
		{"0", "0100000000000000"}, {"0-3,7", "8f00000000000000"}, {"64", "00000000000000000100000000000000"}, {" 1, 2", "0600000000000000"},
		{"", ""}, {"a", ""}, {"3-1", ""}, {"-1", ""}, {"1-2-3", ""}, {"128", ""}, {"0-4294967295", ""}, {",", ""},
	} {
		got, err := bitList(tt.list, 128)
		if fmt.Sprintf("%x", got) != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("bitList(%q) = %x, %v; want %s", tt.list, got, err, tt.want)
		}
	}
}

// A label of a module that is there becomes steps, in the order that counts.
func TestLabelSteps(t *testing.T) {
	s := testSpec("/r", "true")
	s.Process.ApparmorProfile, s.Process.SelinuxLabel, s.Linux.MountLabel = "mine", "a:b:c:s0", "a:o:f:s0"
	x := Extra{ProcessExtra: ProcessExtra{ID: "x", LSM: &LSM{AppArmor: true, SELinux: true}}}
	x.Stub = os.Stdin
	p, _, err := Compile(s, &x)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(p.Labels(), "\n")
	at := -1
	for _, want := range []string{
		"look at /proc: it is no procfs", "become group 0", "pivot_root", "process.selinuxLabel: label the keyring", "join the session keyring _ses.x",
		"process.selinuxLabel: label further keys as usual", "process.apparmorProfile: apply mine", "linux.mountLabel: label the exec stub",
		"process.selinuxLabel: apply a:b:c:s0", "process.user.uid: become user 0", "exec true",
	} {
		i := strings.Index(text, want)
		if i <= at {
			t.Errorf("%q is at %d, after %d", want, i, at)
		}
		at = i
	}
}
