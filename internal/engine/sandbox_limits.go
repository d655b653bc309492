package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"coracle/cgroupv2"
	"coracle/internal/begin"
	"coracle/spec"

	"golang.org/x/sys/unix"
)

// begin makes the cgroup, where a limit takes one, and has the first process begin.
func (s *boxed) begin(ctx context.Context) error {
	p := begin.Plan{ID: s.id, OnlyLimits: true, Namespaces: true, Auto: s.r.manager == "" || s.r.manager == managerAuto}
	limits := s.o.Limits
	s.limitProcesses(&limits)
	if limits.Memory+limits.PidsLimit+limits.CPUs != "" {
		var err error
		if p.Asked, _, err = limits.Resources(hostFacts{}); err != nil {
			return err
		}
		p.Cgroup = p.Asked != nil
	}
	if p.Cgroup {
		if err := s.e.ready(); err != nil { // who clears up after us looks there
			return err
		}
		s.e.sweep(ctx)
	}
	if s.r.newborn = begin.Ahead(uint32(os.Geteuid()), uint32(os.Getegid())); s.r.newborn != nil {
		if !p.Cgroup {
			s.r.leaveEarly()
			return nil
		}
		s.r.newborn.Abandon() // it has to be born in its cgroup
	}
	begun, err := p.Begin(ctx, s.r.noteCgroup)
	if err != nil {
		s.r.leaveEarly()
		err = explainLimit(spec.Options{Limits: limits}, err)
		if !s.o.BestEffort {
			return hintBestEffort(err)
		}
		s.leaveOut(err.Error())
		begun, err = begin.Plan{ID: s.id, Namespaces: true}.Begin(ctx, nil)
	}
	if err != nil {
		return err
	}
	if begun.Cgroup != nil {
		s.r.early.cgroup = begun.Cgroup
	} else {
		s.r.leaveEarly()
	}
	s.r.newborn = begun.Newborn
	return nil
}

// limitProcesses takes --pids without a cgroup where the kernel counts the processes
// of each user namespace: those of a sandbox are its own then. Not of the host's root,
// whom RLIMIT_NPROC does not hold.
func (s *boxed) limitProcesses(limits *spec.Limits) {
	n := uint64(spec.DefaultPidsLimit)
	if limits.PidsLimit != "" {
		var err error
		if n, err = strconv.ParseUint(limits.PidsLimit, 10, 32); err != nil || n == 0 {
			return // Resources says what is wrong
		}
	}
	if os.Getuid() == 0 || !kernelAtLeast(5, 14) {
		return
	}
	s.o.Options.Limits.Processes = n
	limits.PidsLimit = ""
}

func kernelAtLeast(major, minor int) bool {
	var uts unix.Utsname
	if unix.Uname(&uts) != nil {
		return false
	}
	var a, b int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(uts.Release[:]), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

// leaveOut notes what is not enforced, with --best-effort.
func (s *boxed) leaveOut(what string) {
	s.missing = append(s.missing, what)
	s.e.warn("not enforced: "+what, "")
}

func hintBestEffort(err error) error {
	help := "or leave it out where it cannot be had: --best-effort"
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		help = h.Hint() + "; " + help
	}
	return &Error{Err: err, Help: strings.TrimPrefix(help, "or ")}
}

// cpuTime is what all processes of the sandbox have used: as its cgroup counts, else
// the first process with all that it has reaped, and those that are there.
func (s *boxed) cpuTime(first int) time.Duration {
	if u := s.spent(); u != nil {
		return u.User + u.System
	}
	return treeTime(first)
}

// mostProcesses bounds a walk through processes that may be forking all the time.
const mostProcesses = 1 << 14

func treeTime(first int) time.Duration {
	var sum time.Duration
	for pids, n := []int{first}, 0; len(pids) > 0 && n < mostProcesses; n++ {
		pid := pids[len(pids)-1]
		pids = pids[:len(pids)-1]
		var u processUsage
		if u.readStat(pid) {
			sum += u.cpu
		}
		pids = append(pids, childrenOf(pid)...)
	}
	return sum
}

