package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"coracle/internal/engine"
)

// statsRow is a container as the table and templates show it. The names are
// docker's and podman's; what is not known is "--", or 0.
type statsRow struct {
	ID          string
	Container   string // docker's: as ID
	ContainerID string // podman's: the whole id
	Name        string

	CPUPerc       string
	AVGCPU        string
	CPU           float64 // percent of one processor
	AvgCPU        float64
	CPUNano       uint64
	CPUSystemNano uint64
	Duration      uint64        // podman's: as CPUNano
	UpTime        time.Duration // podman's: CPU time
	Up            string
	SystemNano    int64 // the time of the look

	MemUsage      string
	MemUsageBytes string // in units of 1024
	MemPerc       string
	MemLimit      uint64

	NetIO       string
	NetInput    uint64
	NetOutput   uint64
	BlockIO     string
	BlockInput  uint64
	BlockOutput uint64
	PIDs        string
	PIDS        string

	Pressure string // of the last ten seconds: some waited for processor, memory, devices; percent
	OOMKills uint64

	s engine.ContainerStats
}

const (
	unknown     = "--"
	unknownPair = "-- / --"
)

// newStatsRow compares two looks: without one before, what was used since the
// start is what there is to tell.
func newStatsRow(s, before engine.ContainerStats, whole bool) statsRow {
	c := s.Container
	r := statsRow{
		ID: shortID(c.ID, whole), Container: shortID(c.ID, whole), ContainerID: c.ID, Name: c.Name,
		CPUPerc: unknown, AVGCPU: unknown, MemUsage: unknownPair, MemUsageBytes: unknownPair, MemPerc: unknown,
		NetIO: unknownPair, BlockIO: unknownPair, PIDs: unknown, PIDS: unknown, Pressure: unknown, Up: unknown,
		SystemNano: s.Time.UnixNano(), OOMKills: s.OOMKills, s: s,
	}
	r.processor(s, before)
	if s.MemoryFrom != "" {
		r.MemLimit = s.MemoryLimit
		r.MemUsage = tightSize(s.Memory) + " / " + tightSize(s.MemoryLimit)
		r.MemUsageBytes = binarySize(s.Memory) + " / " + binarySize(s.MemoryLimit)
		if s.MemoryLimit > 0 {
			r.MemPerc = percent(100 * float64(s.Memory) / float64(s.MemoryLimit))
		}
	}
	if s.NetFrom != "" {
		r.NetInput, r.NetOutput = s.NetIn, s.NetOut
		r.NetIO = tightSize(s.NetIn) + " / " + tightSize(s.NetOut)
	}
	if s.BlockFrom != "" {
		r.BlockInput, r.BlockOutput = s.BlockRead, s.BlockWrite
		r.BlockIO = tightSize(s.BlockRead) + " / " + tightSize(s.BlockWrite)
	}
	if s.PidsFrom != "" {
		r.PIDs = strconv.FormatUint(s.Pids, 10)
		r.PIDS = r.PIDs
	}
	if s.CPUPressure != nil {
		r.Pressure = strings.Join([]string{pressureWord(s.CPUPressure), pressureWord(s.MemoryPressure), pressureWord(s.IOPressure)}, " ")
	}
	return r
}

func (r *statsRow) processor(s, before engine.ContainerStats) {
	if s.CPUFrom == "" {
		return
	}
	started := s.Container.Started
	if started.IsZero() {
		started = s.Container.Created // in the foreground it is the same moment
	}
	r.AvgCPU = rate(s.CPU, s.Time.Sub(started))
	r.CPU = r.AvgCPU
	again := before.CPUFrom == s.CPUFrom && before.Container.Started.Equal(s.Container.Started) && before.CPU <= s.CPU
	if again && s.Time.After(before.Time) {
		r.CPU = rate(s.CPU-before.CPU, s.Time.Sub(before.Time))
	}
	r.CPUPerc, r.AVGCPU = percent(r.CPU), percent(r.AvgCPU)
	r.CPUNano, r.CPUSystemNano = uint64(max(s.CPU, 0)), uint64(max(s.CPUSystem, 0))
	r.Duration, r.UpTime, r.Up = r.CPUNano, s.CPU, s.CPU.String()
}

// rate is a share of one processor, in percent.
func rate(used, within time.Duration) float64 {
	if within <= 0 {
		return 0
	}
	return 100 * float64(used) / float64(within)
}

func percent(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) + "%" }

// tightSize is a size as podman's stats has it, without a space.
func tightSize(n uint64) string {
	return strings.ReplaceAll(humanSize(int64(min(n, 1<<62))), " ", "")
}

// binarySize is one in units of 1024.
func binarySize(n uint64) string {
	f, unit := float64(n), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if f < 1024 {
			break
		}
		f, unit = f/1024, next
	}
	return fmt.Sprintf("%.4g%s", f, unit)
}

func pressureWord(p *engine.Pressure) string {
	if p == nil {
		return unknown
	}
	return strconv.FormatFloat(p.Some.Avg10, 'f', 1, 64)
}

// clean makes all strings of the user's visible.
func (r statsRow) clean() statsRow {
	r.Name = visible(r.Name)
	return r
}

func statsTitles() map[string]string {
	titles := map[string]string{
		"ID": "CONTAINER ID", "Container": "CONTAINER", "ContainerID": "CONTAINER ID", "CPUPerc": "CPU %", "AVGCPU": "AVG CPU %", "AvgCPU": "AVG CPU", "UpTime": "CPU TIME", "Up": "CPU TIME",
		"MemUsage": "MEM USAGE / LIMIT", "MemUsageBytes": "MEM USAGE / LIMIT", "MemPerc": "MEM %", "MemLimit": "MEM LIMIT", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "OOMKills": "OOM KILLS",
		"CPUNano": "CPU NANO", "CPUSystemNano": "CPU SYSTEM NANO", "SystemNano": "SYSTEM NANO", "NetInput": "NET INPUT", "NetOutput": "NET OUTPUT", "BlockInput": "BLOCK INPUT", "BlockOutput": "BLOCK OUTPUT",
	}
	for _, name := range strings.Fields("Name CPU Duration PIDs PIDS Pressure") {
		titles[name] = strings.ToUpper(name)
	}
	return titles
}
