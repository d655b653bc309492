package engine

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A position independent binary lies anywhere in memory, as what the start of
// a container copies of it does.
func TestPIE(t *testing.T) {
	cannot := t.Skipf
	if os.Getenv("CORACLE_MUST_WORK") == "1" {
		cannot = t.Fatalf
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		cannot("busybox is missing: apt-get install busybox-static")
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "coracle")
	build := exec.Command("go", "build", "-buildmode=pie", "-o", bin, "../..")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		cannot("build: %v\n%s", err, out)
	}
	root := filepath.Join(dir, "root/bin")
	data, err := os.ReadFile(busybox)
	if err == nil {
		err = os.MkdirAll(root, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(root, "sleep"), data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, flags := range []string{"", "--init"} {
		args := append([]string{"--root", dir + "/store", "--runroot", dir + "/run", "run", "--rm"}, strings.Fields(flags)...)
		args = append(args, "--rootfs", filepath.Dir(root), "/bin/sleep", "1")
		if out, err := exec.Command(bin, args...).CombinedOutput(); err != nil {
			t.Errorf("coracle run %s: %v\n%s", flags, err, out)
		}
	}
}
