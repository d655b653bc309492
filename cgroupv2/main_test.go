package cgroupv2

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"coracle/cgroupv2/bus"

	"golang.org/x/sys/unix"
)

// inside are the tests' halves that run as another user, in namespaces or in a
// cgroup of their own: argv[0] is "[inside:NAME]". They print what went wrong.
func inside(name string) func(args []string) error {
	return map[string]func([]string) error{"delegated": insideDelegated, "unified": insideUnified, "namespace": insideNamespace, "shared": insideShared, "walk": insideWalk, "sweep": insideSweep}[name]
}

func TestMain(m *testing.M) {
	UseBus(Bus{
		Dial: func(ctx context.Context, socket string, own bool) (Systemd, error) {
			c, err := bus.Dial(ctx, socket, own)
			if err != nil {
				return nil, err
			}
			return c, nil
		},
		ParseValue: bus.ParseValue,
	})
	if name, ok := strings.CutPrefix(os.Args[0], "[inside:"); ok {
		if err := inside(strings.TrimSuffix(name, "]"))(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// need skips, or fails where CORACLE_MUST_WORK says that nothing may be
// missing.
func need(t *testing.T, ok bool, what string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("CORACLE_MUST_WORK") == "1" {
		t.Fatalf("missing: %s", what)
	}
	t.Skipf("missing: %s", what)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// realTree gives a cgroup of the real kernel for one test, as the tree names
// it ("/coracle-test-…") and as a directory. All in it is killed and removed
// when the test ends, without help of what is tested.
func realTree(t *testing.T) (Tree, string) {
	t.Helper()
	need(t, os.Geteuid() == 0, "root")
	tree, err := Detect()
	must(t, err)
	need(t, tree.Mount != "", "a cgroup v2 tree")
	name := fmt.Sprintf("/coracle-test-%d-%s", os.Getpid(), strings.NewReplacer("/", "-", " ", "-").Replace(t.Name()))
	dir := tree.Mount + name
	must(t, os.Mkdir(dir, 0o755))
	t.Cleanup(func() {
		if err := os.WriteFile(dir+"/cgroup.kill", []byte("1"), 0); err != nil {
			t.Errorf("clean up: %v", err)
		}
		script := `for i in $(seq 200); do find "$0" -depth -type d -exec rmdir {} + 2>/dev/null; [ -e "$0" ] || exit 0; sleep 0.05; done; exit 1`
		if out, err := exec.Command("sh", "-c", script, dir).CombinedOutput(); err != nil {
			t.Errorf("clean up %s: %v %s", dir, err, out)
		}
	})
	return tree, name
}

// start runs a command in the cgroup.
func start(t *testing.T, c *Cgroup, argv ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: c.FD(), Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// runInside runs an inner half in a cgroup and fails the test with what it says.
func runInside(t *testing.T, name, cgroupDir string, attr syscall.SysProcAttr, args ...string) {
	t.Helper()
	dir, err := os.Open(cgroupDir)
	must(t, err)
	defer dir.Close()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "[inside:" + name + "]"
	cmd.Dir = "/"
	attr.UseCgroupFD, attr.CgroupFD, attr.Pdeathsig = true, int(dir.Fd()), syscall.SIGKILL
	cmd.SysProcAttr = &attr
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// fakeKernel is a cgroup tree in a temporary directory that behaves as the
// kernel's where New depends on it.
type fakeKernel struct {
	t      *testing.T
	root   string
	refuse map[string]error // file name, or name=value
	own    string           // directory that has processes
	sealed []string         // directories that are another user's
}

// The files that each controller gives, with their content when new.
func fakeFiles(controller string) map[string]string {
	return map[string]map[string]string{
		"memory":  {"memory.max": "max", "memory.low": "0", "memory.high": "max", "memory.swap.max": "max", "memory.current": "4096"},
		"pids":    {"pids.max": "max", "pids.current": "0"},
		"cpu":     {"cpu.max": "max 100000", "cpu.weight": "100", "cpu.idle": "0", "cpu.max.burst": "0"},
		"io":      {"io.max": "", "io.weight": "default 100"},
		"cpuset":  {"cpuset.cpus": "", "cpuset.mems": ""},
		"hugetlb": {"hugetlb.2MB.max": "max", "hugetlb.2MB.rsvd.max": "max"},
	}[controller]
}

func newFake(t *testing.T, controllers string) *fakeKernel {
	k := &fakeKernel{t: t, root: t.TempDir(), refuse: map[string]error{}}
	k.fill(k.root, controllers)
	return k
}

func (k *fakeKernel) fill(dir, controllers string) {
	files := map[string]string{"cgroup.controllers": controllers, "cgroup.subtree_control": "", "cgroup.procs": "", "cgroup.events": "populated 0\nfrozen 0\n"}
	for name, data := range files {
		must(k.t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644))
	}
	if dir != k.root {
		k.give(dir, strings.Fields(controllers))
	}
}

func (k *fakeKernel) give(dir string, controllers []string) {
	for _, c := range controllers {
		for name, data := range fakeFiles(c) {
			must(k.t, os.WriteFile(filepath.Join(dir, name), []byte(data+"\n"), 0o644))
		}
	}
}

func (k *fakeKernel) mkdir(path string) error {
	for _, s := range k.sealed {
		if filepath.Dir(path) == s {
			return &os.PathError{Op: "mkdir", Path: path, Err: unix.EACCES}
		}
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	k.fill(path, readIn(filepath.Dir(path), subtreeControl))
	return nil
}

func (k *fakeKernel) rmdir(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			return unix.EBUSY
		}
	}
	return os.RemoveAll(path)
}

func (k *fakeKernel) write(dir *os.File, name, value string) error {
	fail := func(err error) error { return &os.PathError{Op: "write", Path: dir.Name() + "/" + name, Err: err} }
	for _, key := range []string{name, name + "=" + value} {
		if err := k.refuse[key]; err != nil {
			return fail(err)
		}
	}
	if name != subtreeControl {
		if _, err := os.Stat(dir.Name() + "/" + name); err != nil {
			return fail(unix.ENOENT)
		}
		return os.WriteFile(dir.Name()+"/"+name, []byte(value+"\n"), 0)
	}
	if dir.Name() == k.own {
		return fail(unix.EBUSY)
	}
	for _, s := range k.sealed {
		if dir.Name() == s {
			return fail(unix.EACCES)
		}
	}
	on := strings.Fields(readIn(dir.Name(), subtreeControl))
	for _, word := range strings.Fields(value) {
		on = without(on, []string{word[1:]})
		if word[0] == '+' {
			on = append(on, word[1:])
		}
	}
	must(k.t, os.WriteFile(dir.Name()+"/"+name, []byte(strings.Join(on, " ")), 0o644))
	kids, _ := filepath.Glob(dir.Name() + "/*/cgroup.controllers")
	for _, kid := range kids {
		had := strings.Fields(readIn(filepath.Dir(kid), "cgroup.controllers"))
		must(k.t, os.WriteFile(kid, []byte(strings.Join(on, " ")), 0o644))
		k.give(filepath.Dir(kid), without(on, had))
		for _, c := range without(had, on) {
			for file := range fakeFiles(c) {
				must(k.t, os.Remove(filepath.Dir(kid)+"/"+file))
			}
		}
	}
	return nil
}

// snapshot is the whole tree as text.
func (k *fakeKernel) snapshot() string {
	var b bytes.Buffer
	must(k.t, filepath.WalkDir(k.root, func(p string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			fmt.Fprintln(&b, p)
			return err
		}
		data, err := os.ReadFile(p)
		fmt.Fprintf(&b, "%s: %q\n", p, data)
		return err
	}))
	return b.String()
}
