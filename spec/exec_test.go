package spec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// running is a container that sleeps.
func running(t *testing.T, change func(s *specs.Spec, o *CreateOptions), more ...func(*Runtime)) *Container {
	t.Helper()
	r, root := testRuntime(t)
	for _, f := range more {
		f(r)
	}
	o, _ := boxOf(t, root, "sleep", "1000")
	for _, n := range []string{"tr", "cut", "wc", "mkdir", "sort", "kill"} {
		_ = os.Symlink("busybox", root+"/bin/"+n)
	}
	if change != nil {
		change(o.Config, &o)
	}
	ctx := context.Background()
	id := fmt.Sprintf("box%d", time.Now().UnixNano()) // keyrings outlive their containers a little
	if _, _, err := r.Create(ctx, id, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Delete(context.Background(), id, true); err != nil {
			t.Error(err)
		}
	})
	if err := r.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	c, err := r.Load(id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// execIn executes a shell script and returns its output and exit code.
func execIn(t *testing.T, c *Container, p *specs.Process, o ExecOptions) (string, int, error) {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	o.Stdio = [3]*os.File{nil, out, out}
	pr, err := c.Exec(context.Background(), p, o)
	if err != nil {
		return "", -1, err
	}
	ws, _, err := pr.Wait()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(data), ws.ExitStatus(), nil
}

func shell(script string) *specs.Process {
	return &specs.Process{Args: []string{"sh", "-c", script}, Env: []string{"PATH=/bin", "B=c"}, Cwd: "/tmp"}
}

func TestExecJoinsEverything(t *testing.T) {
	c := running(t, nil)
	out, code, err := execIn(t, c, shell(`
		for n in user mnt pid net ipc uts cgroup; do test "$(readlink /proc/self/ns/$n)" = "$(readlink /proc/1/ns/$n)" || echo other $n; done
		hostname; pwd; echo env $B $HOME; id -u; echo ppid $PPID; cat /proc/1/comm
		grep Cap /proc/self/status | tr -d '\n\t'; echo; ls /proc/self/fd | wc -l; umask; exit 7`), ExecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := "boat\n/tmp\nenv c /\n0\nppid 0\nsleep\n" +
		"CapInh:0000000000000000CapPrm:0000000000000021CapEff:0000000000000021CapBnd:0000000000000021CapAmb:0000000000000000\n4\n0022\n"
	if out != want || code != 7 {
		t.Errorf("exit %d, got:\n%s\nwant:\n%s", code, out, want)
	}
}

// What the process may say for itself.
func TestExecProcessFields(t *testing.T) {
	umask := uint32(0o77)
	for _, tt := range []struct {
		name string
		set  func(p *specs.Process)
		// In the script; the default container has CAP_CHOWN and CAP_KILL.
		script, want string
	}{
		{"capabilities", func(p *specs.Process) {
			p.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}, Permitted: []string{"CAP_KILL"}, Effective: []string{"CAP_KILL"}}
		}, `grep CapEff /proc/self/status`, "CapEff:\t0000000000000020\n"},
		{"no new privileges", func(p *specs.Process) { p.NoNewPrivileges = true }, `grep NoNewPrivs /proc/self/status`, "NoNewPrivs:\t1\n"},
		{"rlimits of the container", func(*specs.Process) {}, `ulimit -c; ulimit -n`, "0\n55\n"},
		{"rlimits of its own", func(p *specs.Process) {
			p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 44, Hard: 44}}
		}, `ulimit -n`, "44\n"},
		{"umask of the container", func(*specs.Process) {}, `umask`, "0027\n"},
		{"umask of its own", func(p *specs.Process) { p.User.Umask = &umask }, `umask`, "0077\n"},
		{"scheduler of the container", func(*specs.Process) {}, `cut -d' ' -f19 /proc/self/stat`, "5\n"},
		{"OOM score of the container", func(*specs.Process) {}, `cat /proc/self/oom_score_adj`, "77\n"},
		{"OOM score of its own", func(p *specs.Process) { p.OOMScoreAdj = ptr(99) }, `cat /proc/self/oom_score_adj`, "99\n"},
		{"keyring of the container", func(*specs.Process) {}, `grep -c _ses.$ID: /proc/keys`, "1\n"},
		{"personality of the container", func(*specs.Process) {}, `busybox uname -m`, "i686\n"},
		{"affinity", func(p *specs.Process) {
			p.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0", Final: "1"}
		}, `grep -o 'list:.*' /proc/self/status | cut -f2 | busybox head -1`, "1\n"},
		{"initial affinity", func(p *specs.Process) {
			p.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0"}
		}, `grep -o 'list:.*' /proc/self/status | cut -f2 | busybox head -1`, "0\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := running(t, func(s *specs.Spec, _ *CreateOptions) {
				s.Process.Rlimits = append(s.Process.Rlimits, specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Soft: 55, Hard: 55})
				s.Process.User.Umask = ptr(uint32(0o27))
				s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Nice: 5}
				s.Process.OOMScoreAdj = ptr(77)
				s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
				s.Linux.MaskedPaths = nil
			})
			p := shell(tt.script)
			p.Env = append(p.Env, "ID="+c.ID)
			tt.set(p)
			if out, _, err := execIn(t, c, p, ExecOptions{}); err != nil || out != tt.want {
				t.Errorf("%q, %v; want %q", out, err, tt.want)
			}
		})
	}
}

