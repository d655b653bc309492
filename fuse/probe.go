package fuse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// ProbeName is argv[0] of the process that tries things out: this program
// again, which must then call ProbeMain before anything else.
const ProbeName = "[coracle:probe]"

// probeTime is long for a dozen mounts, and short for a store that hangs.
const probeTime = 20 * time.Second

// runProbe starts the probe in a user and mount namespace of its own, in which
// only the caller's id is mapped: what it finds holds for every map.
func runProbe(ctx context.Context, dir string) (Facts, error) {
	work, err := os.MkdirTemp(dir, ".probe-")
	if err != nil {
		return Facts{}, fmt.Errorf("probe the store: %w", err)
	}
	defer os.RemoveAll(work) // the probe has emptied it
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "/proc/self/exe", work)
	cmd.Args[0] = ProbeName
	cmd.Env = []string{}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	err = cmd.Run()
	if err != nil {
		return Facts{}, fmt.Errorf("probe the store %s: %w", dir, withText(err, stderr.String()))
	}
	var f Facts
	if err := json.Unmarshal(stdout.Bytes(), &f); err != nil {
		return Facts{}, fmt.Errorf("probe the store %s: read the answer: %w", dir, err)
	}
	return f, nil
}

func withText(err error, text string) error {
	var exit *exec.ExitError
	if text = strings.TrimSpace(text); text == "" || !errors.As(err, &exit) {
		return err
	}
	return fmt.Errorf("%s: %w", text, err)
}

// ProbeMain is the probe process: os.Args[1] is an empty directory on the
// store; the answers go to standard output as JSON.
func ProbeMain() int {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage:", ProbeName, "DIR")
		return 2
	}
	f, err := probeIn(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := json.NewEncoder(os.Stdout).Encode(f); err != nil {
		return 1
	}
	return 0
}
