package main

import (
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Report is all that a run found.
type Report struct {
	Machine []Fact
	Peers   []Fact
	Groups  []Group
	Inits   []Init
}

// Fact is a line of the page's head.
type Fact struct{ Name, Value string }

// Group is one piece of work, done by several programs.
type Group struct {
	Name, Unit, Note string
	Goal             string
	Rows             []Row
}

// Row is one program's figures: the median and the least of all rounds, with
// the rounds back to back and, where measured, 200 ms apart.
type Row struct {
	Program        string
	Median, Least  float64
	Apart          float64 // median with gaps; 0 when not measured
	Peak           float64 // peak memory, MB; 0 when not measured
	CPU            float64 // CPU seconds per GB; 0 when not measured
	RatioTo        string  // the peer
	Ratio, RatioAt float64 // to the peer's median, back to back and apart
}

// Init is one package's share of start-up.
type Init struct {
	Package string
	Millis  float64
	Bytes   int64
}

type contender struct {
	name string
	args []string
}

// interleave runs all contenders in turn, in another order each time, so that whatever else the
// machine does, and whoever ran before, falls on each alike, after three rounds of warm-up.
// After each round, after is done, unmeasured.
func interleave(all []contender, rounds int, gap time.Duration, after func() error) (map[string][]float64, error) {
	return interleaveWarm(all, 3, rounds, gap, after)
}

// interleaveWarm has so many rounds of warm-up.
func interleaveWarm(all []contender, warm, rounds int, gap time.Duration, after func() error) (map[string][]float64, error) {
	times := map[string][]float64{}
	for round := range rounds + warm {
		for _, i := range rand.Perm(len(all)) {
			c := all[i]
			time.Sleep(gap)
			began := time.Now()
			if out, err := exec.Command(c.args[0], c.args[1:]...).CombinedOutput(); err != nil {
				return nil, fmt.Errorf("%s: %w: %s", strings.Join(c.args, " "), err, out)
			}
			if round >= warm {
				times[c.name] = append(times[c.name], float64(time.Since(began).Microseconds())/1000)
			}
		}
		if err := after(); err != nil {
			return nil, err
		}
	}
	return times, nil
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func least(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	return slices.Min(v)
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / max(1, float64(len(v)))
}

// compare makes a group of short commands; the last contender is the peer of
// the ratios.
func compare(g Group, rounds int, all ...contender) (Group, error) {
	return compareWith(g, rounds, func() error { return nil }, all...)
}

// compareWith is compare with something to do after each round, unmeasured.
func compareWith(g Group, rounds int, after func() error, all ...contender) (Group, error) {
	close, err := interleave(all, rounds, 0, after)
	if err != nil {
		return g, err
	}
	apart, err := interleave(all, rounds, 200*time.Millisecond, after)
	if err != nil {
		return g, err
	}
	peer := all[len(all)-1].name
	g.Unit = "ms"
	for _, c := range all {
		if c.name == peer {
			g.Rows = append(g.Rows, row(c.name, "", close, apart))
		} else {
			g.Rows = append(g.Rows, row(c.name, peer, close, apart))
		}
	}
	return g, nil
}

// row has name's figures, and the ratio to peer's where there is one.
func row(name, peer string, close, apart map[string][]float64) Row {
	r := Row{Program: name, Median: median(close[name]), Least: slices.Min(close[name]), Apart: median(apart[name])}
	if peer != "" {
		r.RatioTo, r.Ratio, r.RatioAt = peer, r.Median/median(close[peer]), r.Apart/median(apart[peer])
	}
	return r
}

// once times one long command and the peak memory of its processes together.
func once(args ...string) (millis, peakMB float64, err error) {
	cmd := exec.Command(args[0], args[1:]...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	peaks := map[int]float64{}
	tick := time.NewTicker(100 * time.Millisecond) // peaks stay; looking costs what is measured
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			if err != nil {
				err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out.String())
			}
			millis = float64(time.Since(began).Microseconds()) / 1000
			for _, mb := range peaks {
				peakMB += mb
			}
			return millis, peakMB, err
		case <-tick.C:
			for _, pid := range family(cmd.Process.Pid) {
				peaks[pid] = max(peaks[pid], statusMB(pid, "VmHWM:"))
			}
		}
	}
}

// family is a process and all that descend from it.
func family(root int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		data, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		pid, _ := strconv.Atoi(strings.Split(name, "/")[2])
		ppid, _ := strconv.Atoi(f[1])
		children[ppid] = append(children[ppid], pid)
	}
	all := []int{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// statusMB reads a size of /proc/PID/status, in MB (10^6).
func statusMB(pid int, field string) float64 {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == field {
			kb, _ := strconv.ParseFloat(f[1], 64)
			return kb * 1024 / 1e6
		}
	}
	return 0
}
