package engine

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
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
	TimedOut  bool   `json:"timedOut"`

	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	Wall     float64   `json:"wallSeconds"`
	User     float64   `json:"userSeconds"`
	System   float64   `json:"systemSeconds"`
	// LargestProcess is the peak resident memory of the largest process: what
	// is known without a cgroup.
	LargestProcess int64 `json:"largestProcessBytes"`
}

// checkReport finds out before the payload runs that the file cannot be
// written; it changes nothing.
func checkReport(path string) error {
	if path == "" || path == "-" {
		return nil
	}
	dir := filepath.Dir(path)
	err := unix.Access(dir, unix.W_OK|unix.X_OK)
	if st, serr := os.Stat(path); err == nil && serr == nil && st.IsDir() {
		err = unix.EISDIR
	}
	if st, serr := os.Stat(dir); err == nil && serr == nil && !st.IsDir() {
		err = unix.ENOTDIR
	}
	if err != nil {
		return &Error{Op: "write the report " + path, Err: fmt.Errorf("%s: %w", dir, err), Help: "name a file in a directory that is there and yours"}
	}
	return nil
}

func (r *run) report(exit Exit, runErr error) error {
	rep := report{
		Version: 1, ID: r.box.ID, Name: r.box.Name, Image: r.o.Image, ImageID: r.root.imageID.String(), Command: r.box.Command,
		ExitCode: exit.Code, Signal: exit.Signal, TimedOut: exit.TimedOut,
		Started: r.started, Finished: r.ended, Wall: max(0, r.ended.Sub(r.started).Seconds()),
		User: seconds(r.usage.Utime.Nano()), System: seconds(r.usage.Stime.Nano()),
		LargestProcess: r.usage.Maxrss * 1024,
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
	return replaceFile(r.o.Report, data, 0o644, true)
}

func seconds(ns int64) float64 { return float64(ns) / 1e9 }
