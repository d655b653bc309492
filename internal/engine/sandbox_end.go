package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"coracle/internal/denial"
	"coracle/internal/later/registries"
	"coracle/internal/plainfile"
	"coracle/netns/egress"

	"golang.org/x/sys/unix"
)

// What becomes of the changes (--on-exit).
const (
	onExitAsk     = "ask"
	onExitApply   = "apply"
	onExitDiscard = "discard"
	onExitKeep    = "keep"
)

// SandboxReport is what --report writes; version is raised when a field changes its
// meaning. Times in RFC 3339, durations in seconds, memory in bytes.
type SandboxReport struct {
	Version int      `json:"version"`
	ID      string   `json:"id,omitempty"` // of the changes that are kept; none otherwise
	Command []string `json:"command"`
	Cwd     string   `json:"cwd"`

	// Outcome is exited, signalled, timed-out, cpu-time, output-limit, disk-limit, oom or refused.
	Outcome  string `json:"outcome"`
	ExitCode int    `json:"exitCode"`
	Signal   int    `json:"signal"` // 0: none
	Error    string `json:"error,omitempty"`

	Started  *time.Time `json:"started,omitempty"`
	Finished *time.Time `json:"finished,omitempty"`
	Wall     float64    `json:"wallSeconds"`
	User     float64    `json:"userSeconds"`
	System   float64    `json:"systemSeconds"`

	MemoryPeak     int64  `json:"memoryPeakBytes"`
	MemoryPeakOf   string `json:"memoryPeakOf"` // sandbox or largestProcess
	LargestProcess int64  `json:"largestProcessBytes"`
	OOMKills       uint64 `json:"oomKills"`

	// Changes are those that were kept apart; null without.
	Changes     *changeCounts `json:"changes"`
	NotEnforced []string      `json:"notEnforced"`
	// Landlock is the version of its ABI that is the second wall; 0: there is none.
	Landlock int `json:"landlock"`
	// Network is what went out or was refused; absent without a network of its own.
	Network *egress.Summary `json:"network,omitempty"`
	// Denials are what was refused: of paths and system calls only where Recorded says all.
	Denials         []denial.Denial `json:"denials"`
	DenialsFurther  uint64          `json:"denialsFurther"`
	DenialsRecorded string          `json:"denialsRecorded"` // all, network or none
	// Executed are files that other programs execute later and that were made in
	// directories that the command could write to.
	Executed []string `json:"executedLater"`
}

// openReport finds out before anything runs that there is nowhere to write to.
func (s *boxed) openReport() (err error) {
	if s.o.Explain || s.o.Report == "" {
		return nil
	}
	if word, ok := strings.CutPrefix(s.o.Report, "fd:"); !ok {
		s.reportTo, err = openReport(s.o.Report)
	} else if !inherited(word) {
		err = &Error{Op: "--report " + s.o.Report, Err: errors.New("that descriptor is not open"), Help: "for instance: --report fd:3 3>report.json"}
	}
	s.mayReport = err == nil
	return err
}

// finish tells what happened, and sees to the changes.
func (s *boxed) finish(ctx context.Context, exit Exit, err error) (Exit, error) {
	if s.o.OnExit != onExitDiscard || s.o.Report != "" {
		registries.Digests()
	}
	rep := s.report(&exit, err)
	s.status("exit-code", exit.Code)
	s.tellEnd(rep.Outcome)
	if err == nil {
		if err = s.settle(ctx, &rep); err != nil && exit.Code == 0 {
			exit.Code = 125
		}
		s.recordDenials(&rep)
	}
	s.writeReport(rep)
	return exit, err
}

// refuse reports what could not even be planned: a report of the run before, at the same
// place, would be taken for this one's.
func (s *boxed) refuse(err error) (Exit, error) {
	exit := Exit{Code: 125}
	if s.facts.Cwd == "" {
		s.facts.Cwd, _ = unix.Getwd()
	}
	if s.mayReport {
		s.writeReport(s.report(&exit, err))
	}
	return exit, err
}

