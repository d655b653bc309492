package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"coracle/cgroupv2"
	"coracle/spec"

	"golang.org/x/sys/unix"
)

// Where a figure comes from. The zero Source is that it is not known.
type Source string

// The sources: what the cgroup counts is of all that ever ran in the container;
// the sum over its processes is of those that there are, and of their children
// that were waited for.
const (
	FromCgroup    Source = "cgroup"
	FromProcesses Source = "processes"
	FromNamespace Source = "namespace" // of the network
)

// Pressure is how long tasks waited for something.
type Pressure = cgroupv2.PSI

// ContainerStats are what a container uses, at one moment. Of one that does not
// run nothing is known.
type ContainerStats struct {
	Container Container
	Time      time.Time

	CPU, CPUSystem time.Duration // since it was started, System is the kernel's part
	CPUFrom        Source

	Memory      uint64 // bytes, without the page cache that can be given up
	MemoryLimit uint64 // the lowest of its own, those above, and of what the machine has
	MemoryPeak  uint64 // 0: not known
	MemoryFrom  Source

	Pids      uint64 // threads count, as for the limit
	PidsLimit uint64 // 0: none, or not known
	PidsFrom  Source

	BlockRead, BlockWrite uint64 // bytes
	BlockFrom             Source

	NetIn, NetOut uint64 // bytes, by all interfaces but lo
	NetFrom       Source

	OOMKills      uint64
	OOMKillsKnown bool

	CPUPressure, MemoryPressure, IOPressure *Pressure // nil: not known
}

// StatsOptions say of what containers, and how much. Without names and All they
// are those that run.
type StatsOptions struct {
	Names []string
	All   bool
	Whole bool // also what a table has no room for: peak, OOM kills, pressure
}

// Stats reads what containers use now, in the order of their names as given, or
// newest first. A container that ends meanwhile is told of as one that does not run.
func (e *Engine) Stats(_ context.Context, o StatsOptions) ([]ContainerStats, error) {
	boxes, err := e.statsBoxes(o)
	if err != nil {
		return nil, err
	}
	r := statsReading{whole: o.Whole, limits: cgroupv2.MemoryLimits{}, machine: memoryOfMachine(), ownNet: inodeOf("/proc/self/ns/net"), dir: e.containerDir}
	out := make([]ContainerStats, len(boxes))
	// Each is some file reads; what has to be added up over processes is found
	// in one look at all of them, and not in one for each container.
	r.findProcesses(boxes)
	inParallel(len(boxes), func(i int) { out[i] = r.read(boxes[i]) })
	return out, nil
}

// statsBoxes finds the containers.
func (e *Engine) statsBoxes(o StatsOptions) ([]Container, error) {
	if o.All {
		return e.Containers()
	}
	if len(o.Names) > 0 {
		var out []Container
		for _, name := range o.Names {
			c, err := e.find(name)
			if err != nil {
				return nil, err
			}
			out = append(out, c)
		}
		return out, nil
	}
	// All that runs has a file in running/, however many others there are.
	dir, err := os.Open(filepath.Join(e.root, "running"))
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ids, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return nil, err
	}
	all := make([]*Container, len(ids))
	inParallel(len(ids), func(i int) { all[i] = e.loadRunning(ids[i]) })
	var out []Container
	for _, c := range all {
		if c != nil {
			out = append(out, *c)
		}
	}
	sortNewest(out)
	return out, nil
}

// loadRunning is load for what runs, without a look at whether it is frozen; nil
// for what does not, or is just being made. While somebody holds the container
// nobody has waited for its first process, and so its pid is not another's.
func (e *Engine) loadRunning(id string) *Container {
	c, err := readRecord(e.containerDir(id))
	if err != nil || c.Status != Running || !e.alive(id) {
		return nil
	}
	if c.state, err = e.runtimeOf(id).Load(id); err == nil {
		c.PID = c.state.Pid
	}
	return &c
}

// inParallel does n things, on several processors where that is worth it.
func inParallel(n int, do func(i int)) {
	workers := max(1, min(runtime.GOMAXPROCS(0), n/10))
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			for i := w; i < n; i += workers {
				do(i)
			}
		})
	}
	wait.Wait()
}

