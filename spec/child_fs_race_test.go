package spec

import (
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Somebody who shares a volume swaps a directory on the way to mount points
// for a link that leads out, all the time (CVE-2021-30465). Whatever a start
// meets, nothing is made or mounted outside.
func TestStartWhileLinksAreSwapped(t *testing.T) {
	vol, outside := t.TempDir(), t.TempDir()
	for _, d := range []string{vol + "/dir", outside + "/sub"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(strings.Repeat("../", 30)+outside, vol+"/link"); err != nil {
		t.Fatal(err)
	}
	stop, swapped := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				swapped <- n
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, vol+"/dir", unix.AT_FDCWD, vol+"/link", unix.RENAME_EXCHANGE)
			}
		}
	}()
	src := outside + "/sub"
	started, refused := 0, 0
	rounds := 40
	if os.Getenv(lackEnv) != "" { // four times more: TestStartOnOldKernels
		rounds = 12
	}
	for range rounds {
		s := testSpec(busyboxRoot(t), "cat", "/proc/self/mountinfo")
		s.Mounts = append(s.Mounts,
			specs.Mount{Destination: "/v", Source: vol, Options: []string{"rbind"}},
			specs.Mount{Destination: "/v/dir/made", Type: "tmpfs"},
			specs.Mount{Destination: "/v/dir/file", Source: "/etc/passwd", Options: []string{"bind"}},
			specs.Mount{Destination: "/v/dir/sub", Source: src, Options: []string{"rbind", "ro"}})
		s.Linux.MaskedPaths = append(s.Linux.MaskedPaths, "/v/dir/made")
		s.Linux.ReadonlyPaths = append(s.Linux.ReadonlyPaths, "/v/dir/sub")
		s.Process.Cwd = "/v/dir/wd"
		if _, _, err := runSpec(t, s, Extra{}); err != nil {
			refused++
		} else {
			started++
		}
		if left, _ := os.ReadDir(outside); len(left) != 1 {
			t.Fatalf("made outside: %v", left)
		}
	}
	close(stop)
	t.Logf("%d started, %d refused, %d swaps", started, refused, <-swapped)
	if left, _ := os.ReadDir(src); len(left) != 0 {
		t.Errorf("made outside: %v", left)
	}
}
