package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"coracle/internal/oci"
	"coracle/spec"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

type ociUpdateCmd struct {
	Resources         string  `short:"r" placeholder:"FILE" help:"Take linux.resources from FILE, - for standard input; no other flag counts then."`
	BlkioWeight       *uint16 `name:"blkio-weight" placeholder:"N" help:"Weight of block I/O, 10 to 1000."`
	CPUPeriod         *uint64 `name:"cpu-period" placeholder:"USEC" help:"Period of the CPU quota."`
	CPUQuota          *int64  `name:"cpu-quota" placeholder:"USEC" help:"CPU time in each period."`
	CPUBurst          *uint64 `name:"cpu-burst" placeholder:"USEC" help:"CPU time that may be saved up."`
	CPUShare          *uint64 `name:"cpu-share" placeholder:"N" help:"CPU shares, relative to others."`
	CPURTPeriod       *uint64 `name:"cpu-rt-period" placeholder:"USEC" help:"Not there in cgroup v2: refused."`
	CPURTRuntime      *int64  `name:"cpu-rt-runtime" placeholder:"USEC" help:"Not there in cgroup v2: refused."`
	CPUIdle           *int64  `name:"cpu-idle" placeholder:"0|1" help:"Run only when nothing else wants to."`
	CPUSetCPUs        string  `name:"cpuset-cpus" placeholder:"LIST" help:"CPUs to use."`
	CPUSetMems        string  `name:"cpuset-mems" placeholder:"LIST" help:"Memory nodes to use."`
	KernelMemory      string  `name:"kernel-memory" placeholder:"BYTES" help:"Obsolete: refused."`
	KernelMemoryTCP   string  `name:"kernel-memory-tcp" placeholder:"BYTES" help:"Obsolete: refused."`
	Memory            string  `placeholder:"BYTES" help:"Limit on memory; -1 for none."`
	MemoryReservation string  `name:"memory-reservation" placeholder:"BYTES" help:"Memory that is kept for it."`
	MemorySwap        string  `name:"memory-swap" placeholder:"BYTES" help:"Limit on memory and swap together; -1 for none."`
	PidsLimit         *int64  `name:"pids-limit" placeholder:"N" help:"Limit on processes; -1 for none."`
	L3CacheSchema     string  `name:"l3-cache-schema" placeholder:"TEXT" help:"Needs linux.intelRdt: refused without."`
	MemBWSchema       string  `name:"mem-bw-schema" placeholder:"TEXT" help:"Needs linux.intelRdt: refused without."`

	ID string `arg:"" name:"ID"`
}

func (c *ociUpdateCmd) run(a *app) (int, error) {
	box, err := a.box(c.ID)
	if err != nil {
		return 1, err
	}
	res, err := c.resources()
	if err != nil {
		return 1, err
	}
	return 0, box.Update(res)
}

func (c *ociUpdateCmd) resources() (*rspec.LinuxResources, error) {
	for flag, value := range map[string]string{"--kernel-memory": c.KernelMemory, "--kernel-memory-tcp": c.KernelMemoryTCP,
		"--l3-cache-schema": c.L3CacheSchema, "--mem-bw-schema": c.MemBWSchema} {
		if value != "" {
			return nil, &usageError{msg: flag + ": cgroup v2 has no such limit"}
		}
	}
	if c.CPURTPeriod != nil || c.CPURTRuntime != nil {
		return nil, &usageError{msg: "--cpu-rt-period, --cpu-rt-runtime: cgroup v2 has no such limit"}
	}
	if c.Resources != "" {
		in := io.Reader(os.Stdin)
		if c.Resources != "-" {
			f, err := os.Open(c.Resources)
			if err != nil {
				return nil, fmt.Errorf("read the new limits: %w", err)
			}
			defer f.Close()
			in = f
		}
		return spec.LoadResources(in)
	}
	res := &rspec.LinuxResources{}
	cpu := &rspec.LinuxCPU{Shares: c.CPUShare, Quota: c.CPUQuota, Period: c.CPUPeriod, Burst: c.CPUBurst, Idle: c.CPUIdle, Cpus: c.CPUSetCPUs, Mems: c.CPUSetMems}
	if cpu.Shares != nil || cpu.Quota != nil || cpu.Period != nil || cpu.Burst != nil || cpu.Idle != nil || cpu.Cpus != "" || cpu.Mems != "" {
		res.CPU = cpu
	}
	if c.PidsLimit != nil {
		res.Pids = &rspec.LinuxPids{Limit: c.PidsLimit}
	}
	if c.BlkioWeight != nil {
		res.BlockIO = &rspec.LinuxBlockIO{Weight: c.BlkioWeight}
	}
	memory := &rspec.LinuxMemory{}
	for _, m := range []struct {
		flag, value string
		to          **int64
	}{{"--memory", c.Memory, &memory.Limit}, {"--memory-reservation", c.MemoryReservation, &memory.Reservation}, {"--memory-swap", c.MemorySwap, &memory.Swap}} {
		if m.value == "" {
			continue
		}
		n, err := limitBytes(m.value)
		if err != nil {
			return nil, &usageError{msg: fmt.Sprintf("%s %s: %v", m.flag, m.value, err)}
		}
		*m.to, res.Memory = &n, memory
	}
	return res, nil
}