// statsReading is one look at all containers.
type statsReading struct {
	whole   bool
	machine uint64 // bytes of memory that it has
	ownNet  uint64 // our network namespace
	dir     func(id string) string

	mu     sync.Mutex
	limits cgroupv2.MemoryLimits

	inside map[uint64][]int // processes by pid namespace
}

func (r *statsReading) read(c Container) ContainerStats {
	s := ContainerStats{Container: c, Time: time.Now()}
	st := c.state
	if st == nil || !c.Running() {
		return s
	}
	pids := func() []int { return r.processes(st) }
	if cg, err := cgroupv2.Open(st.Cgroup); err == nil {
		defer cg.Close()
		var parts cgroupv2.UsageParts
		if r.whole {
			parts = cgroupv2.UsageEvents | cgroupv2.UsagePressure
		}
		u, err := cg.Usage(parts)
		switch {
		case err == nil:
			s.fromCgroup(u)
			pids = func() []int { all, _ := cg.Procs(); return all } // none: gone this moment
		case !errors.Is(err, cgroupv2.ErrNone):
			return s // it is about to end
		}
	}
	s.MemoryLimit = r.limitOf(st, s.MemoryFrom == FromCgroup)
	if s.CPUFrom == "" || s.MemoryFrom == "" || s.PidsFrom == "" || s.BlockFrom == "" {
		s.fromProcesses(pids())
	}
	if st.Namespaces["net"] != 0 && st.Namespaces["net"] != r.ownNet {
		s.fromNetwork(st.Pid)
		if s.NetFrom != "" {
			in, out := published(r.dir(c.ID), uint64(st.Pid), st.StartTime) //nolint:gosec // a process
			s.NetIn, s.NetOut = s.NetIn+in, s.NetOut+out
		}
	}
	return s
}

// limitOf is the memory that the container can get: by its own cgroup, where
// that has the controller, and by those above.
func (r *statsReading) limitOf(st *spec.Container, own bool) uint64 {
	dir := st.Cgroup.Path
	if !own && dir != "" {
		dir = filepath.Dir(dir)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return min(r.machine, r.limits.Of(dir))
}

// fromCgroup takes what the cgroup counts.
func (s *ContainerStats) fromCgroup(u cgroupv2.Usage) {
	s.CPU, s.CPUSystem, s.CPUFrom = u.CPU, u.System, FromCgroup
	if u.HasMemory {
		s.Memory, s.MemoryPeak, s.MemoryFrom = u.Memory, u.MemoryPeak, FromCgroup
		s.OOMKills, s.OOMKillsKnown = u.OOMKills, true
	}
	if u.HasPids {
		s.Pids, s.PidsFrom = u.Pids, FromCgroup
		if u.PidsLimit != ^uint64(0) {
			s.PidsLimit = u.PidsLimit
		}
	}
	if u.HasIO {
		s.BlockRead, s.BlockWrite, s.BlockFrom = u.ReadBytes, u.WriteBytes, FromCgroup
	}
	s.CPUPressure, s.MemoryPressure, s.IOPressure = u.CPUPressure, u.MemoryPressure, u.IOPressure
}

// fromNetwork adds up the interfaces of the network that the process is in.
// Where there is lo only there is nothing to count.
func (s *ContainerStats) fromNetwork(pid int) {
	text, err := readLimited(procFile(pid, "net/dev"))
	if err != nil {
		return
	}
	if in, out, any := interfaceBytes(text); any {
		s.NetIn, s.NetOut, s.NetFrom = in, out, FromNamespace
	}
}

// interfaceBytes reads /proc/PID/net/dev. Source: proc_pid_net(5).
func interfaceBytes(text string) (in, out uint64, any bool) {
	const received, sent, columns = 0, 8, 16
	for line := range strings.Lines(text) {
		name, counters, ok := strings.Cut(line, ":")
		f := strings.Fields(counters)
		if !ok || strings.TrimSpace(name) == "lo" || len(f) < columns {
			continue
		}
		in, out, any = in+number(f[received]), out+number(f[sent]), true
	}
	return in, out, any
}

// memoryOfMachine is how much it has.
func memoryOfMachine() uint64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return uint64(info.Totalram) * uint64(info.Unit)
}

func inodeOf(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Ino
}
