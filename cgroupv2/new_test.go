package cgroupv2

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func mkdirs(t *testing.T, k *fakeKernel, dirs ...string) {
	t.Helper()
	for _, d := range dirs {
		must(t, k.mkdir(k.root+d))
	}
}

// tree is the fake as Detect would see it.
func (k *fakeKernel) tree(own string) Tree {
	return Tree{Layout: Unified, Mount: k.root, Root: "/", Own: own, OwnDir: filepath.Join(k.root, own)}
}

const limits = `{"memory":{"limit":100},"pids":{"limit":5},"cpu":{"quota":5000}}`

func TestNewWritesLimits(t *testing.T) {
	for name, tt := range map[string]struct {
		own, path string
		want      string   // directory
		enabled   []string // dir: controllers
	}{
		"beside us":          {own: "/user/session", want: "/user/coracle-x", enabled: []string{"/: cpu memory pids", "/user: cpu memory pids"}},
		"at the root":        {own: "/", want: "/coracle-x", enabled: []string{"/: cpu memory pids"}},
		"absolute":           {own: "/user/session", path: "/pod/a/b", want: "/pod/a/b", enabled: []string{"/: cpu memory pids", "/pod: cpu memory pids", "/pod/a: cpu memory pids", "/user: "}},
		"absolute, unclean":  {own: "/user/session", path: "//pod/./a/", want: "/pod/a"},
		"relative":           {own: "/user/session", path: "pod/a", want: "/user/pod/a", enabled: []string{"/user/pod: cpu memory pids"}},
		"below us is second": {own: "/sealed/mine", want: "/sealed/mine/coracle-x", enabled: []string{"/sealed/mine: cpu memory pids"}},
	} {
		t.Run(name, func(t *testing.T) {
			k := newFake(t, "cpu io memory pids")
			mkdirs(t, k, "/user", "/user/session", "/sealed", "/sealed/mine")
			if strings.HasPrefix(tt.own, "/sealed") {
				// Delegated to us with what we need.
				d, err := os.Open(k.root)
				must(t, err)
				must(t, k.write(d, subtreeControl, "+cpu +memory +pids"))
				d.Close()
				d, err = os.Open(k.root + "/sealed")
				must(t, err)
				must(t, k.write(d, subtreeControl, "+cpu +memory +pids"))
				d.Close()
				k.sealed = []string{k.root, k.root + "/sealed"}
			}
			c, err := create(k.tree(tt.own), Config{ID: "x", Path: tt.path, Resources: parseResources(t, limits)}, k)
			must(t, err)
			defer c.Close()
			if got := strings.TrimPrefix(c.Path(), k.root); got != tt.want {
				t.Errorf("made %s, want %s", got, tt.want)
			}
			for file, want := range map[string]string{"memory.max": "100", "pids.max": "5", "cpu.max": "5000 100000"} {
				if got := readIn(c.Path(), file); got != want {
					t.Errorf("%s is %q, want %q", file, got, want)
				}
			}
			for _, line := range tt.enabled {
				dir, want, _ := strings.Cut(line, ": ")
				if got := strings.Join(sortedFields(readIn(k.root+dir, subtreeControl)), " "); got != want {
					t.Errorf("enabled in %s: %q, want %q", dir, got, want)
				}
			}
		})
	}
}

// Each failure leaves the tree as it was.
func TestNewAllOrNothing(t *testing.T) {
	for name, tt := range map[string]struct {
		controllers, own, path, in string
		setup                      func(k *fakeKernel)
		field, word, hint          string
		kind                       error
	}{
		"no controller": {controllers: "cpu pids", own: "/user/session", in: limits,
			field: "memory.limit", word: "memory is not in the tree", hint: "without limits", kind: ErrUnsupported},
		"processes in the only place": {controllers: "cpu memory pids", own: "/", in: limits,
			setup: func(k *fakeKernel) { k.own = k.root },
			field: "memory.limit", word: "processes run in it", hint: "leaf", kind: ErrUnsupported},
		"the kernel refuses the last file": {controllers: "cpu memory pids", own: "/user/session", path: "/new/pod/x", in: limits,
			setup: func(k *fakeKernel) { k.refuse["pids.max"] = unix.EINVAL },
			field: "pids.limit", word: "invalid argument", kind: ErrBadRequest},
		"a file is missing": {controllers: "cpu memory pids", own: "/user/session", in: `{"unified":{"memory.low":"5","memory.nothing":"1"}}`,
			field: `unified["memory.nothing"]`, word: "no such file", kind: ErrUnsupported},
		"an unknown controller": {controllers: "cpu", own: "/user/session", in: `{"unified":{"zzz.max":"5"}}`,
			field: `unified["zzz.max"]`, word: "not in the tree", kind: ErrUnsupported},
		"not delegated": {controllers: "cpu memory pids", own: "/user/session", in: limits,
			setup: func(k *fakeKernel) { k.sealed = []string{k.root} },
			field: "memory.limit", word: "not delegated below", kind: ErrUnsupported},
		"no place": {controllers: "cpu memory pids", own: "/user/session", in: limits,
			setup: func(k *fakeKernel) {
				k.sealed = []string{k.root, k.root + "/user", k.root + "/user/session"}
			},
			field: "memory.limit", word: "permission denied", kind: ErrUnsupported},
		"bad value": {controllers: "cpu memory pids", own: "/user/session", in: `{"memory":{"limit":-7}}`,
			field: "memory.limit", word: "minimum", kind: ErrBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			k := newFake(t, tt.controllers)
			mkdirs(t, k, "/user", "/user/session")
			if tt.setup != nil {
				tt.setup(k)
			}
			before := k.snapshot()
			_, err := create(k.tree(tt.own), Config{ID: "x", Path: tt.path, Resources: parseResources(t, tt.in)}, k)
			var field *FieldError
			if !errors.As(err, &field) || field.Field != "linux.resources."+tt.field || !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.word) || !strings.Contains(field.Hint(), tt.hint) {
				t.Errorf("%v (hint %q)", err, field.Hint())
			}
			if after := k.snapshot(); after != before {
				t.Errorf("before:\n%safter:\n%s", before, after)
			}
		})
	}
}