// limitBytes reads a size; -1 is no limit.
func limitBytes(s string) (int64, error) {
	if s == "-1" {
		return -1, nil
	}
	return spec.ParseBytes(s)
}

type ociEventsCmd struct {
	Interval time.Duration `placeholder:"TIME" default:"5s" help:"Time between statistics."`
	Stats    bool          `help:"Print the statistics once, and end."`

	ID string `arg:"" name:"ID"`
}

func (*ociEventsCmd) Help() string {
	return `Prints a line of JSON for each event: "stats", and "oom" where the kernel has
killed a process for want of memory. Ends with the container.`
}

// ociEvent is an event in runc's words.
type ociEvent struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Data any    `json:"data,omitempty"`
}

func (c *ociEventsCmd) run(a *app) (int, error) {
	box, err := a.box(c.ID)
	if err != nil {
		return 1, err
	}
	if c.Interval <= 0 {
		return 1, &usageError{msg: "events: --interval must be longer than nothing"}
	}
	var mu sync.Mutex // the watcher prints, too
	emit := func(e ociEvent) error {
		mu.Lock()
		defer mu.Unlock()
		if err := a.printLine(e); err != nil {
			return err
		}
		return a.out.Flush()
	}
	stats := func() error {
		st, err := box.Stats()
		if err != nil {
			return err
		}
		return emit(ociEvent{Type: "stats", ID: c.ID, Data: st})
	}
	if c.Stats {
		return 0, stats()
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := stats(); err != nil {
		return 1, err
	}
	return 0, c.watch(ctx, box, stats, emit)
}

// watch emits until the container has ended.
func (c *ociEventsCmd) watch(ctx context.Context, box *spec.Container, stats func() error, emit func(ociEvent) error) error {
	ended := make(chan error, 1)
	go func() {
		ended <- box.Watch(ctx, func(uint64) { _ = emit(ociEvent{Type: "oom", ID: c.ID}) }) // the next line of stats tells of the same failure
	}()
	tick := time.NewTicker(c.Interval)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if ctx.Err() != nil {
				return nil
			}
			return err
		case <-tick.C:
			if err := stats(); err != nil {
				if errors.Is(err, spec.ErrNotRunning) {
					return nil
				}
				return err
			}
		}
	}
}

type ociSpecCmd struct {
	Bundle   string `short:"b" placeholder:"DIR" default:"." help:"The bundle to write config.json to."`
	Rootless bool   `help:"For a caller without privileges."`
}

func (*ociSpecCmd) Help() string {
	return `Writes a config.json that runs as it is once there is a root file system in
BUNDLE/rootfs: a shell on a terminal.`
}

func (c *ociSpecCmd) run(a *app) (int, error) {
	path := c.Bundle + "/config.json"
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, os.ErrExist) {
		return 1, fmt.Errorf("file %s exists. Remove it first", path)
	}
	if err != nil {
		return 1, err
	}
	defer f.Close()
	data, err := oci.Indented(spec.ExampleHere(c.Rootless))
	if err == nil {
		_, err = f.Write(data)
	}
	if err != nil {
		os.Remove(path)
		return 1, fmt.Errorf("write %s: %w", path, err)
	}
	return 0, nil
}
