package spec

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// aContainer is what the first process of the plans below is.
func aContainer(uid uint32) *specs.Spec {
	umask := uint32(0o27)
	caps := &specs.LinuxCapabilities{Bounding: []string{"CAP_CHOWN", "CAP_KILL"}}
	if uid == 0 {
		caps.Effective, caps.Permitted = caps.Bounding, caps.Bounding
	} else {
		ambient := []string{"CAP_KILL"}
		caps.Effective, caps.Permitted, caps.Inheritable, caps.Ambient = ambient, ambient, ambient, ambient
	}
	return &specs.Spec{
		Process: &specs.Process{
			Args: []string{"sleep", "1000"}, Cwd: "/srv", NoNewPrivileges: true, Capabilities: caps,
			Env:  []string{"PATH=/bin", "HOME=/root", "A=1"},
			User: specs.User{UID: uid, GID: uid, Umask: &umask, AdditionalGids: []uint32{5}},
		},
		Linux: &specs.Linux{
			UIDMappings: []specs.LinuxIDMapping{{Size: 2000}}, GIDMappings: []specs.LinuxIDMapping{{Size: 2000}},
		},
	}
}

func execPlanOf(s *specs.Spec, r ExecRequest) *execPlan {
	if r.Args == nil {
		r.Args = []string{"id"}
	}
	x := &execPlan{r: r, s: s, first: s.Process, host: &fakeHost{files: map[string]string{"vars": "A=2\nB=2\nHOSTS\n", "bad": "a b=c\n"}}}
	x.env.setAll([]string{"HOSTS=mine", "TERM=vt100"})
	x.passwd = []byte("root:x:0:0::/root:/bin/sh\nal:x:1000:100::/home/al:/bin/sh\nfar:x:5000:100::/:/bin/sh\nsame:x:7:7::/s:/bin/sh\n")
	x.group = []byte("users:x:100:\nwheel:x:10:al\nfar:x:5000:al\nalso:x:100:al\n")
	return x
}

func TestPlanExec(t *testing.T) {
	for _, tt := range []struct {
		name   string
		uid    uint32
		r      ExecRequest
		env    string // sorted
		ids    []uint32
		eff    string
		amb    string
		bounds int
	}{
		{name: "the container's own", env: "A=1 HOME=/root PATH=/bin", ids: []uint32{0, 0, 5}, eff: "CAP_CHOWN CAP_KILL", bounds: 2},
		{name: "own user, not root", uid: 7, env: "A=1 HOME=/root PATH=/bin", ids: []uint32{7, 7, 5}, eff: "CAP_KILL", amb: "CAP_KILL", bounds: 2},
		{name: "own user by name", uid: 7, r: ExecRequest{User: "same"}, env: "A=1 HOME=/root PATH=/bin", ids: []uint32{7, 7, 7}, eff: "CAP_KILL", amb: "CAP_KILL", bounds: 2},
		{name: "another user", r: ExecRequest{User: "al"}, env: "A=1 HOME=/home/al PATH=/bin", ids: []uint32{1000, 100, 100, 10}, bounds: 2},
		{name: "with a group", r: ExecRequest{User: "al:wheel"}, env: "A=1 HOME=/home/al PATH=/bin", ids: []uint32{1000, 10, 10}, bounds: 2},
		{name: "a number", r: ExecRequest{User: "1500:3"}, env: "A=1 HOME=/ PATH=/bin", ids: []uint32{1500, 3, 3}, bounds: 2},
		{name: "root from another", uid: 7, r: ExecRequest{User: "0"}, env: "A=1 HOME=/root PATH=/bin", ids: []uint32{0, 0}, eff: "CAP_CHOWN CAP_KILL", bounds: 2},
		{name: "privileged", r: ExecRequest{Privileged: true}, env: "A=1 HOME=/root PATH=/bin", ids: []uint32{0, 0, 5}, eff: strings.Join(capabilityNames(), " "), bounds: 41},
		{name: "privileged, another user", r: ExecRequest{Privileged: true, User: "al"}, env: "A=1 HOME=/home/al PATH=/bin", ids: []uint32{1000, 100, 100, 10}, bounds: 41},
		{name: "variables", r: ExecRequest{EnvFiles: []string{"vars"}, Env: []string{"B=3", "HOME=/h", "NONE"}},
			env: "A=2 B=3 HOME=/h HOSTS=mine PATH=/bin", ids: []uint32{0, 0, 5}, eff: "CAP_CHOWN CAP_KILL", bounds: 2},
		{name: "terminal", r: ExecRequest{TTY: true}, env: "A=1 HOME=/root PATH=/bin TERM=xterm", ids: []uint32{0, 0, 5}, eff: "CAP_CHOWN CAP_KILL", bounds: 2},
		{name: "the caller's TERM", r: ExecRequest{TTY: true, Env: []string{"TERM"}}, env: "A=1 HOME=/root PATH=/bin TERM=vt100", ids: []uint32{0, 0, 5}, eff: "CAP_CHOWN CAP_KILL", bounds: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := aContainer(tt.uid)
			p, err := execPlanOf(s, tt.r).plan()
			if err != nil {
				t.Fatal(err)
			}
			env := slices.Sorted(slices.Values(p.Env))
			if got := strings.Join(env, " "); got != tt.env {
				t.Errorf("environment %s, want %s", got, tt.env)
			}
			if got := append([]uint32{p.User.UID, p.User.GID}, p.User.AdditionalGids...); !slices.Equal(got, tt.ids) {
				t.Errorf("ids %v, want %v", got, tt.ids)
			}
			c := p.Capabilities
			if got := strings.Join(c.Effective, " "); got != tt.eff || strings.Join(c.Permitted, " ") != tt.eff {
				t.Errorf("effective %s, permitted %v, want %s", got, c.Permitted, tt.eff)
			}
			if strings.Join(c.Ambient, " ") != tt.amb || strings.Join(c.Inheritable, " ") != tt.amb {
				t.Errorf("ambient %v, inheritable %v, want %s", c.Ambient, c.Inheritable, tt.amb)
			}
			if len(c.Bounding) != tt.bounds {
				t.Errorf("%d capabilities in the bounding set, want %d", len(c.Bounding), tt.bounds)
			}
			if p.Cwd != "/srv" || !p.NoNewPrivileges || *p.User.Umask != 0o27 || p.Args[0] != "id" {
				t.Errorf("not as the container has it: %+v", p)
			}
			if s.Process.Args[0] != "sleep" || s.Process.Env[2] != "A=1" {
				t.Error("the container's own process has changed")
			}
		})
	}
}

