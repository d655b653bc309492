package engine

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"coracle/cgroupv2"

	"golang.org/x/sys/unix"
)

func TestOpenReport(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/program", nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, good := range []string{"", "-", "report_test.json", dir + "/new", dir + "/file"} {
		d, err := openReport(good)
		if err != nil {
			t.Errorf("%q: %v", good, err)
		}
		d.Close()
	}
	for path, want := range map[string]error{
		dir + "/missing/r.json": unix.ENOENT, dir + "/program/r.json": unix.ENOTDIR, dir: unix.EISDIR,
	} {
		_, err := openReport(path)
		var ee *Error
		if !errors.Is(err, want) || !errors.As(err, &ee) || ee.Help == "" {
			t.Errorf("%s: %v", path, err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("checking has made something: %v", left)
	}
}

// A failed start has its report, with the reason and the code.
func TestReportOfAFailedStart(t *testing.T) {
	e := testEngine(t)
	file := filepath.Join(t.TempDir(), "r.json")
	r := &run{e: e, o: RunOptions{Image: "img", Report: file, Remove: true}, root: &rootSource{}, box: testBox(t, e, "boat", true)}
	if err := r.finish(context.Background(), Exit{Code: 127}, errors.New("no such command")); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var rep report
	if err := json.Unmarshal(data, &rep); err != nil || rep.ExitCode != 127 || rep.Error != "no such command" || rep.Name != "boat" || rep.Wall < 0 {
		t.Errorf("%s: %v", data, err)
	}
	assertNothing(t, e)
}

// What a cgroup counts is of all processes; what it does not know is of those
// that were waited for.
func TestReportOfWhatWasUsed(t *testing.T) {
	ru := syscall.Rusage{Maxrss: 1000, Utime: syscall.Timeval{Sec: 1}, Stime: syscall.Timeval{Usec: 500_000}}
	for name, test := range map[string]struct {
		all          *cgroupv2.Usage
		user, system float64
		peak         int64
		of           string
	}{
		"no cgroup":            {nil, 1, 0.5, 1_024_000, "largestProcess"},
		"no memory controller": {&cgroupv2.Usage{User: 2 * time.Second, System: time.Second}, 2, 1, 1_024_000, "largestProcess"},
		"all of it":            {&cgroupv2.Usage{User: 2 * time.Second, MemoryPeak: 5000}, 2, 0, 5000, "container"},
	} {
		var rep report
		rep.spend(ru, test.all)
		if rep.User != test.user || rep.System != test.system || rep.MemoryPeak != test.peak || rep.MemoryPeakOf != test.of || rep.LargestProcess != 1_024_000 {
			t.Errorf("%s: %+v", name, rep)
		}
	}
}
