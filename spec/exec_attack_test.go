package spec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// bareExec joins a container as Exec does and executes a command there, but
// without hiding and without the stub: what the attacks below are held against.
// Before its exec it waits until what is asked for has come about.
func bareExec(t *testing.T, c *Container, until func() bool, args ...string) string {
	t.Helper()
	first, err := c.firstProcess()
	if err != nil {
		t.Fatal(err)
	}
	defer first.pidfd.Close()
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var p userns.Program
	first.setns(&p)
	p.Fork("fork")
	p.AwaitLauncher()
	p.Call("output", unix.SYS_DUP3, out.Fd(), 1, 0)
	p.Call("errors", unix.SYS_DUP3, out.Fd(), 2, 0)
	p.Call("exec", unix.SYS_EXECVE, args[0], p.Strings(args), p.Strings([]string{"PATH=/bin"}))
	child, err := userns.Start(&p, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	if err := errors.Join(child.Release(), child.AwaitFork()); err != nil {
		t.Fatal(err)
	}
	patiently(until)
	if err := errors.Join(child.Release(), child.WaitExec()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// patiently waits until done says so, for a while.
func patiently(done func() bool) {
	for n := 0; n < 500 && !done(); n++ {
		time.Sleep(20 * time.Millisecond)
	}
}

func atOnce() bool { return true }

// grows says when a file has two lines more than now.
func grows(path string) func() bool {
	lines := func() int { data, _ := os.ReadFile(path); return strings.Count(string(data), "\n") }
	n := lines()
	return func() bool { return lines() > n+1 }
}

// CVE-2019-5736, the first way: a command of the image that is a link to, or a
// script run by, /proc/self/exe. The launcher here is this test.
func TestExecReentry(t *testing.T) {
	c := running(t, nil)
	if err := os.Symlink("/proc/self/exe", c.Rootfs+"/bin/evil"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.Rootfs+"/bin/script", []byte("#!/proc/self/exe -test.list=TestExecReentry\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"/bin/evil", "-test.list=TestExecReentry"}, {"/bin/script"}, {"/proc/self/exe", "-test.list=TestExecReentry"}} {
		if out := bareExec(t, c, atOnce, args...); args[0] != "/bin/script" && !strings.Contains(out, "TestExecReentry") {
			t.Errorf("%s does not get into a launcher without defence: %q", args[0], out)
		}
		out, code, err := execIn(t, c, &specs.Process{Args: args, Env: []string{"PATH=/bin"}, Cwd: "/"}, ExecOptions{})
		if err != nil || code != 126 || out != "" {
			t.Errorf("%s: exit %d, %q, %v; want 126 and nothing", args[0], code, out, err)
		}
	}
}

// The second way: a process of the container that opens what a newcomer runs,
// to write over it later. It may do everything in the container, and the
// newcomer is held at each of its last steps.
func TestExecHidesFromTheContainer(t *testing.T) {
	root := ""
	held := 0
	a := &agent{path: filepath.Join(t.TempDir(), "agent"), hold: func(call uintptr) {
		if held++; held <= 4 {
			patiently(grows(root + "/tmp/seen"))
		}
	}}
	all := strings.Fields("CAP_" + strings.ReplaceAll(capNames, " ", " CAP_"))
	c := running(t, func(s *specs.Spec, o *CreateOptions) {
		root = s.Root.Path
		s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
		s.Process.Args = []string{"sh", "-c", `while :; do for p in /proc/[0-9]*; do
			test $p = /proc/1 || echo "$(readlink $p/exe) $(stat -L -c %i $p/exe 2>&1) $(cat $p/comm)" >>/tmp/seen; done; busybox usleep 20000; done`}
	})
	seen := func() string { data, _ := os.ReadFile(root + "/tmp/seen"); return string(data) }
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	ours := func() string {
		out := ""
		for line := range strings.Lines(seen()) {
			if strings.Contains(line, filepath.Base(exe)+" ") || strings.HasPrefix(line, exe) {
				out += line
			}
		}
		return out
	}
	inode := fmt.Sprintf(" %d ", inodeOf(t, exe))
	if bareExec(t, c, func() bool { return strings.Contains(seen(), inode) }, "/bin/true"); !strings.Contains(seen(), inode) {
		t.Errorf("without defence the container does not see our program; it saw:\n%s", ours())
	}
	if err := os.Remove(root + "/tmp/seen"); err != nil {
		t.Fatal(err)
	}
	// The same container, with a filter for the newcomer only.
	a.listen(t)
	s, err := c.Spec()
	if err != nil {
		t.Fatal(err)
	}
	s.Linux.Seccomp = notifyProfile(a.path, specs.ActAllow, "setresuid", "execve", "execveat")
	rewrite(t, c, s)
	if _, _, err := execIn(t, c, shell("busybox usleep 100000"), ExecOptions{}); err != nil {
		t.Fatal(err)
	}
	got := seen()
	if strings.Contains(got, inode) || !strings.Contains(got, filepath.Base(exe)[:min(15, len(filepath.Base(exe)))]) {
		t.Errorf("the container saw our program's file, or did not see our process:\n%s", got)
	}
}

func inodeOf(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// rewrite changes the configuration that a container is remembered with.
func rewrite(t *testing.T, c *Container, s *specs.Spec) {
	t.Helper()
	data, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(filepath.Join(c.dir(), configFile), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A process of the container cannot trace or end up with a handle of what
// joins it, nor of the caller's files: nothing but the standard streams is open
// in the stub, either.
func TestExecLeavesNothingOpen(t *testing.T) {
	root, held := "", 0
	a := &agent{path: filepath.Join(t.TempDir(), "agent"), hold: func(uintptr) {
		if held++; held == 1 {
			patiently(grows(root + "/tmp/seen"))
		}
	}}
	a.listen(t)
	all := strings.Fields("CAP_" + strings.ReplaceAll(capNames, " ", " CAP_"))
	c := running(t, func(s *specs.Spec, o *CreateOptions) {
		root = s.Root.Path
		s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
		s.Process.Args = []string{"sh", "-c", `while :; do for p in /proc/[0-9]*; do
			grep -q '^.coracle:' $p/cmdline && for f in $p/fd/*; do readlink $f >>/tmp/seen; done; done; busybox usleep 20000; done`}
	})
	s, err := c.Spec()
	if err != nil {
		t.Fatal(err)
	}
	s.Linux.Seccomp = notifyProfile(a.path, specs.ActAllow, "execve")
	rewrite(t, c, s)
	pr, err := c.Exec(context.Background(), shell("true"), ExecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := pr.Wait(); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(c.Rootfs + "/tmp/seen")
	if len(data) == 0 {
		t.Fatal("the container did not see the stub")
	}
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "pipe:") && !strings.HasPrefix(line, "/dev/") && !strings.HasPrefix(line, "socket:") && !strings.HasPrefix(line, "/memfd:coracle-stub") {
			t.Errorf("open in the stub: %s", line)
		}
	}
}
