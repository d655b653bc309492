package cgroupv2

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func fakeCgroup(t *testing.T, files map[string]string) *Cgroup {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644))
	}
	c, err := openDir(dir)
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

const psi = "some avg10=1.50 avg60=0.25 avg300=0.00 total=123\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"

// The golden text has the names that runc 1.5 gives them.
func TestStats(t *testing.T) {
	c := fakeCgroup(t, map[string]string{
		"cgroup.controllers":  "cpu io hugetlb memory pids\n",
		"cgroup.procs":        "",
		"cpu.stat":            "usage_usec 3000\nuser_usec 2000\nsystem_usec 1000\nnr_periods 5\nnr_throttled 2\nthrottled_usec 7\n",
		"cpu.pressure":        psi,
		"cpuset.cpus":         "0-1,3\n",
		"memory.stat":         "anon 100\nfile 50\n",
		"memory.current":      "4096\n",
		"memory.max":          "10000\n",
		"memory.peak":         "5000\n",
		"memory.events":       "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n",
		"memory.swap.current": "1\n",
		"memory.swap.max":     "500\n",
		"memory.swap.events":  "high 0\nmax 4\nfail 0\n",
		"io.stat":             "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n8:0 rbytes=1 wbytes=0 rios=1 wios=0\n",
		"pids.current":        "3\n", "pids.max": "max\n",
		"hugetlb.2MB.events": "max 9\n", "hugetlb.2MB.events.local": "max 9\n", "hugetlb.2MB.current": "1\n", "hugetlb.2MB.rsvd.current": "2097152\n",
	})
	s, err := c.Stats()
	must(t, err)
	got, err := json.Marshal(s)
	must(t, err)
	const want = `{"cpu":{"usage":{"total":3000000,"kernel":1000000,"user":2000000},"throttling":{"periods":5,"throttledPeriods":2,"throttledTime":7000},` +
		`"psi":{"some":{"avg10":1.5,"avg60":0.25,"avg300":0,"total":123},"full":{"avg10":0,"avg60":0,"avg300":0,"total":7}}},` +
		`"cpuset":{"cpus":[0,1,3],"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0},` +
		`"memory":{"cache":50,"usage":{"limit":10000,"usage":4096,"max":5000,"failcnt":3},"swap":{"limit":10500,"usage":4097,"failcnt":4},"raw":{"anon":100,"file":50}},` +
		`"pids":{"current":3},` +
		`"blkio":{"ioServiceBytesRecursive":[{"major":8,"minor":16,"op":"Read","value":1459200},{"major":8,"minor":16,"op":"Write","value":314773504},{"major":8,"op":"Read","value":1},{"major":8,"op":"Write"}],` +
		`"ioServicedRecursive":[{"major":8,"minor":16,"op":"Read","value":192},{"major":8,"minor":16,"op":"Write","value":353},{"major":8,"op":"Read","value":1},{"major":8,"op":"Write"}]},` +
		`"hugetlb":{"2MB":{"usage":2097152,"failcnt":9}},"intel_rdt":{},"network_interfaces":null}`
	if string(got) != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if n, err := c.OOMKills(); err != nil || n != 1 {
		t.Errorf("OOM kills %d, %v", n, err)
	}
}

func TestStatsOfUnlimitedMemory(t *testing.T) {
	c := fakeCgroup(t, map[string]string{"cgroup.procs": "", "memory.stat": "anon 1\n", "memory.max": "max\n", "memory.swap.max": "500\n"})
	s, err := c.Stats()
	must(t, err)
	const most = 1<<64 - 1
	if s.Memory.Usage.Limit != most || s.Memory.Swap.Limit != most {
		t.Errorf("limits %d and %d, want %d", s.Memory.Usage.Limit, s.Memory.Swap.Limit, uint64(most))
	}
}

// Without controllers there is CPU time and the number of processes.
func TestStatsForReal(t *testing.T) {
	_, name := realTree(t)
	c := newReal(t, name+"/c")
	cmd := start(t, c, "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; read x")
	must(t, os.Mkdir(c.Path()+"/below", 0o755))
	must(t, os.WriteFile(c.Path()+"/below/cgroup.procs", fmt.Append(nil, cmd.Process.Pid), 0))
	start(t, c, "sleep", "1000")
	var s *Stats
	for range 200 {
		var err error
		s, err = c.Stats()
		must(t, err)
		if s.CPU.Usage.Total > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if s.CPU.Usage.Total == 0 {
		t.Errorf("no CPU time: %+v", s.CPU)
	}
	if s.Pids.Current != 1 && s.Pids.Current != 2 { // the first may have read its end of file
		t.Errorf("%d processes", s.Pids.Current)
	}
	if _, err := os.Stat(c.Path() + "/memory.events"); os.IsNotExist(err) {
		if _, err := c.OOMKills(); !errors.Is(err, ErrUnsupported) {
			t.Errorf("OOM kills without the controller: %v", err)
		}
	}
	must(t, c.Kill(t.Context()))
	must(t, c.Remove(t.Context()))
	if _, err := c.Stats(); !errors.Is(err, ErrGone) {
		t.Errorf("statistics of a cgroup that is gone: %v", err)
	}
}

func TestWatchCountsKills(t *testing.T) {
	c := fakeCgroup(t, map[string]string{"cgroup.procs": "", "cgroup.events": "populated 1\nfrozen 0\n", "memory.events": "oom_kill 002\n"})
	put := func(name, data string) {
		// In place, and never seen empty: the watcher has the file open.
		f, err := os.OpenFile(filepath.Join(c.Path(), name), os.O_WRONLY, 0)
		must(t, err)
		defer f.Close()
		_, err = f.WriteAt([]byte(data), 0)
		must(t, err)
	}
	kills := make(chan uint64)
	done := make(chan error)
	go func() { done <- c.watch(t.Context(), 5*time.Millisecond, func(n uint64) { kills <- n }) }()
	next := func(from uint64) uint64 {
		// What is counted before the watch begins is not news: so go on.
		for n := from; n < from+100; n++ {
			put("memory.events", fmt.Sprintf("oom_kill %d\n", n))
			select {
			case got := <-kills:
				return got
			case <-time.After(50 * time.Millisecond):
			}
		}
		t.Fatal("never told")
		return 0
	}
	n := next(100)
	if n < 100 {
		t.Errorf("told of %d", n)
	}
	put("memory.events", "oom_kill 999\n")
	put("cgroup.events", "populated 0\nfrozen 0\n")
	if n := <-kills; n != 999 {
		t.Errorf("told of %d, want the last, 999", n)
	}
	must(t, <-done)
}

func TestWatchForReal(t *testing.T) {
	_, name := realTree(t)
	c := newReal(t, name+"/c")
	cmd := start(t, c, "sleep", "1000")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.watch(ctx, time.Hour, func(uint64) {}) }()
	time.Sleep(20 * time.Millisecond)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	// The kernel's word alone ends it.
	go func() { done <- c.watch(t.Context(), time.Hour, func(uint64) {}) }()
	time.Sleep(20 * time.Millisecond)
	must(t, cmd.Process.Kill())
	must(t, <-done)
}