func TestPlanExecSingleID(t *testing.T) {
	s := aContainer(0)
	s.Linux.GIDMappings = []specs.LinuxIDMapping{{Size: 1}}
	if p, err := execPlanOf(s, ExecRequest{User: "0:0"}).plan(); err != nil || p.User.AdditionalGids != nil {
		t.Errorf("groups %v, %v", p, err)
	}
}

func TestPlanExecRefuses(t *testing.T) {
	for _, tt := range []struct {
		r    ExecRequest
		want string
	}{
		{ExecRequest{User: "nobody"}, `--user "nobody": no user "nobody"`},
		{ExecRequest{User: "al:none"}, `--user "al:none": no group "none"`},
		{ExecRequest{User: "far"}, `no user id 5000, only 0-1999`},
		{ExecRequest{User: "al:5000"}, `no group id 5000`},
		{ExecRequest{Workdir: "here"}, `--workdir "here": must be an absolute path`},
		{ExecRequest{EnvFiles: []string{"none"}}, `--env-file "none"`},
		{ExecRequest{EnvFiles: []string{"bad"}}, `has a space in it`},
		{ExecRequest{Env: []string{"=x"}}, `a variable needs a name`},
		{ExecRequest{Args: []string{""}}, `the name of the program is empty`},
	} {
		_, err := execPlanOf(aContainer(0), tt.r).plan()
		if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, ErrOption) {
			t.Errorf("%+v: %v, want %s", tt.r, err, tt.want)
		}
	}
}

// What a container puts in the place of its user database is not followed out
// of it, and keeps nobody waiting.
func TestReadInRoot(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(root+"/etc", 0o755))
	must(os.WriteFile(outside+"/passwd", []byte("secret"), 0o644))
	must(os.WriteFile(root+"/etc/real", []byte("inside"), 0o644))
	must(os.Symlink(outside+"/passwd", root+"/etc/absolute"))
	must(os.Symlink("../../../../../../../../"+outside+"/passwd", root+"/etc/relative"))
	must(os.Symlink("/etc/real", root+"/etc/own"))
	must(os.Symlink("/proc/self/root"+outside+"/passwd", root+"/etc/magic"))
	must(unix.Mkfifo(root+"/etc/fifo", 0o644))
	must(os.Mkdir(root+"/etc/dir", 0o755))
	must(os.WriteFile(root+"/etc/huge", nil, 0o644))
	must(os.Truncate(root+"/etc/huge", 1<<40))
	start := time.Now()
	for name, want := range map[string]string{
		"real": "inside", "own": "inside", "absolute": "", "relative": "", "magic": "", "fifo": "", "dir": "", "missing": "",
	} {
		if got := string(readInRoot(root, filepath.Join("etc", name))); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if n := len(readInRoot(root, "etc/huge")); n > 1<<20 {
		t.Errorf("%d bytes of a file without end", n)
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("it took %s", d)
	}
}
