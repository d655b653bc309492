package quiet

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A process's second thread is sysmon, and the others are of the ordinary policy, as is
// what the process starts.
func TestSysmon(t *testing.T) {
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	quiet, want := 0, 0
	for _, e := range entries {
		var tid int
		if _, err := fmt.Sscan(e.Name(), &tid); err != nil {
			t.Fatal(err)
		}
		if pid := os.Getpid(); tid > pid && tid < pid+near {
			want = 1 // as ever, unless many processes were started at that moment
		}
		attr, err := unix.SchedGetAttr(tid, 0)
		if err != nil {
			continue // it has ended
		}
		switch attr.Policy {
		case unix.SCHED_BATCH:
			quiet++
			if attr.Flags&unix.SCHED_FLAG_RESET_ON_FORK == 0 {
				t.Errorf("thread %d hands its policy down", tid)
			}
		case unix.SCHED_NORMAL:
		default:
			t.Errorf("thread %d has policy %d", tid, attr.Policy)
		}
	}
	if quiet != want {
		t.Errorf("%d threads of %d wait for their turn, want %d", quiet, len(entries), want)
	}
	out, err := exec.Command("sh", "-c", "chrt -p $$").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "SCHED_OTHER") {
		t.Errorf("what is started: %v: %s", err, out)
	}
}

func TestAllocations(t *testing.T) {
	if runtime.MemProfileRate != 0 {
		t.Errorf("allocations are written down, one in %d bytes", runtime.MemProfileRate)
	}
}
