package spec

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// execSpec is the container's configuration with p in the place of its
// process, checked.
func (c *Container) execSpec(p *specs.Process) (*specs.Spec, error) {
	s, err := c.Spec()
	if err != nil {
		return nil, err
	}
	if s.Process == nil || s.Linux == nil {
		return nil, fmt.Errorf("read the configuration of container %s: process or linux is missing", c.ID)
	}
	first := s.Process
	s.Process = inherit(p, first)
	host, err := ReadHost(s)
	if err != nil {
		return nil, err
	}
	warnings, err := ValidateProcess(s.Process, s, host)
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		c.rt.debug("%s", w)
	}
	return s, nil
}

// inherit fills in what p does not say as the container's first process has it.
func inherit(p, first *specs.Process) *specs.Process {
	out := *p
	if out.Capabilities == nil {
		out.Capabilities = first.Capabilities
	}
	if len(out.Rlimits) == 0 {
		out.Rlimits = first.Rlimits
	}
	if out.ApparmorProfile == "" {
		out.ApparmorProfile = first.ApparmorProfile
	}
	if out.SelinuxLabel == "" {
		out.SelinuxLabel = first.SelinuxLabel
	}
	if out.Scheduler == nil {
		out.Scheduler = first.Scheduler
	}
	if out.IOPriority == nil {
		out.IOPriority = first.IOPriority
	}
	if out.ExecCPUAffinity == nil {
		out.ExecCPUAffinity = first.ExecCPUAffinity
	}
	if out.User.Umask == nil {
		out.User.Umask = first.User.Umask
	}
	if out.Cwd == "" {
		out.Cwd = first.Cwd
	}
	if out.OOMScoreAdj == nil && first.OOMScoreAdj != nil && *first.OOMScoreAdj >= ownOOMScore() {
		// Lower than our own it was somebody else's to give.
		out.OOMScoreAdj = first.OOMScoreAdj
	}
	return &out
}

func ownOOMScore() int {
	data, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return n
}
