package engine

import (
	"os"
	"strconv"
	"strings"
	"time"

	"coracle/spec"
)

// findProcesses looks once at all processes for those of containers that have
// no cgroup to say which they are.
func (r *statsReading) findProcesses(boxes []Container) {
	for _, c := range boxes {
		if st := c.state; st != nil && st.Cgroup.Path == "" && st.OwnPIDNamespace() {
			if r.inside == nil {
				r.inside = map[uint64][]int{}
			}
			r.inside[st.Namespaces["pid"]] = nil
		}
	}
	if r.inside == nil {
		return
	}
	dir, err := os.Open("/proc")
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		ns := inodeOf("/proc/" + name + "/ns/pid")
		if list, wanted := r.inside[ns]; wanted {
			r.inside[ns] = append(list, pid)
		}
	}
}

// processes are those of a container without a cgroup: of its pid namespace,
// and where that is the host's too, the first one only.
func (r *statsReading) processes(st *spec.Container) []int {
	if pids := r.inside[st.Namespaces["pid"]]; len(pids) > 0 {
		return pids
	}
	return []int{st.Pid}
}

// processUsage is what /proc says of one process that adds up.
type processUsage struct {
	cpu, system time.Duration // with its children that were waited for
	threads     uint64
	memory      uint64 // that it has for itself; what is shared cannot be added up
	read, write uint64 // bytes of block devices, with those children
}

// fromProcesses adds up what the cgroup does not count. What of a process
// cannot be read, of one that is just ending, counts as nothing; what of none
// can be read is not known.
func (s *ContainerStats) fromProcesses(pids []int) {
	var sum processUsage
	var stats, blocks int
	needStat := s.CPUFrom == "" || s.MemoryFrom == "" || s.PidsFrom == ""
	for _, pid := range pids {
		var p processUsage
		if needStat && p.readStat(pid) {
			stats++
		}
		if s.BlockFrom == "" && p.readIO(pid) {
			blocks++
		}
		sum.add(p)
	}
	if stats > 0 {
		s.takeProcesses(sum)
	}
	if s.BlockFrom == "" && blocks > 0 {
		s.BlockRead, s.BlockWrite, s.BlockFrom = sum.read, sum.write, FromProcesses
	}
}

func (s *ContainerStats) takeProcesses(sum processUsage) {
	if s.CPUFrom == "" {
		s.CPU, s.CPUSystem, s.CPUFrom = sum.cpu, sum.system, FromProcesses
	}
	if s.MemoryFrom == "" {
		s.Memory, s.MemoryFrom = sum.memory, FromProcesses
	}
	if s.PidsFrom == "" {
		s.Pids, s.PidsFrom = sum.threads, FromProcesses
	}
}

func (p *processUsage) add(q processUsage) {
	p.cpu += q.cpu
	p.system += q.system
	p.threads += q.threads
	p.memory += q.memory
	p.read += q.read
	p.write += q.write
}

// readStat reads /proc/PID/stat and statm. Source: proc_pid_stat(5), proc_pid_statm(5).
func (p *processUsage) readStat(pid int) bool {
	text, err := readLimited(procFile(pid, "stat"))
	if err != nil {
		return false
	}
	// The name may hold anything; what follows its parenthesis is the kernel's,
	// and field 3 of the manual.
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const utime, stime, cutime, cstime, threads = 14 - 3, 15 - 3, 16 - 3, 17 - 3, 20 - 3
	if len(f) <= threads {
		return false
	}
	p.system = time.Duration(number(f[stime])+number(f[cstime])) * tick
	p.cpu = p.system + time.Duration(number(f[utime])+number(f[cutime]))*tick
	p.threads = number(f[threads])
	if text, err = readLimited(procFile(pid, "statm")); err != nil {
		return false
	}
	f = strings.Fields(text)
	const resident, shared = 1, 2
	if len(f) > shared {
		p.memory = (number(f[resident]) - min(number(f[shared]), number(f[resident]))) * uint64(os.Getpagesize())
	}
	return true
}

// readIO reads /proc/PID/io, which needs the right to trace the process: who
// made its user namespace has it.
func (p *processUsage) readIO(pid int) bool {
	text, err := readLimited(procFile(pid, "io"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "read_bytes":
			p.read = number(value)
		case "write_bytes":
			p.write = number(value)
		}
	}
	return true
}

func procFile(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

func number(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}
