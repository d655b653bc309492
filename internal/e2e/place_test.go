package e2e

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// baseEnv tells the run as the test user where the run as root prepared.
const baseEnv = "CORACLE_E2E_BASE"

// place is the directory of one test run, outside the checkout, which the
// test user may not be able to read:
//
//	bin/     coracle, and the programs that run inside containers
//	script/  the scripts
//	images/  images made by others, shared by the scripts, read-only to them
//	w/ r/    work and runtime directories of the scripts
//	small/   a tmpfs of 24 MB to fill up
type place string

func (p place) join(elem ...string) string {
	return filepath.Join(append([]string{string(p)}, elem...)...)
}

func (p place) path() string {
	return p.join("bin") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

// newPlace builds the binaries and lays out the directories.
func newPlace(t *testing.T) place {
	t.Helper()
	lockRun(t)
	base, err := os.MkdirTemp("/var/tmp", "coracle-e2e-") // not /tmp: `run host` has one of its own
	must(t, err)
	p := place(base)
	must(t, os.Chmod(base, 0o755))
	t.Cleanup(func() { p.remove(t) })

	for _, dir := range []string{"bin", "images", "w", "r", "home", "small"} {
		must(t, os.Mkdir(p.join(dir), 0o755))
	}
	must(t, os.CopyFS(p.join("script"), os.DirFS("testdata/script")))
	must(t, os.CopyFS(p.join("make"), os.DirFS("testdata/make")))
	must(t, os.CopyFS(p.join("oci"), os.DirFS("testdata/oci")))
	p.build(t)
	if os.Getuid() == 0 {
		p.giveToUser(t)
	}
	p.cacheIn(t)
	return p
}

// lockRun lets one run at a time own the test user's processes.
func lockRun(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile("/tmp/coracle-e2e-"+testUser+".lock", os.O_CREATE|os.O_RDWR, 0o666)
	must(t, err)
	must(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	t.Cleanup(func() { f.Close() })
}

// build makes the binary under test as `make build` does, and the programs
// that play the payload.
func (p place) build(t *testing.T) {
	t.Helper()
	if other := os.Getenv("CORACLE_E2E_BINARY"); other != "" {
		// The scripts against another program: a peer, or an older build.
		run(t, nil, "cp", other, p.join("bin/coracle"))
	} else {
		run(t, nil, "make", "-s", "-C", "../..", "build")
		run(t, nil, "cp", "../../bin/coracle", p.join("bin"))
	}
	static := []string{"CGO_ENABLED=0"}
	run(t, static, "go", "build", "-o", p.join("bin/payload"), "./payload")
	run(t, append(static, "GOARCH=386"), "go", "build", "-o", p.join("bin/payload386"), "./payload")
}

func run(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Minute) // also in Cleanup
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The Debian root is worth keeping between runs: it is named by what makes
// it, and made again when that changes.
func (p place) cacheIn(t *testing.T) {
	for from, to := range p.cached(t) {
		if _, err := os.Stat(from); err == nil {
			run(t, nil, "cp", "--sparse=always", from, to)
		}
	}
	t.Cleanup(func() {
		for to, from := range p.cached(t) {
			if _, err := os.Stat(to); err == nil {
				continue
			}
			if _, err := os.Stat(from); err == nil {
				_ = os.MkdirAll(filepath.Dir(to), 0o755)
				run(t, nil, "cp", from, to+".tmp")
				must(t, os.Rename(to+".tmp", to))
			}
		}
	})
}

// assertClean runs after all scripts: nothing of ours may be left.
func (p place) assertClean(t *testing.T) {
	t.Helper()
	if err := noMounts(p.join("w"), p.join("r")); err != nil {
		t.Error(err)
	}
	if left := processes(p.uid(), ""); len(left) > 0 {
		t.Errorf("processes left after all scripts:\n%s", strings.Join(left, "\n"))
	}
}

func (p place) remove(t *testing.T) {
	if os.Getuid() == 0 {
		if err := syscall.Unmount(p.join("small"), 0); err != nil {
			t.Logf("unmount %s: %v", p.join("small"), err)
		}
	} else {
		removeMapped(p.join("w"), p.join("r"), p.join("images"), p.join("home"))
	}
	_ = filepath.WalkDir(string(p), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	if err := os.RemoveAll(string(p)); err != nil {
		t.Logf("remove %s: %v", p, err)
	}
}