// childrenOf are those of all threads of a process.
func childrenOf(pid int) []int {
	var out []int
	dir := procFile(pid, "task")
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	threads, _ := d.Readdirnames(256)
	for _, t := range threads {
		text, err := readLimited(dir + "/" + t + "/children")
		if err != nil {
			continue
		}
		for _, word := range strings.Fields(text) {
			if n, err := strconv.Atoi(word); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}

// outcome is how it came to the end, where it was not the command that ended.
type outcome struct {
	kind  string // "", timed-out, cpu-time or output-limit
	since time.Time
}

// The ends that are the sandbox's doing, in the words of the report.
const (
	endTimeout = "timed-out"
	endCPU     = "cpu-time"
	endOutput  = "output-limit"
	endDisk    = "disk-limit"
	endOOM     = "oom"
)

const defaultGrace = 2 * time.Second

// wait forwards signals and watches the limits until the command ends.
func (s *boxed) wait(p *spec.Process, told <-chan os.Signal) (Exit, error) {
	type end struct {
		ws  syscall.WaitStatus
		ru  *syscall.Rusage
		err error
	}
	ended := make(chan end, 1)
	go func() {
		ws, ru, err := p.WaitPayload()
		ended <- end{ws, ru, err}
	}()
	w := s.watch(p)
	defer w.stop()
	flooded := s.flooded
	for {
		select {
		case sig := <-told:
			s.r.forward(p, sig)
		case <-w.timeout:
			w.end(endTimeout)
		case <-w.tick:
			if s.cpuTime(p.PID) > s.o.Options.Limits.CPUTime {
				w.end(endCPU)
			}
		case <-flooded:
			flooded = nil
			w.end(endOutput)
		case <-w.kill:
			_ = p.Signal(unix.SIGKILL)
		case x := <-ended:
			s.ended = time.Now()
			if x.err != nil {
				return Exit{Code: 125}, x.err
			}
			s.usage, s.outcome = *x.ru, w.outcome
			exit := exitOf(x.ws)
			exit.TimedOut = s.outcome.kind == endTimeout
			return exit, nil
		}
	}
}

// watcher has what limits wait for.
type watcher struct {
	outcome             outcome
	timeout, tick, kill <-chan time.Time
	grace               time.Duration
	p                   *spec.Process
	timers              []interface{ Stop() bool }
	ticker              *time.Ticker
}

func (s *boxed) watch(p *spec.Process) *watcher {
	w := &watcher{p: p, grace: cmp.Or(s.o.Options.Limits.Grace, defaultGrace)}
	if t := s.o.Options.Limits.Timeout; t > 0 {
		w.timeout = w.after(t)
	}
	if s.o.Options.Limits.CPUTime > 0 {
		const often = 50 * time.Millisecond
		w.ticker = time.NewTicker(often)
		w.tick = w.ticker.C
	}
	return w
}

func (w *watcher) after(d time.Duration) <-chan time.Time {
	t := time.NewTimer(d)
	w.timers = append(w.timers, t)
	return t.C
}

// end asks the command to end, and makes it a while later.
func (w *watcher) end(kind string) {
	w.timeout, w.tick = nil, nil
	w.outcome = outcome{kind: kind, since: time.Now()}
	_ = w.p.Signal(unix.SIGTERM)
	w.kill = w.after(w.grace)
}

func (w *watcher) stop() {
	for _, t := range w.timers {
		t.Stop()
	}
	if w.ticker != nil {
		w.ticker.Stop()
	}
}

// spent is what all of its processes have used; nil without a cgroup.
func (s *boxed) spent() *cgroupv2.Usage {
	if s.cgroup.Path == "" {
		return nil
	}
	return usageOf(s.cgroup)
}
