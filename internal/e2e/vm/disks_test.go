package vm

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// machineDisks makes what changes only with its recipe, or finds it.
func machineDisks(t *testing.T, kernel string) disks {
	t.Helper()
	must(t, os.MkdirAll(cache, 0o755))
	lock, err := os.Create(filepath.Join(cache, "lock"))
	must(t, err)
	defer lock.Close()
	must(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))

	abs, err := filepath.Abs(cache)
	must(t, err)
	root := filepath.Join(abs, "root-"+digest(t, "root")+".ext4")
	dir := filepath.Join(abs, "kernel-"+kernel+"-"+digest(t, "kernel"))
	kernelIsThere := later(t, func() bool {
		if _, err := os.Stat(dir); err != nil {
			forget(t, filepath.Join(abs, "kernel-"+kernel+"-*"))
			run(t, nil, "./kernel", kernel, dir)
		}
		return true
	})
	if _, err := os.Stat(root); err != nil {
		forget(t, filepath.Join(abs, "root-*"))
		run(t, nil, "./root", root)
	}
	kernelIsThere()
	in := func(name string) string { return filepath.Join(dir, name) }
	return disks{vmlinuz: in("vmlinuz"), initrd: in("initrd"), modules: in("modules.ext4"), root: root}
}

// later makes something beside what the test goes on with, until that asks for it.
func later[T any](t *testing.T, what func() T) func() T {
	var made T
	done := make(chan struct{})
	go func() {
		defer close(done)
		made = what()
	}()
	return func() T {
		<-done
		if t.Failed() {
			t.FailNow()
		}
		return made
	}
}

// digest names what a recipe makes.
func digest(t *testing.T, files ...string) string {
	t.Helper()
	h := sha256.New()
	for _, name := range files {
		text, err := os.ReadFile(name)
		must(t, err)
		fmt.Fprintf(h, "%s %d\n%s", name, len(text), text)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:6])
}

func forget(t *testing.T, pattern string) {
	t.Helper()
	old, err := filepath.Glob(pattern)
	must(t, err)
	for _, name := range old {
		must(t, os.RemoveAll(name))
	}
}

// payloadDisk has what is new in each run, mounted at /e2e inside.
func payloadDisk(t *testing.T, scripts []script) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "coracle-vm-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	in := func(elem ...string) string { return filepath.Join(append([]string{dir, "e2e"}, elem...)...) }
	must(t, os.MkdirAll(in("bin"), 0o755))

	run(t, nil, "make", "-s", "-C", "../../..", "build")
	run(t, nil, "cp", cmp.Or(os.Getenv("CORACLE_E2E_BINARY"), "../../../bin/coracle"), in("bin/coracle"))
	static := []string{"CGO_ENABLED=0"}
	run(t, static, "go", "build", "-o", in("bin/payload"), "../payload")
	run(t, append(static, "GOARCH=386"), "go", "build", "-o", in("bin/payload386"), "../payload")
	run(t, static, "go", "test", "-c", "-ldflags", "-s -w", "-o", in("bin/e2e.test"), "..")

	run(t, nil, "cp", "-L", "/bin/busybox", in("bin/busybox"))
	for _, dir := range []string{"bin", "proc", "sys", "dev", "tmp", "etc"} {
		must(t, os.MkdirAll(in("rootfs", dir), 0o755))
	}
	run(t, nil, "cp", in("bin/busybox"), in("rootfs/bin/"))
	for _, applet := range strings.Fields("sh cat sleep id ls grep head dd true kill") {
		must(t, os.Symlink("busybox", in("rootfs/bin", applet)))
	}

	must(t, os.CopyFS(in("scripts"), os.DirFS("scripts")))
	must(t, os.CopyFS(in("script"), os.DirFS("../testdata/script")))
	must(t, os.CopyFS(in("make"), os.DirFS("../testdata/make")))
	guide, err := os.ReadFile("../../../docs/user-guide.md") // for the unit in it
	must(t, err)
	must(t, os.WriteFile(in("user-guide.md"), guide, 0o644))
	run(t, nil, "cp", "guest", "case", "ssh_config", "resources", "resources.json", "bombs", "podman-flags", in())
	var plan strings.Builder
	for _, s := range scripts {
		plan.WriteString(s.plan())
	}
	must(t, os.WriteFile(in("plan"), []byte(plan.String()), 0o644))
	images(t, in(), "busybox", "layers")

	disk := filepath.Join(dir, "payload.ext4")
	run(t, nil, "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-E", "root_owner=0:0", "-d", in(), disk, "256M")
	must(t, os.RemoveAll(in()))
	return disk
}

// images has the scripts of ../testdata/make make the images that the tests
// use, as ../scripts_test.go does: as an unprivileged user.
func images(t *testing.T, e2e string, names ...string) {
	t.Helper()
	base, err := os.MkdirTemp("/var/tmp", "coracle-vm-")
	must(t, err)
	defer os.RemoveAll(base)
	must(t, os.Chmod(base, 0o755))
	name := cmp.Or(os.Getenv("CORACLE_E2E_USER"), "coracle-test")
	var as []string
	if os.Getuid() == 0 {
		run(t, nil, "../testuser.sh", name)
		u, err := user.Lookup(name)
		must(t, err)
		as = []string{"setpriv", "--reuid", u.Uid, "--regid", u.Gid, "--init-groups"}
	}
	for _, sub := range []string{"images", "home", "run"} {
		must(t, os.Mkdir(filepath.Join(base, sub), 0o700))
		if os.Getuid() == 0 {
			run(t, nil, "chown", name+":", filepath.Join(base, sub))
		}
	}
	for _, image := range names {
		run(t, nil, "env", append([]string{
			"-i", "-C", filepath.Join(base, "images"), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
			"HOME=" + base + "/home", "TMPDIR=" + base + "/home", "XDG_RUNTIME_DIR=" + base + "/run",
			"BIN=" + e2e + "/bin", "MAKE=" + e2e + "/make", "STORAGE_DRIVER=vfs", "BUILDAH_ISOLATION=chroot"},
			append(as, "bash", "-euo", "pipefail", filepath.Join(e2e, "make", image))...)...)
		run(t, nil, "cp", "-r", filepath.Join(base, "images", image), filepath.Join(e2e, "images-"+image))
	}
	must(t, os.Mkdir(filepath.Join(e2e, "images"), 0o755))
	for _, image := range names {
		must(t, os.Rename(filepath.Join(e2e, "images-"+image), filepath.Join(e2e, "images", image)))
	}
	if len(as) > 0 { // what belongs to subordinate ids goes by whoever has them
		run(t, nil, as[0], append(as[1:], "unshare", "--user", "--map-root-user", "--map-auto", "sh", "-c", `rm -rf "$1"/*/*`, "-", base)...)
	}
}

func run(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
