package engine

import (
	"encoding/json"
	"os"
	"time"
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

	ExitCode  int  `json:"exitCode"`
	Signal    int  `json:"signal"` // 0: none
	OOMKilled bool `json:"oomKilled"`
	TimedOut  bool `json:"timedOut"`

	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	Wall     float64   `json:"wallSeconds"`
	User     float64   `json:"userSeconds"`
	System   float64   `json:"systemSeconds"`
	// LargestProcess is the peak resident memory of the largest process: what
	// is known without a cgroup.
	LargestProcess int64 `json:"largestProcessBytes"`
}

func (r *run) report(exit Exit) error {
	rep := report{
		Version: 1, ID: r.box.ID, Name: r.box.Name, Image: r.o.Image, ImageID: r.root.imageID.String(), Command: r.box.Command,
		ExitCode: exit.Code, Signal: exit.Signal, TimedOut: exit.TimedOut,
		Started: r.started, Finished: r.ended, Wall: r.ended.Sub(r.started).Seconds(),
		User: seconds(r.usage.Utime.Nano()), System: seconds(r.usage.Stime.Nano()),
		LargestProcess: r.usage.Maxrss * 1024,
	}
	data, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if r.o.Report == "-" {
		_, err := os.Stdout.Write(data)
		return err
	}
	return replaceFile(r.o.Report, data, 0o644, true)
}

func seconds(ns int64) float64 { return float64(ns) / 1e9 }