func TestExecErrors(t *testing.T) {
	c := running(t, nil)
	for _, tt := range []struct {
		change func(p *specs.Process)
		want   string
	}{
		{func(p *specs.Process) { p.Args = nil }, "process.args: missing"},
		{func(p *specs.Process) { p.Args = []string{"/nothing"} }, "exec: no such file"},
		{func(p *specs.Process) { p.Args = []string{"/tmp"} }, "exec: permission denied"},
		{func(p *specs.Process) { p.Cwd = "/none" }, "process.cwd: enter the working directory /none: no such file"},
		{func(p *specs.Process) { p.Cwd = "relative" }, "process.cwd"},
		{func(p *specs.Process) { p.User.UID = 12345 }, "process.user.uid"},
		{func(p *specs.Process) { p.ExecCPUAffinity = &specs.CPUAffinity{Initial: "8000"} }, "process.execCPUAffinity.initial: bind to the CPUs 8000"},
		{func(p *specs.Process) { p.ExecCPUAffinity = &specs.CPUAffinity{Final: "8000"} }, "process.execCPUAffinity.final: bind to the CPUs 8000"},
		{func(p *specs.Process) { p.ApparmorProfile = "mine" }, "process.apparmorProfile"},
	} {
		p := shell("true")
		tt.change(p)
		if _, _, err := execIn(t, c, p, ExecOptions{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
	if err := c.Kill(context.Background(), unix.SIGKILL, false); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end", func() bool { return c.Status().Status == specs.StateStopped })
	if _, _, err := execIn(t, c, shell("true"), ExecOptions{}); !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), "cannot exec in a stopped container") {
		t.Errorf("a stopped one: %v", err)
	}
}

// A working directory that leads to a descriptor of ours, or of the caller's,
// leads nowhere (CVE-2024-21626), nor does a link that the container planted.
func TestExecWorkdirStaysInside(t *testing.T) {
	c := running(t, nil)
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	fd, err := unix.Dup(int(dir.Fd())) // without close-on-exec, as a careless caller would
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if out, _, err := execIn(t, c, shell(fmt.Sprintf("busybox ln -s /proc/self/fd/%d /tmp/out; busybox ln -s ../../../../etc /tmp/in", fd)), ExecOptions{}); err != nil || out != "" {
		t.Fatal(out, err)
	}
	for n := range fd + 2 {
		p := shell("pwd")
		p.Cwd = fmt.Sprintf("/proc/self/fd/%d", n)
		if out, _, err := execIn(t, c, p, ExecOptions{}); err == nil {
			t.Errorf("%s: it ran in %q", p.Cwd, out)
		}
	}
	for cwd, want := range map[string]string{"/tmp/out": "", "/proc/1/root": "", "/proc/self/cwd": "", "/tmp/in": "/etc\n", "/proc/sys": "/proc/sys\n"} {
		p := shell("pwd -P")
		p.Cwd = cwd
		if out, _, err := execIn(t, c, p, ExecOptions{}); out != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", cwd, out, err, want)
		}
	}
}

