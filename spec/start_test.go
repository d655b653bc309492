package spec

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// skip ends a test that this machine cannot carry out; CI says that it must.
func skip(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CORACLE_MUST_WORK") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// busyboxRoot is a root with nothing but busybox.
func busyboxRoot(t *testing.T) string {
	t.Helper()
	box, err := exec.LookPath("busybox")
	if err != nil {
		skip(t, "busybox is missing: apt-get install busybox-static")
	}
	root := t.TempDir()
	for _, d := range []string{"bin", "proc", "sys", "dev", "etc", "tmp"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(box)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"sh", "cat", "id", "ls", "mount", "stat", "stty", "readlink", "pwd", "grep", "sleep", "hostname", "ip", "tty", "test", "echo", "true", "umount", "ps", "touch"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", n)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func testSpec(root string, args ...string) *specs.Spec {
	caps := []string{"CAP_CHOWN", "CAP_KILL"}
	return &specs.Spec{
		Version:  "1.3.0",
		Hostname: "boat",
		Root:     &specs.Root{Path: root},
		Process: &specs.Process{
			Args: args, Env: []string{"PATH=/bin", "A=b"}, Cwd: "/",
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			Rlimits:      []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Soft: 0, Hard: 0}},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
			{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.UserNamespace}, {Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.CgroupNamespace},
			},
			MaskedPaths:   []string{"/proc/kcore", "/proc/acpi", "/proc/keys", "/sys/firmware", "/proc/nothing"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/sys", "/proc/sysrq-trigger"},
			Sysctl:        map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"},
		},
	}
}

func singleMap() userns.Map {
	return userns.Map{
		UIDs: []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(os.Getuid()), Size: 1}},
		GIDs: []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(os.Getgid()), Size: 1}},
	}
}

// start runs s as the engine does: guarded, and not written down. Without
// x.Newborn the first process is made when all is known of it.
func start(tb testing.TB, s *specs.Spec, x Extra, m userns.Map) (*Process, error) {
	tb.Helper()
	if x.Newborn == nil {
		x.Newborn = &Newborn{looked: make(chan struct{})} // none
		close(x.Newborn.looked)
	}
	mapped, linux := *s, *s.Linux
	mapped.Linux = &linux
	if inUserNamespace(s) {
		linux.UIDMappings, linux.GIDMappings = m.UIDs, m.GIDs
	}
	r := &Runtime{Root: filepath.Join(tb.TempDir(), "state"), NoCgroup: true}
	_, p, err := r.Run(context.Background(), cmp.Or(x.ID, "boat"), CreateOptions{
		Bundle: cmp.Or(x.Bundle, "/"), Config: &mapped, Extra: x, Final: true, Guarded: true, Unrecorded: true,
	})
	return p, err
}

// runSpec runs s and returns its output and exit code.
func runSpec(t *testing.T, s *specs.Spec, x Extra) (string, int, error) {
	t.Helper()
	stub, err := userns.OpenStub()
	if err != nil {
		t.Fatal(err)
	}
	defer stub.Close()
	x.Stub = stub
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	x.Stdio = [3]*os.File{nil, out, out}
	p, err := start(t, s, x, singleMap())
	if err != nil {
		return "", -1, err
	}
	ws, _, err := p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(data), ws.ExitStatus(), nil
}

func TestStartRunsAContainer(t *testing.T) {
	root := busyboxRoot(t)
	out, code, err := runSpec(t, testSpec(root, "sh", "-c", `
		echo pid $$; hostname; id -u; echo env $A; ls /dev; readlink /dev/fd; ip addr show lo | grep -c UP
		cat /proc/sys/net/ipv4/ip_unprivileged_port_start
		echo masked $(ls -A /proc/acpi | grep -c .) $(ls -A /sys/firmware | grep -c .); touch /sys/firmware/x 2>/dev/null || echo sealed
		cat /proc/keys | grep -c . ; echo x > /proc/sys/kernel/hostname || echo readonly
		grep Cap /proc/self/status; ls /proc/self/fd; ls / ; exit 5`), Extra{})
	if err != nil {
		t.Fatal(err)
	}
	if code != 5 {
		t.Errorf("exit %d, want 5", code)
	}
	for _, want := range []string{"pid 1\n", "boat\n", "\n0\n", "env b\n", "urandom\n", "ptmx\n", "/proc/self/fd\n", "readonly\n", "masked 0 0\n", "sealed\n", "CapEff:\t0000000000000021\n", "CapBnd:\t0000000000000021\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
}

func TestStartErrors(t *testing.T) {
	root := busyboxRoot(t)
	_, _, err := runSpec(t, testSpec(root, "/bin/nothing"), Extra{})
	var ee *userns.ExecError
	if !errors.As(err, &ee) || ee.Errno != unix.ENOENT {
		t.Errorf("missing command: %v", err)
	}
	s := testSpec(root, "true")
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Type: "nosuchfs"})
	_, _, err = runSpec(t, s, Extra{})
	var se *userns.StepError
	if !errors.As(err, &se) || !strings.Contains(se.Step, "mount nosuchfs on /x") {
		t.Errorf("unknown file system: %v", err)
	}
}

