package userns

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// childLoop runs after a raw clone, without a Go runtime: apart from
// RawSyscall6 it may call nothing, on either architecture. An ordinary helper
// dies of "stack growth after fork"; a bounds check would call the runtime.
func TestChildLoopCallsOnlyRawSyscall(t *testing.T) {
	if testing.Short() && os.Getenv("CORACLE_MUST_WORK") != "1" {
		t.Skip("-short: it compiles the package for two architectures")
	}
	call := regexp.MustCompile(`\b(CALL|BL)\s+(\S+)`)
	for _, arch := range []string{"amd64", "arm64"} {
		bin := filepath.Join(t.TempDir(), arch)
		build := exec.Command("go", "test", "-c", "-o", bin, ".")
		build.Env = append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build for %s: %v\n%s", arch, err, out)
		}
		out, err := exec.Command("go", "tool", "objdump", "-s", `^coracle/userns\.childLoop$`, bin).CombinedOutput()
		if err != nil {
			t.Fatalf("objdump: %v\n%s", err, out)
		}
		calls := call.FindAllStringSubmatch(string(out), -1)
		if len(calls) < 4 {
			t.Fatalf("%s: %d calls in childLoop: the disassembly is not read rightly\n%s", arch, len(calls), out)
		}
		for _, c := range calls {
			if !strings.HasPrefix(c[2], "syscall.RawSyscall6") {
				t.Errorf("%s: childLoop calls %s", arch, c[2])
			}
		}
	}
}