func (s *boxed) report(exit *Exit, err error) SandboxReport {
	rep := SandboxReport{
		Version: 1, Command: s.o.Command, Cwd: s.facts.Cwd, Outcome: "exited", ExitCode: exit.Code, Signal: exit.Signal,
		NotEnforced: append([]string{}, s.missing...), Executed: []string{}, Denials: []denial.Denial{}, DenialsRecorded: denialsNone,
		Landlock: s.facts.Landlock,
	}
	if why := s.plan.PortsUnheld(); why != "" {
		rep.NotEnforced = append(rep.NotEnforced, "ports by Landlock, besides the network: "+why)
	}
	if err != nil {
		rep.Outcome, rep.Error = "refused", err.Error()
		return rep
	}
	rep.Started, rep.Finished, rep.Wall = &s.started, &s.ended, s.ended.Sub(s.started).Seconds()
	rep.use(s)
	rep.Network = s.flows()
	rep.Denials, rep.DenialsFurther = s.denials(rep.Network)
	s.teach(rep.Network, rep.Denials)
	switch {
	case s.witnessed.listener != nil:
		rep.DenialsRecorded = denialsAll
	case rep.Network != nil:
		rep.DenialsRecorded = "network"
	}
	rep.Executed = append(rep.Executed, s.plan.Executed(newSandboxHost())...)
	const signalled = 128
	if exit.Code > signalled && exit.Code <= signalled+64 {
		rep.Signal = exit.Code - signalled
		rep.Outcome = "signalled"
	}
	switch {
	case s.outcome.kind != "":
		rep.Outcome = s.outcome.kind
		exit.Code = codeOfEnd
	case rep.OOMKills > 0 && rep.Signal == int(unix.SIGKILL):
		rep.Outcome = endOOM
	case rep.ExitCode != 0 && s.diskFull():
		rep.Outcome = endDisk // it failed, and there was no room left
	}
	rep.ExitCode = exit.Code
	return rep
}

// tellEnd says which limit it was that the command came to its end by.
func (s *boxed) tellEnd(outcome string) {
	l := s.o.Options.Limits
	switch outcome {
	case endTimeout:
		s.e.warn(fmt.Sprintf("the command ran for more than %s, and was ended", l.Timeout), "--timeout allows more")
	case endCPU:
		s.e.warn(fmt.Sprintf("the command used more than %s of processor time, and was ended", l.CPUTime), "--cpu-time allows more")
	case endOutput:
		s.e.warn(fmt.Sprintf("the command has printed more than %d bytes, and was ended", l.MaxOutput), "--max-output allows more")
	case endDisk:
		s.e.warn("the command failed, and in what it may write there was no room left", s.moreRoom())
	case endOOM:
		s.e.warn("the kernel ended the command for want of memory", "--memory allows more")
	}
}

// moreRoom is what to type for it: without bounds it is half of the machine's memory.
func (s *boxed) moreRoom() string {
	if s.o.OnExit == onExitDiscard && !s.bounded() {
		return "--on-exit keep has the changes on the disk, and coracle discard drops them; --disk allows more in memory"
	}
	return "--disk and --inodes allow more"
}

// codeOfEnd is timeout(1)'s.
const codeOfEnd = 124

func (rep *SandboxReport) use(s *boxed) {
	var r report
	spent := s.spent()
	r.spend(s.usage, spent)
	rep.User, rep.System, rep.MemoryPeak, rep.LargestProcess = r.User, r.System, r.MemoryPeak, r.LargestProcess
	if rep.MemoryPeakOf = r.MemoryPeakOf; rep.MemoryPeakOf == "container" {
		rep.MemoryPeakOf = "sandbox"
	}
	if spent != nil {
		rep.OOMKills = spent.OOMKills
	}
}

func (s *boxed) writeReport(rep SandboxReport) {
	if s.o.Report == "" {
		return
	}
	data, err := json.MarshalIndent(rep, "", "  ")
	if err == nil {
		err = s.sendReport(append(data, '\n'))
	}
	if err != nil {
		s.e.warn(fmt.Sprintf("write the report: %v", err), "")
	}
}

func (s *boxed) sendReport(data []byte) error {
	if word, ok := strings.CutPrefix(s.o.Report, "fd:"); ok {
		n, _ := strconv.Atoi(word) // checked
		_, err := plainfile.Retry(func() (int, error) { return unix.Write(n, data) })
		return err
	}
	if s.o.Report == "-" {
		_, err := s.o.Stdout.Write(data)
		return err
	}
	return s.reportTo.Write(data)
}

// explain prints what would be enforced, and by which mechanism.
func (s *boxed) explain() error {
	if s.o.Format == "json" {
		enc := json.NewEncoder(s.o.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(s.plan.Document())
	}
	_, err := s.o.Stdout.WriteString(s.plan.Explain())
	return err
}
