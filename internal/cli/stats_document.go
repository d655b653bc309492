package cli

import (
	"time"

	"coracle/internal/engine"
)

// statsDocument is a container in `stats --format json`. The strings have
// podman's names; the numbers are for programs, and null where nothing is known.
type statsDocument struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	CPUTime    string `json:"cpu_time"`
	CPUPercent string `json:"cpu_percent"`
	AvgCPU     string `json:"avg_cpu"`
	MemUsage   string `json:"mem_usage"`
	MemPercent string `json:"mem_percent"`
	NetIO      string `json:"net_io"`
	BlockIO    string `json:"block_io"`
	Pids       string `json:"pids"`

	Time          time.Time `json:"time"`
	Running       bool      `json:"running"`
	CPU           *float64  `json:"cpu"`
	CPUNano       *uint64   `json:"cpu_nanoseconds"`
	CPUSystemNano *uint64   `json:"cpu_system_nanoseconds"`
	Mem           *uint64   `json:"mem_bytes"`
	MemLimit      *uint64   `json:"mem_limit_bytes"`
	MemPeak       *uint64   `json:"mem_peak_bytes"`
	NetInput      *uint64   `json:"net_input_bytes"`
	NetOutput     *uint64   `json:"net_output_bytes"`
	BlockInput    *uint64   `json:"block_input_bytes"`
	BlockOutput   *uint64   `json:"block_output_bytes"`
	Tasks         *uint64   `json:"tasks"`
	TasksLimit    *uint64   `json:"tasks_limit"`
	OOMKills      *uint64   `json:"oom_kills"`

	From     map[string]engine.Source `json:"from"`     // cpu, mem, tasks, block, net: who counted
	Pressure map[string]statsWaiting  `json:"pressure"` // cpu, memory, io, as far as the kernel measures it
}

// statsWaiting has both kinds always, where runc's type has them unless they are zero.
type statsWaiting struct {
	Some statsShare `json:"some"`
	Full statsShare `json:"full"`
}

type statsShare struct {
	Avg10  float64 `json:"avg10"`
	Avg60  float64 `json:"avg60"`
	Avg300 float64 `json:"avg300"`
	Total  uint64  `json:"total"`
}

func documentsOf(rows []statsRow) []statsDocument {
	docs := make([]statsDocument, 0, len(rows))
	for _, r := range rows {
		docs = append(docs, r.document())
	}
	return docs
}

func (r statsRow) document() statsDocument {
	s := r.s
	d := statsDocument{
		ID: r.ContainerID, Name: r.Name, CPUTime: r.Up, CPUPercent: r.CPUPerc, AvgCPU: r.AVGCPU, MemUsage: r.MemUsage, MemPercent: r.MemPerc,
		NetIO: r.NetIO, BlockIO: r.BlockIO, Pids: r.PIDs, Time: s.Time, Running: s.Container.Running(),
		From:     map[string]engine.Source{"cpu": s.CPUFrom, "mem": s.MemoryFrom, "tasks": s.PidsFrom, "block": s.BlockFrom, "net": s.NetFrom},
		Pressure: map[string]statsWaiting{},
	}
	for kind, p := range map[string]*engine.Pressure{"cpu": s.CPUPressure, "memory": s.MemoryPressure, "io": s.IOPressure} {
		if p != nil {
			d.Pressure[kind] = statsWaiting{statsShare(p.Some), statsShare(p.Full)}
		}
	}
	if s.CPUFrom != "" {
		d.CPU, d.CPUNano, d.CPUSystemNano = &r.CPU, &r.CPUNano, &r.CPUSystemNano
	}
	if s.MemoryFrom != "" {
		d.Mem, d.MemLimit = &s.Memory, &s.MemoryLimit
		d.MemPeak = unlessZero(s.MemoryPeak)
	}
	if s.NetFrom != "" {
		d.NetInput, d.NetOutput = &s.NetIn, &s.NetOut
	}
	if s.BlockFrom != "" {
		d.BlockInput, d.BlockOutput = &s.BlockRead, &s.BlockWrite
	}
	if s.PidsFrom != "" {
		d.Tasks, d.TasksLimit = &s.Pids, unlessZero(s.PidsLimit)
	}
	if s.OOMKillsKnown {
		d.OOMKills = &s.OOMKills
	}
	return d
}

func unlessZero(n uint64) *uint64 {
	if n == 0 {
		return nil
	}
	return &n
}
