package fuse

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// inside are the tests' halves that run as uid 0 of a user and mount namespace
// of their own: argv[0] is "[inside:NAME]". They print what went wrong.
func inside(name string) func(args []string) error {
	return map[string]func([]string) error{
		"host": insideHost, "plan": insidePlan, "stack": insideStack, "fuse": insideFuse,
		"layers": insideLayers, "tree": insideTree, "compare": insideCompare,
	}[name]
}

func TestMain(m *testing.M) {
	if os.Args[0] == ProbeName {
		os.Exit(ProbeMain())
	}
	if name, ok := strings.CutPrefix(os.Args[0], "[inside:"); ok {
		syscall.Umask(0)
		if err := inside(strings.TrimSuffix(name, "]"))(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// tctx is for inner halves, which have no testing.T.
var tctx = context.Background()

func sysMap(m specs.LinuxIDMapping) syscall.SysProcIDMap {
	return syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)}
}

// need skips, or fails where CORACLE_MUST_WORK says that nothing may be
// missing.
func need(t *testing.T, ok bool, what string) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("CORACLE_MUST_WORK") != "" {
		t.Fatalf("missing: %s", what)
	}
	t.Skipf("missing: %s", what)
}

// caller is who the inner halves are on the host: an unprivileged user, also
// when the tests are run by root.
type caller struct {
	uid, gid int
	ids      int // mapped ids: 1, or a range from 100000 on
}

func unprivileged(t *testing.T) caller {
	t.Helper()
	if os.Geteuid() != 0 {
		return caller{os.Geteuid(), os.Getegid(), 1}
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return caller{uid, gid, 1}
}

// dir makes a directory of the caller's that it can reach.
func (c caller) dir(t *testing.T) string {
	t.Helper()
	base := os.Getenv("CORACLE_TEST_DIR")
	if base == "" {
		base = os.TempDir()
	}
	d, err := os.MkdirTemp(base, "coracle-fuse-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The kernel's work directories have no permissions at all.
		_ = filepath.WalkDir(d, func(p string, e os.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				err = os.Chmod(p, 0o700) //nolint:gosec // a directory
			}
			return err
		})
		if err := os.RemoveAll(d); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	if err := os.Chown(d, c.uid, c.gid); err != nil {
		t.Fatal(err)
	}
	return d
}

// command is the test binary again, as the caller, in new namespaces.
func (c caller) command(t *testing.T, argv0 string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = argv0
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: c.uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: c.gid, Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if c.ids > 1 {
		cmd.SysProcAttr.UidMappings = append(cmd.SysProcAttr.UidMappings, syscall.SysProcIDMap{ContainerID: 1, HostID: 100000, Size: c.ids - 1})
		cmd.SysProcAttr.GidMappings = append(cmd.SysProcAttr.GidMappings, syscall.SysProcIDMap{ContainerID: 1, HostID: 100000, Size: c.ids - 1})
		cmd.SysProcAttr.GidMappingsEnableSetgroups = true
	}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: c.ids == 1}
	}
	return cmd
}

// run runs an inner half and fails the test with what it says.
func (c caller) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := c.command(t, "[inside:"+name+"]", args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out.String(), errs.String())
	}
	return out.String()
}

// write makes files: a name that ends with / is a directory, "a -> b" a
// symbolic link.
func write(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, data := range files {
		if link, to, ok := strings.Cut(name, " -> "); ok {
			p := filepath.Join(root, link)
			must(t, os.MkdirAll(filepath.Dir(p), 0o755))
			must(t, os.Symlink(to, p))
			continue
		}
		p := filepath.Join(root, name)
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(p, 0o755))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		must(t, os.WriteFile(p, []byte(data), 0o644))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
