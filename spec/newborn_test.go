package spec

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"coracle/userns"
)

// A container whose first process was there before its program is as any other.
func TestNewborn(t *testing.T) {
	s := testSpec(busyboxRoot(t), "sh", "-c", "echo $$; hostname; id -u; ls /proc/self/fd | wc -l; grep Sig[BC] /proc/self/status")
	stub, err := userns.OpenStub()
	if err != nil {
		t.Fatal(err)
	}
	defer stub.Close()
	run := func(early bool) string {
		out, err := os.CreateTemp(t.TempDir(), "out")
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		x := Extra{Stub: stub, Stdio: [3]*os.File{nil, out, out}}
		if early {
			if x.Newborn = Begin(context.Background(), s, singleMap(), nil); x.Newborn == nil {
				t.Fatal("there is none")
			}
			<-x.Newborn.born
			if x.Newborn.child == nil {
				t.Fatalf("there is none: %v", x.Newborn.err)
			}
		}
		p, err := start(t, s, x, singleMap())
		if err != nil {
			t.Fatal(err)
		}
		if x.Newborn != nil && x.Newborn.child != nil {
			t.Error("it was not used")
		}
		if ws, _, err := p.Wait(); err != nil || ws != 0 {
			t.Errorf("status %v, %v", ws, err)
		}
		data, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	early, late := run(true), run(false)
	noMountNamespaces(t)
	if early != late || !strings.HasPrefix(early, "1\nboat\n0\n") {
		t.Errorf("early:\n%s\nlate:\n%s", early, late)
	}
}

// What is left over ends, and a step that fails is told as ever.
func TestNewbornEnds(t *testing.T) {
	s := testSpec(busyboxRoot(t), "true")
	b := Begin(context.Background(), s, singleMap(), nil)
	<-b.born
	if b.child == nil {
		t.Fatalf("there is none: %v", b.err)
	}
	pid := b.child.PID
	b.Abandon()
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("process %d is still there: %v", pid, err)
	}

	s.Process.Cwd = "/bin/busybox/x"
	b = Begin(context.Background(), s, singleMap(), nil)
	_, _, err := runSpec(t, s, Extra{Newborn: b})
	var se *userns.StepError
	if !errors.As(err, &se) || !strings.Contains(se.Step, "/bin/busybox/x") {
		t.Errorf("got %v", err)
	}
	b.Abandon()

	// The kernel would change the launcher's, too.
	score := 500
	s.Process.OOMScoreAdj = &score
	if b := Begin(context.Background(), s, singleMap(), nil); b != nil {
		b.Abandon()
		t.Error("a newborn with an oom_score_adj")
	}
}

// One that was there before its configuration is used if that has the same
// namespaces, and else another is made.
func TestNewbornBeforeItsConfiguration(t *testing.T) {
	stub, err := userns.OpenStub()
	if err != nil {
		t.Fatal(err)
	}
	defer stub.Close()
	root := busyboxRoot(t)
	score := 500
	for name, c := range map[string]struct {
		change func(s *specs.Spec)
		used   bool
	}{
		"the same namespaces": {func(*specs.Spec) {}, true},
		"others": {func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UTSNamespace})
			s.Hostname = "other"
		}, false},
		"an oom_score_adj": {func(s *specs.Spec) { s.Process.OOMScoreAdj = &score }, false},
	} {
		s := testSpec(root, "true")
		var kinds []specs.LinuxNamespaceType
		for _, n := range s.Linux.Namespaces {
			if n.Type != specs.UTSNamespace {
				kinds = append(kinds, n.Type)
			}
		}
		s.Hostname = ""
		s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UTSNamespace })
		c.change(s)
		b := BeginNamespaces(nil, kinds...)
		if <-b.born; b.child == nil {
			t.Fatal("there is none")
		}
		pid := b.child.PID
		b.Map(context.Background(), singleMap())
		p, err := start(t, s, Extra{Stub: stub, Newborn: b}, singleMap())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if (p.PID == pid) != c.used {
			t.Errorf("%s: newborn %d, first process %d", name, pid, p.PID)
		}
		if ws, _, err := p.Wait(); err != nil || ws != 0 {
			t.Errorf("%s: status %v, %v", name, ws, err)
		}
		if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
			t.Errorf("%s: process %d is still there: %v", name, pid, err)
		}
	}
	b := BeginNamespaces(nil, specs.UserNamespace, specs.MountNamespace) // and then nothing comes of it
	b.Abandon()
	if b.child != nil {
		t.Error("it is still there")
	}
	noMountNamespaces(t)
}

// noMountNamespaces wants none to be held: its mounts would stay.
func noMountNamespaces(t *testing.T) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(fds) < 3 {
		t.Fatalf("%d descriptors, %v", len(fds), err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "mnt:") {
			t.Errorf("%s is still %s", fd, to)
		}
	}
}
