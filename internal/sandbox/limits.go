package sandbox

import (
	"errors"
	"fmt"
	"math"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Limits are what a command may use, beside what takes a cgroup. Zero is no limit
// of the sandbox's; sizes in bytes.
type Limits struct {
	Timeout     time.Duration // --timeout, of the wall clock
	Grace       time.Duration // --grace, between TERM and KILL
	CPUTime     time.Duration // --cpu-time, of all processes together
	MaxFileSize uint64        // --max-file-size
	MaxFiles    uint64        // --max-files, open ones of a process
	Disk        uint64        // --disk, of all that the sandbox keeps in memory
	Inodes      uint64        // --inodes, likewise
	MaxOutput   uint64        // --max-output, of both streams together
	Nice        int           // --nice
	IONice      string        // --ionice: 0 to 7 or idle; "" is as it comes
	Processes   uint64        // and threads, of the sandbox; RLIMIT_NPROC, see there
}

// OneID maps one id to itself.
func OneID(id uint32) []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{ContainerID: id, HostID: id, Size: 1}}
}

// Check refuses what cannot be.
func (l Limits) Check() error {
	if l.Nice < 0 || l.Nice > 19 {
		return &Error{Op: fmt.Sprintf("--nice %d", l.Nice), Err: errors.New("it can only be raised"), Help: "a number from 0 to 19"}
	}
	_, err := l.ioPriority()
	return err
}

// ioPriority reads --ionice, in the words of ionice(1): a level of the best-effort
// class, or the class idle. The real-time class is not the sandbox's to have.
func (l Limits) ioPriority() (*specs.LinuxIOPriority, error) {
	switch {
	case l.IONice == "":
		return nil, nil
	case l.IONice == "idle":
		return &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_IDLE}, nil
	case len(l.IONice) == 1 && l.IONice >= "0" && l.IONice <= "7":
		return &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: int(l.IONice[0] - '0')}, nil
	}
	return nil, &Error{Op: "--ionice " + l.IONice, Err: errors.New("there is no such priority"), Help: "a number from 0 to 7, or idle"}
}

// rlimits are those that hold for each process. CPU time is among them beside the
// launcher's timer: a process that nobody looks at for a moment ends by itself.
func (l Limits) rlimits() []specs.POSIXRlimit {
	out := []specs.POSIXRlimit{{Type: "RLIMIT_CORE"}}
	if l.CPUTime > 0 {
		s := uint64(math.Ceil(l.CPUTime.Seconds()))
		out = append(out, specs.POSIXRlimit{Type: "RLIMIT_CPU", Soft: s + 1, Hard: s + 2})
	}
	if l.MaxFileSize > 0 {
		out = append(out, specs.POSIXRlimit{Type: "RLIMIT_FSIZE", Soft: l.MaxFileSize, Hard: l.MaxFileSize})
	}
	if l.MaxFiles > 0 {
		out = append(out, specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Soft: l.MaxFiles, Hard: l.MaxFiles})
	}
	if l.Processes > 0 {
		// Since Linux 5.14 it is counted in each user namespace, so for this sandbox alone.
		out = append(out, specs.POSIXRlimit{Type: "RLIMIT_NPROC", Soft: l.Processes, Hard: l.Processes})
	}
	return out
}