// An image whose /proc or mount targets are links must not lead a mount astray.
func TestStartHostileLinks(t *testing.T) {
	outside := t.TempDir()
	for _, tt := range []struct {
		name string
		make func(t *testing.T, root string)
		s    func(s *specs.Spec)
		want unix.Errno // 0: it must work, inside the root
	}{
		{"proc is a link", func(t *testing.T, root string) { replaceByLink(t, root+"/proc", outside) }, nil, unix.ELOOP},
		{"sys is a link", func(t *testing.T, root string) { replaceByLink(t, root+"/sys", "/etc") }, nil, unix.ELOOP},
		{"dev is a link out", func(t *testing.T, root string) { replaceByLink(t, root+"/dev", "../../../../../../etc") }, nil, 0},
		{"target leads into proc", func(t *testing.T, root string) {
			replaceByLink(t, root+"/data", "/proc/self/attr")
		}, func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Type: "tmpfs"})
		}, unix.EXDEV},
		{"target leads out", func(t *testing.T, root string) {
			replaceByLink(t, root+"/data", outside)
		}, func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data/deep/er", Type: "tmpfs"})
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := busyboxRoot(t)
			tt.make(t, root)
			s := testSpec(root, "true")
			if tt.s != nil {
				tt.s(s)
			}
			_, _, err := runSpec(t, s, Extra{})
			if tt.want == 0 && err != nil || tt.want != 0 && !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if left, _ := os.ReadDir(outside); len(left) > 0 {
				t.Errorf("something appeared outside: %v", left)
			}
		})
	}
}

// A working directory must not lead to a descriptor of ours, or out of the
// root in any other way (CVE-2024-21626), nor be made there.
func TestStartWorkdirStaysInside(t *testing.T) {
	out := t.TempDir()
	dir, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	caller, err := unix.Dup(int(dir.Fd())) // as a caller would leave it open
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(caller)
	for _, fd := range []int{int(dir.Fd()), caller} {
		for _, tt := range []struct{ name, cwd, link string }{
			{"by name", fmt.Sprintf("/proc/self/fd/%d", fd), ""},
			{"by a link", "/w", fmt.Sprintf("/proc/self/fd/%d", fd)},
			{"planted", fmt.Sprintf("/proc/self/fd/%d/planted", fd), ""},
			{"planted by a link", "/w/planted", fmt.Sprintf("/proc/self/fd/%d", fd)},
			{"self/root", "/proc/1/root/planted", ""},
		} {
			t.Run(tt.name, func(t *testing.T) {
				root := busyboxRoot(t)
				if tt.link != "" {
					replaceByLink(t, root+"/w", tt.link)
				}
				s := testSpec(root, "pwd")
				s.Process.Cwd = tt.cwd
				got, _, err := runSpec(t, s, Extra{})
				// Without openat2(2) such a link is followed as text, inside the root.
				if err == nil && !probeKernel().openat2 {
					t.Errorf("it ran in %q", got)
				}
				if left, _ := os.ReadDir(out); len(left) > 0 {
					t.Errorf("made outside: %v", left)
				}
			})
		}
	}
	s := testSpec(busyboxRoot(t), "pwd")
	s.Process.Cwd = "/proc/sys"
	if got, _, err := runSpec(t, s, Extra{}); err != nil || got != "/proc/sys\n" {
		t.Errorf("a directory of /proc itself: %q, %v", got, err)
	}
}

