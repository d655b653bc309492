package engine

import (
	"encoding/json"
	"math"
	"syscall"
	"time"

	"coracle/cgroupv2"
	"coracle/netns/egress"
)

// report is what --report writes; version is raised when a field changes its
// meaning. Times in RFC 3339, durations in seconds, memory in bytes.
type report struct {
	Version int `json:"version"`

	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Image   string   `json:"image"`
	ImageID string   `json:"imageID,omitempty"`
	Command []string `json:"command"`

	ExitCode  int    `json:"exitCode"`
	Error     string `json:"error,omitempty"` // why the payload never ran
	Signal    int    `json:"signal"`          // 0: none
	OOMKilled bool   `json:"oomKilled"`
	OOMKills  uint64 `json:"oomKills"` // so many processes of it
	TimedOut  bool   `json:"timedOut"`

	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	Wall     float64   `json:"wallSeconds"`
	// User and System are CPU time: of all processes as the cgroup counts them,
	// and without one of the first process and those that were waited for.
	User   float64 `json:"userSeconds"`
	System float64 `json:"systemSeconds"`
	// MemoryPeak is the most memory that was in use at a time: by all processes
	// together, the page cache with them, where MemoryPeakOf is "container".
	// Without the memory controller, or before Linux 5.19, that is not known: it
	// is LargestProcess then, and MemoryPeakOf "largestProcess".
	MemoryPeak   int64  `json:"memoryPeakBytes"`
	MemoryPeakOf string `json:"memoryPeakOf"`
	// LargestProcess is the peak resident memory of the largest process.
	LargestProcess int64 `json:"largestProcessBytes"`

	// Network is what went out or was refused; absent without a network whose
	// traffic we see.
	Network *egress.Summary `json:"network,omitempty"`
}

// spend fills in what was used: as the cgroup knows it, else as the kernel
// tells who waits for the first process.
func (rep *report) spend(rusage syscall.Rusage, all *cgroupv2.Usage) {
	rep.User, rep.System = seconds(rusage.Utime.Nano()), seconds(rusage.Stime.Nano())
	rep.LargestProcess = rusage.Maxrss * 1024
	rep.MemoryPeak, rep.MemoryPeakOf = rep.LargestProcess, "largestProcess"
	if all == nil {
		return
	}
	rep.User, rep.System = all.User.Seconds(), all.System.Seconds()
	if all.MemoryPeak > 0 {
		rep.MemoryPeak, rep.MemoryPeakOf = int64(min(all.MemoryPeak, math.MaxInt64)), "container"
	}
}

// openReport finds out before the payload runs that the file cannot be written; nil for
// none, and for standard output.
func openReport(path string) (*Destination, error) {
	if path == "" || path == "-" {
		return nil, nil
	}
	d, err := OpenDestination(path)
	if err != nil {
		return nil, &Error{Op: "write the report " + path, Err: err, Help: "name a file in a directory that is there and yours"}
	}
	return d, nil
}

// openReport is for the run's.
func (r *run) openReport() (err error) {
	if r.reportTo == nil {
		r.reportTo, err = openReport(r.o.Report)
	}
	return err
}

func (r *run) report(exit Exit, runErr error) error {
	rep := report{
		Version: 1, ID: r.box.ID, Name: r.box.Name, Image: r.o.Image, ImageID: r.root.imageID.String(), Command: r.box.Command,
		ExitCode: exit.Code, Signal: exit.Signal, TimedOut: exit.TimedOut, OOMKilled: exit.OOMKilled, OOMKills: r.oomKills,
		Started: r.started, Finished: r.ended, Wall: max(0, r.ended.Sub(r.started).Seconds()),
	}
	rep.spend(r.usage, r.spent)
	if gate := r.gate.Load(); gate != nil {
		flows := gate.Summary()
		rep.Network = &flows
	}
	if runErr != nil {
		rep.Error = runErr.Error()
	}
	data, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if r.o.Report == "-" {
		_, err := r.o.Stdout.Write(data)
		return err
	}
	if err := r.openReport(); err != nil {
		return err
	}
	return r.reportTo.Write(data)
}

func seconds(ns int64) float64 { return float64(ns) / 1e9 }