func TestExecTerminal(t *testing.T) {
	c := running(t, nil)
	p := shell(`tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all; echo hi >/dev/tty; ls -l /dev/console 2>&1 | wc -l`)
	p.Terminal, p.ConsoleSize = true, &specs.Box{Height: 11, Width: 22}
	pr, err := c.Exec(context.Background(), p, ExecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := readAllOf(pr.Console)
	if _, _, err := pr.Wait(); err != nil {
		t.Error(err)
	}
	if want := "/dev/pts/0\r\n11 22\r\nall\r\nhi\r\n1\r\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	// A container that has put something else in the place of its devpts.
	hostile := running(t, func(s *specs.Spec, _ *CreateOptions) {
		s.Process.Args = []string{"sh", "-c", "rm -r /dev/pts/* /dev/pts; umount /dev/pts; rm -r /dev/pts; mkdir /dev/pts; busybox mkfifo /dev/pts/ptmx; touch /tmp/done; exec sleep 1000"}
		all := []string{"CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"}
		s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
	})
	waitFor(t, "the container's work", func() bool { _, err := os.Stat(hostile.Rootfs + "/tmp/done"); return err == nil })
	if _, err := hostile.Exec(context.Background(), p, ExecOptions{}); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("a named pipe for a terminal: %v", err)
	}
}

func readAllOf(f *os.File) string {
	var out strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := f.Read(buf)
		out.Write(buf[:n])
		if err != nil {
			return out.String()
		}
	}
}

func TestExecHandsOver(t *testing.T) {
	c := running(t, nil)
	socket := filepath.Join(t.TempDir(), "console")
	l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(l)
	if err := errors.Join(unix.Bind(l, &unix.SockaddrUnix{Name: socket}), unix.Listen(l, 1)); err != nil {
		t.Fatal(err)
	}
	p := shell("echo over the socket; exec sleep 1000")
	p.Terminal = true
	pidFile := filepath.Join(t.TempDir(), "pid")
	pr, err := c.Exec(context.Background(), p, ExecOptions{ConsoleSocket: socket, PIDFile: pidFile})
	if err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(pidFile); string(data) != fmt.Sprint(pr.PID) {
		t.Errorf("the pid file has %q, want %d", data, pr.PID)
	}
	fd, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	conn := os.NewFile(uintptr(fd), "console")
	defer conn.Close()
	master, err := receiveFD(conn)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := master.Read(buf); err != nil || string(buf[:n]) != "over the socket\r\n" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	_ = pr.Signal(unix.SIGKILL)
	if ws, _, err := pr.Wait(); err != nil || ws.Signal() != unix.SIGKILL {
		t.Errorf("%v, %v", ws, err)
	}
	master.Close()
}

// Descriptors that were asked for arrive, and no others.
func TestExecDescriptors(t *testing.T) {
	c := running(t, nil)
	out, _, err := execIn(t, c, shell(`ls /proc/self/fd | sort -n | tr '\n' ' '`), ExecOptions{Preserve: 2})
	if err != nil {
		t.Fatal(err)
	}
	if out != "0 1 2 3 4 5 " && out != "0 1 2 3 " && out != "0 1 2 3 4 " { // ls has one of its own; 3 and 4 are there if the test has them
		t.Errorf("open: %q", out)
	}
}

// The first process can leave its namespaces for others; exec does not follow.
func TestExecRefusesOtherNamespaces(t *testing.T) {
	c := running(t, func(s *specs.Spec, _ *CreateOptions) {
		s.Process.Args = []string{"sh", "-c", "exec busybox unshare -m sh -c 'touch /tmp/done; exec sleep 1000'"}
		all := []string{"CAP_SYS_ADMIN"}
		s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}
	})
	waitFor(t, "the container's work", func() bool { _, err := os.Stat(c.Rootfs + "/tmp/done"); return err == nil })
	_, _, err := execIn(t, c, shell("true"), ExecOptions{})
	if err == nil || !strings.Contains(err.Error(), "has left the mount namespace") {
		t.Errorf("got %v", err)
	}
	// Between our look and the join, too: as if it had not been seen.
	s, err := c.execSpec(shell("true"))
	if err != nil {
		t.Fatal(err)
	}
	fd, err := c.process()
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	e := &joining{c: c, s: s, first: firstProcess{pidfd: fd, flags: unix.CLONE_NEWNS, inodes: map[string]uint64{"mnt": c.Namespaces["mnt"]}}}
	e.x = Extra{Stub: os.Stdin}
	err = e.start(context.Background())
	if e.l.child != nil {
		e.l.child.Abort()
	}
	if !errors.Is(err, unix.ESTALE) && !errors.Is(err, unix.EPERM) {
		t.Errorf("after the look: %v", err)
	}
}

