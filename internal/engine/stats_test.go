package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"testing"
	"time"

	"coracle/cgroupv2"
	"coracle/spec"
)

func TestInterfaceBytes(t *testing.T) {
	const heading = "Inter-|   Receive                                                |  Transmit\n" +
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"
	lo := "    lo:    9999      10    0    0    0     0          0         0     9999      10    0    0    0     0       0          0\n"
	eth := "  eth0: 1000000       7    0    0    0     0          0         0     2000       9    0    0    0     0       0          0\n"
	tap := "longname0:5       7    0    0    0     0          0         0     6       9    0    0    0     0       0          0\n"
	for name, test := range map[string]struct {
		text    string
		in, out uint64
		any     bool
	}{
		"lo only":      {heading + lo, 0, 0, false},
		"one":          {heading + lo + eth, 1000000, 2000, true},
		"two":          {heading + lo + eth + tap, 1000005, 2006, true},
		"nothing":      {"", 0, 0, false},
		"of no format": {"eth0: 1 2 3\n", 0, 0, false},
	} {
		if in, out, any := interfaceBytes(test.text); in != test.in || out != test.out || any != test.any {
			t.Errorf("%s: %d %d %v", name, in, out, any)
		}
	}
}

// What the cgroup counts is taken from there, the rest from the processes; what
// neither knows stays unknown.
func TestStatsSources(t *testing.T) {
	var s ContainerStats
	s.fromCgroup(cgroupv2.Usage{CPU: time.Hour, HasPids: true, Pids: 77, PidsLimit: 100})
	s.fromProcesses([]int{os.Getpid()})
	if s.CPU != time.Hour || s.CPUFrom != FromCgroup || s.Pids != 77 || s.PidsLimit != 100 || s.PidsFrom != FromCgroup {
		t.Errorf("%+v", s)
	}
	if s.MemoryFrom != FromProcesses || s.Memory < 100<<10 || s.BlockFrom != FromProcesses || s.OOMKillsKnown {
		t.Errorf("%+v", s)
	}
	s = ContainerStats{}
	s.fromCgroup(cgroupv2.Usage{HasMemory: true, Memory: 5, OOMKills: 2, HasPids: true, Pids: 1, PidsLimit: ^uint64(0), HasIO: true, ReadBytes: 3})
	s.fromProcesses(nil)
	if s.Memory != 5 || s.MemoryFrom != FromCgroup || s.OOMKills != 2 || !s.OOMKillsKnown || s.PidsLimit != 0 || s.BlockRead != 3 || s.BlockFrom != FromCgroup {
		t.Errorf("%+v", s)
	}
	s = ContainerStats{}
	s.fromProcesses([]int{1 << 30}) // ended
	if s.CPUFrom != "" || s.MemoryFrom != "" || s.PidsFrom != "" || s.BlockFrom != "" {
		t.Errorf("of nothing: %+v", s)
	}
}

// Sums are of all processes, with the CPU time of children that were waited for.
func TestStatsOfProcesses(t *testing.T) {
	var pids []int
	for range 2 {
		cmd := exec.Command("sh", "-c", "(i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done); echo; read x")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			in.Close()
			_ = cmd.Wait()
		}()
		if _, err := out.Read(make([]byte, 1)); err != nil { // the child has ended
			t.Fatal(err)
		}
		pids = append(pids, cmd.Process.Pid)
	}
	var one, both ContainerStats
	one.fromProcesses(pids[:1])
	both.fromProcesses(pids)
	if one.CPU < 20*time.Millisecond || both.CPU < one.CPU+20*time.Millisecond || one.Pids != 1 || both.Pids != 2 || both.Memory <= one.Memory {
		t.Errorf("one %+v\nboth %+v", one, both)
	}
}

// Of a container that does not run there is nothing to tell, and names that are
// none are refused.
func TestStatsOfTheStopped(t *testing.T) {
	e := testEngine(t)
	leave(t, e, "aaaaaaaaaaaaaaaa", map[string]string{"containers/$ID/container.json": `{"id":"$ID","name":"old","status":"exited"}`, "names/old": ""})
	for name, test := range map[string]struct {
		o    StatsOptions
		want int
	}{"those that run": {StatsOptions{}, 0}, "all": {StatsOptions{All: true, Whole: true}, 1}, "named": {StatsOptions{Names: []string{"aaaa"}}, 1}} {
		all, err := e.Stats(context.Background(), test.o)
		if err != nil || len(all) != test.want {
			t.Errorf("%s: %+v, %v", name, all, err)
		}
		for _, s := range all {
			if s.CPUFrom != "" || s.MemoryFrom != "" || s.Container.Name != "old" {
				t.Errorf("%s: %+v", name, s)
			}
		}
	}
	if _, err := e.Stats(context.Background(), StatsOptions{Names: []string{"none"}}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// What has no cgroup is found by its pid namespace; one that shares ours is its
// first process.
func TestFindProcesses(t *testing.T) {
	st := &spec.Container{}
	st.Pid, st.Namespaces = os.Getpid(), map[string]uint64{"pid": inodeOf("/proc/self/ns/pid")}
	r := statsReading{}
	r.findProcesses([]Container{{Status: Running, state: st}})
	if got := r.processes(st); len(got) != 1 || got[0] != os.Getpid() || r.inside != nil {
		t.Errorf("%v %v", got, r.inside)
	}
}

func BenchmarkStatsOfProcess(b *testing.B) {
	pids := []int{os.Getpid()}
	for b.Loop() {
		var s ContainerStats
		s.fromProcesses(pids)
	}
}