func TestNewWithoutLimits(t *testing.T) {
	k := newFake(t, "cpu memory")
	mkdirs(t, k, "/user")
	k.sealed = []string{k.root, k.root + "/user"}
	c, err := create(k.tree("/user"), Config{ID: "x"}, k)
	must(t, err)
	if c.Path() != "" || c.FD() != -1 || !strings.Contains(c.Reason(), "permission denied") {
		t.Errorf("%q %d %q", c.Path(), c.FD(), c.Reason())
	}
	must(t, c.Remove(t.Context()))
	c.Close()
	for _, err := range []error{c.Kill(t.Context()), c.Freeze(t.Context()), c.Thaw(), c.AddProcess(1)} {
		if !errors.Is(err, ErrNone) {
			t.Errorf("%v", err)
		}
	}
	// A path that was asked for is not a default.
	if _, err := create(k.tree("/user"), Config{ID: "x", Path: "/a"}, k); !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), pathField) {
		t.Errorf("%v", err)
	}
	for layout, word := range map[Layout]string{Legacy: "v1", Absent: "no cgroup v2 tree"} {
		c, err := create(Tree{Layout: layout}, Config{ID: "x"}, k)
		must(t, err)
		if !strings.Contains(c.Reason(), word) {
			t.Errorf("%s: %s", layout, c.Reason())
		}
		if _, err := create(Tree{Layout: layout}, Config{ID: "x", Resources: parseResources(t, limits)}, k); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", layout, err)
		}
	}
}

func TestNames(t *testing.T) {
	for path, want := range map[string]string{"": "coracle-x", "/a/b": "a b", "a//b/.": "a b", "a:b:c": "a:b:c", "/machine.slice/x.scope": "machine.slice x.scope"} {
		got, err := Config{ID: "x", Path: path}.names()
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v", path, got, err)
		}
	}
	for _, path := range []string{"/", ".", "//", "..", "/a/../b", "/a/..", "a\nb", "a\x00", "/cgroup.procs", "/a/memory.max", "/" + strings.Repeat("x", 256)} {
		if got, err := (Config{ID: "x", Path: path}).names(); !errors.Is(err, ErrBadRequest) {
			t.Errorf("%q: %q, %v", path, got, err)
		}
	}
	if _, err := (Config{ID: "a/b"}).names(); !errors.Is(err, ErrBadRequest) {
		t.Errorf("an id with a slash: %v", err)
	}
}

func TestHints(t *testing.T) {
	user := host{uid: 1000, name: "ann", systemd: true, manager: true}
	offered := Tree{Layout: Unified, Mount: "/sys/fs/cgroup", OwnDir: "/sys/fs/cgroup/x", Offered: []string{"memory", "pids"}}
	for name, tt := range map[string]struct {
		tree Tree
		host host
		err  *enableError
		want string
	}{
		"version 1":           {Tree{Layout: Legacy}, user, nil, "systemd.unified_cgroup_hierarchy=1"},
		"hybrid":              {Tree{Layout: Hybrid}, user, &enableError{v1: true}, "systemd.unified_cgroup_hierarchy=1"},
		"busy":                {offered, user, &enableError{err: unix.EBUSY}, "systemd-run --user --scope -p Delegate=yes"},
		"busy, no systemd":    {offered, host{uid: 1000}, &enableError{dir: "/d", err: unix.EBUSY}, "mkdir /d/leaf"},
		"not delegated":       {offered, user, &enableError{err: unix.EACCES}, "delegated here: memory pids; for all: printf"},
		"no manager":          {offered, host{uid: 1000, name: "ann", systemd: true}, nil, "loginctl enable-linger ann"},
		"manager":             {offered, user, nil, "--systemd-cgroup"},
		"read-only":           {Tree{Layout: Unified, Mount: "/m", ReadOnly: true}, host{}, nil, "mount /m writable"},
		"no systemd, no root": {offered, host{uid: 1000, name: "ann"}, nil, "chown -R ann /sys/fs/cgroup/x/ann"},
	} {
		if got := tt.tree.hint(tt.host, tt.err); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestCommon(t *testing.T) {
	m := maker{tree: Tree{Mount: "/m", OwnDir: "/m/a/b"}}
	for path, want := range map[string]string{"/m/a/x": "/m/a", "/m/a/b/x": "/m/a/b", "/m/a/bb/x": "/m/a", "/m/x": "/m", "/m/x/y/z": "/m", "/m/a/c/d": "/m/a"} {
		if got := m.common(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestControllers(t *testing.T) {
	files, err := Files(parseResources(t, `{"cpu":{"cpus":"0","shares":5},"unified":{"cgroup.max.depth":"1","memory.high":"1"}}`), Facts{})
	must(t, err)
	if got := controllers(files); !slices.Equal(got, []string{"cpu", "cpuset", "memory"}) {
		t.Errorf("%v", got)
	}
}
