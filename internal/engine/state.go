package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// state is RUNROOT/containers/ID/state.json: runtime-spec's state and what
// tells the process from another one that got its pid.
type state struct {
	specs.State
	StartTime uint64    `json:"startTime"` // clock ticks since boot, /proc/PID/stat field 22
	Boot      string    `json:"boot"`      // a state that outlived its boot names nobody
	Started   time.Time `json:"started"`
}

const stateFile = "state.json"

// encode is json.Marshal, without its study of the structure where there are no
// annotations: a start writes one.
func (s state) encode() ([]byte, error) {
	if len(s.Annotations) > 0 || s.Pid == 0 {
		return json.Marshal(s)
	}
	b := []byte("{")
	for _, f := range [][2]string{{"ociVersion", s.Version}, {"id", s.ID}, {"status", string(s.Status)}, {"pid", ""}, {"bundle", s.Bundle},
		{"startTime", ""}, {"boot", s.Boot}, {"started", s.Started.Format(time.RFC3339Nano)}} {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), f[0]...), `":`...)
		switch f[0] {
		case "pid":
			b = strconv.AppendInt(b, int64(s.Pid), 10)
		case "startTime":
			b = strconv.AppendUint(b, s.StartTime, 10)
		default:
			word, err := json.Marshal(f[1])
			if err != nil {
				return nil, err
			}
			b = append(b, word...)
		}
	}
	return append(b, '}'), nil
}

// dropState removes the state and its directory.
func (e *Engine) dropState(id string) error {
	dir := e.runDir(id)
	_ = unix.Unlink(filepath.Join(dir, stateFile))
	if err := unix.Rmdir(dir); err == nil || isNotFound(err) {
		return nil
	}
	return os.RemoveAll(dir)
}

func (e *Engine) readState(id string) (state, error) {
	var s state
	data, err := os.ReadFile(filepath.Join(e.runDir(id), stateFile))
	if err != nil {
		return s, err
	}
	if json.Unmarshal(data, &s) != nil || s.Pid <= 0 {
		return s, fs.ErrNotExist // it is being written at this moment
	}
	return s, nil
}

// startTime is when the process started; a pid alone may be somebody else's.
func startTime(pid int) (uint64, error) {
	data, err := readShort("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// The command's name, in parentheses, may hold anything.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields)+2)
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// open returns a pidfd of the process, or ESRCH when it is gone.
func (s state) open() (*os.File, error) {
	if s.Boot != bootID() {
		return nil, unix.ESRCH
	}
	fd, err := unix.PidfdOpen(s.Pid, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	// Checked after opening: from here on the descriptor is that process.
	if t, err := startTime(s.Pid); err != nil || t != s.StartTime {
		f.Close()
		return nil, unix.ESRCH
	}
	return f, nil
}

func bootID() string {
	data, _ := readShort("/proc/sys/kernel/random/boot_id")
	return string(bytes.TrimSpace(data))
}

func (s state) signal(sig syscall.Signal) error {
	f, err := s.open()
	if err == nil {
		err = unix.PidfdSendSignal(int(f.Fd()), sig, nil, 0)
		f.Close()
	}
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// end kills the process and waits until it is gone, at most limit.
func (s state) end(limit time.Duration) error {
	f, err := s.open()
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.PidfdSendSignal(int(f.Fd()), unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	n, err := ignoringEINTR(func() (int, error) {
		return unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}, int(limit.Milliseconds()))
	})
	if err == nil && n == 0 {
		err = fmt.Errorf("process %d does not end", s.Pid)
	}
	return err
}