// Whose pid it is now does not matter: a process that took the container's is
// not joined.
func TestExecPIDReuse(t *testing.T) {
	c := running(t, nil)
	c.StartTime++
	if _, _, err := execIn(t, c, shell("true"), ExecOptions{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v", err)
	}
}

// A container that another command is just making, or whose process had ended before anybody
// could look at it, is not running: who can wait tries again.
func TestJoinWhatIsBeingMade(t *testing.T) {
	c := running(t, nil)
	for _, state := range []specs.ContainerState{specs.StateCreating, specs.StateRunning} {
		was := c.record
		c.Namespaces, c.State.Status = nil, state
		if f, err := c.OpenRoot(true); !errors.Is(err, ErrNotRunning) || f != nil {
			t.Errorf("the root of one that is %s: %v", state, err)
		}
		if f, err := c.OpenNamespace(specs.UserNamespace); !errors.Is(err, ErrNotRunning) || f != nil {
			t.Errorf("a namespace of one that is %s: %v", state, err)
		}
		c.record = was
	}
}

func TestExecSeccomp(t *testing.T) {
	c := running(t, func(s *specs.Spec, _ *CreateOptions) {
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"getppid"}, Action: specs.ActErrno, ErrnoRet: ptr(uint(0))},
			{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno, ErrnoRet: ptr(uint(unix.EDOM))},
		}}
	})
	script := `grep Seccomp: /proc/self/status; mkdir /tmp/x 2>&1`
	want := "Seccomp:\t2\nmkdir: can't create directory '/tmp/x': Numerical argument out of domain\n"
	for _, noNew := range []bool{false, true} {
		p := shell(script)
		p.NoNewPrivileges = noNew
		if out, _, err := execIn(t, c, p, ExecOptions{}); err != nil || out != want {
			t.Errorf("no new privileges %v: %q, %v", noNew, out, err)
		}
	}
}

// A filter that notifies tells its agent of the new process, too.
func TestExecNotify(t *testing.T) {
	first := newAgent(t)
	c := running(t, func(s *specs.Spec, _ *CreateOptions) {
		s.Linux.Seccomp = notifyProfile(first.path, specs.ActAllow, "getppid", "execve", "execveat", "setresuid")
	})
	<-first.told
	if err := os.Remove(first.path); err != nil {
		t.Fatal(err)
	}
	second := newAgentAt(t, first.path)
	out, _, err := execIn(t, c, shell("echo $PPID"), ExecOptions{})
	if err != nil || out != "4711\n" {
		t.Errorf("%q, %v", out, err)
	}
	select {
	case got := <-second.told:
		if got.Pid == got.State.Pid || got.State.Pid != c.Pid || got.State.Status != specs.StateRunning || got.State.ID != c.ID {
			t.Errorf("the agent was told %+v", got)
		}
	case <-time.After(5 * time.Second):
		t.Error("the agent was told nothing")
	}
}

func BenchmarkExec(b *testing.B) {
	c := benchContainer(b)
	for b.Loop() {
		pr, err := c.Exec(context.Background(), &specs.Process{Args: []string{"/bin/true"}, Env: []string{"PATH=/bin"}, Cwd: "/"}, ExecOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := pr.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

func benchContainer(b *testing.B) *Container {
	b.Helper()
	root := b.TempDir()
	for _, d := range []string{"bin", "proc", "sys", "dev", "tmp"} {
		_ = os.Mkdir(filepath.Join(root, d), 0o755)
	}
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		b.Skip(err)
	}
	_ = os.WriteFile(root+"/bin/sleep", box, 0o755)
	_ = os.WriteFile(root+"/bin/true", box, 0o755)
	s := testSpec(root, "sleep", "1000")
	m := singleMap()
	s.Linux.UIDMappings, s.Linux.GIDMappings = m.UIDs, m.GIDs
	r := &Runtime{Root: b.TempDir() + "/state", NoCgroup: true}
	if _, _, err := r.Create(context.Background(), "bench", CreateOptions{Bundle: root, Config: s}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = r.Delete(context.Background(), "bench", true) })
	if err := r.Start(context.Background(), "bench"); err != nil {
		b.Fatal(err)
	}
	c, err := r.Load("bench")
	if err != nil {
		b.Fatal(err)
	}
	return c
}