// Files that are always mounted must not land in procfs by an image's links.
func TestStartImpliedMountsStayOutOfProc(t *testing.T) {
	src := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(src, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{"/proc/self/attr/exec", "/proc/1/status", "/proc/version", "/proc/sys/kernel/domainname"} {
		root := busyboxRoot(t)
		replaceByLink(t, root+"/etc/hosts", link)
		s := testSpec(root, "cat", "/proc/self/mountinfo")
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/etc/hosts", Source: src, Type: "bind", Options: []string{"bind"}})
		// As the engine does it: the links are followed before.
		out, _, err := runSpec(t, s, Extra{Resolve: func(dest string) string {
			if dest == "/etc/hosts" {
				return link
			}
			return dest
		}})
		if !errors.Is(err, unix.EXDEV) {
			t.Errorf("%s: %v; mounts:\n%s", link, err, out)
		}
	}
}

func replaceByLink(t *testing.T, path, to string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

func TestStartBinds(t *testing.T) {
	root := busyboxRoot(t)
	src := t.TempDir()
	if err := os.WriteFile(src+"/f", []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := testSpec(root, "sh", "-c", `cat /a/b/c/f /single; touch /a/b/c/x 2>/dev/null || echo ro; touch /rw/y && echo rw; pwd`)
	s.Process.Cwd = "/new/dir"
	s.Mounts = append(s.Mounts,
		specs.Mount{Destination: "/a/b/c", Source: src, Type: "bind", Options: []string{"rbind", "ro"}},
		specs.Mount{Destination: "/single", Source: src + "/f", Type: "bind", Options: []string{"bind"}},
		specs.Mount{Destination: "/rw", Source: src, Type: "bind", Options: []string{"rbind", "rprivate"}})
	out, code, err := runSpec(t, s, Extra{})
	if err != nil || code != 0 || out != "hellohelloro\nrw\n/new/dir\n" {
		t.Errorf("%q, %d, %v", out, code, err)
	}
}

func TestStartReadonlyRoot(t *testing.T) {
	s := testSpec(busyboxRoot(t), "sh", "-c", `touch /x 2>/dev/null || echo ro; touch /dev/shm/x && echo shm`)
	s.Root.Readonly = true
	if out, _, err := runSpec(t, s, Extra{}); err != nil || out != "ro\nshm\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestCandidates(t *testing.T) {
	for _, tt := range []struct{ command, env, want string }{
		{"/bin/sh", "PATH=/x", "/bin/sh"},
		{"./sh", "PATH=/x", "./sh"},
		{"sh", "PATH=/x:/y", "/x/sh /y/sh"},
		{"sh", "PATH=:/y", "./sh /y/sh"},
		{"sh", "A=b", "/usr/local/sbin/sh /usr/local/bin/sh /usr/sbin/sh /usr/bin/sh /sbin/sh /bin/sh"},
	} {
		if got := strings.Join(Candidates(tt.command, []string{tt.env}), " "); got != tt.want {
			t.Errorf("Candidates(%q, %q) = %q, want %q", tt.command, tt.env, got, tt.want)
		}
	}
}

func TestStartTerminal(t *testing.T) {
	s := testSpec(busyboxRoot(t), "sh", "-c", `tty; test -t 0 && test -t 1 && test -t 2 && echo all; echo hi > /dev/console; echo more > /dev/tty; stty size 2>/dev/null; ls -l /dev/console >/dev/null; cat`)
	s.Process.Terminal = true
	s.Process.ConsoleSize = &specs.Box{Width: 77, Height: 33}
	stub, err := userns.OpenStub()
	if err != nil {
		t.Fatal(err)
	}
	defer stub.Close()
	p, err := start(t, s, Extra{Stub: stub}, singleMap())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Console.WriteString("typed\n\x04"); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := p.Console.Read(buf)
		out.Write(buf[:n])
		if err != nil {
			break
		}
	}
	ws, _, err := p.Wait()
	if err != nil || ws.ExitStatus() != 0 {
		t.Errorf("status %v, %v", ws, err)
	}
	if n := strings.Count(out.String(), "typed\r\n"); n != 2 { // the echo, and what cat says
		t.Errorf("what was typed came %d times", n)
	}
	for _, want := range []string{"/dev/pts/0\r\n", "all\r\n", "hi\r\n", "more\r\n", "33 77\r\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the terminal lacks %q:\n%q", want, out.String())
		}
	}
}

func BenchmarkStart(b *testing.B) {
	box, err := exec.LookPath("busybox")
	if err != nil {
		b.Skip(err)
	}
	root := b.TempDir()
	for _, d := range []string{"proc", "sys", "dev"} {
		_ = os.Mkdir(root+"/"+d, 0o755)
	}
	data, _ := os.ReadFile(box)
	_ = os.WriteFile(root+"/true", data, 0o755)
	for b.Loop() {
		stub, err := userns.OpenStub()
		if err != nil {
			b.Fatal(err)
		}
		p, err := start(b, testSpec(root, "/true"), Extra{Stub: stub}, singleMap())
		if err != nil {
			b.Fatal(err)
		}
		if ws, _, err := p.Wait(); err != nil || ws.ExitStatus() != 0 {
			b.Fatal(ws, err)
		}
		stub.Close()
	}
}
