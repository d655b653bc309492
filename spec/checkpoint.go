package spec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	criu "github.com/checkpoint-restore/go-criu/v8"
	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// CheckpointOptions are what Checkpoint and Restore ask CRIU for, as runc's flags.
type CheckpointOptions struct {
	ImagePath, WorkPath string // directories of the images and of the logs; WorkPath "" is ImagePath
	LeaveRunning        bool   // Checkpoint only
	TCPEstablished      bool
	TCPSkipInFlight     bool // Checkpoint only
	ExtUnixSk           bool
	ShellJob            bool
	FileLocks           bool
}

// stdioFile is beside CRIU's images and has what descriptors 0 to 2 were, by
// the names that CRIU gives to what comes from outside.
const stdioFile = "descriptors.json"

// Checkpoint writes the processes of a running container to a directory. They
// end, unless they are left running.
func (r *Runtime) Checkpoint(ctx context.Context, id string, o CheckpointOptions) error {
	lock, err := r.lock(id)
	if err != nil {
		return err
	}
	defer lock.Close()
	c, err := r.Load(id)
	if err != nil {
		return err
	}
	s, err := c.Spec()
	if err != nil {
		return err
	}
	switch st := c.status(); st {
	case specs.StateRunning, StatePaused:
	case specs.StateStopped:
		return &idError{id, ErrNotRunning}
	default:
		return fmt.Errorf("checkpoint container %s: it is %s, and only a running one can be", id, st)
	}
	if err := canCheckpoint(s); err != nil {
		return fmt.Errorf("checkpoint container %s: %w", id, err)
	}
	d, err := openDump(o, "dump.log", true)
	if err != nil {
		return err
	}
	defer d.close()
	stdio, external, err := c.stdio()
	if err != nil {
		return fmt.Errorf("checkpoint container %s: %w", id, err)
	}
	opts := d.options(o)
	opts.Pid, opts.Root, opts.LeaveRunning = asked(int32(c.Pid)), &c.Rootfs, &o.LeaveRunning
	opts.TcpSkipInFlight = &o.TCPSkipInFlight
	opts.External = external
	opts.ExtMnt = c.externalMounts(s, true)
	if c.Cgroup.Path != "" {
		opts.FreezeCgroup = &c.Cgroup.Path
	}
	data, err := json.Marshal(stdio)
	if err == nil {
		err = replaceFile(filepath.Join(o.ImagePath, stdioFile), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("checkpoint container %s: write %s: %w", id, stdioFile, err)
	}
	if err := d.explain(criu.MakeCriu().Dump(opts, &notices{})); err != nil {
		return fmt.Errorf("checkpoint container %s: %w", id, err)
	}
	if o.LeaveRunning {
		return nil
	}
	c.end(ctx) // CRIU has killed it: this waits
	c.State.Status = specs.StateStopped
	return c.save()
}

// canCheckpoint refuses what is not brought back.
func canCheckpoint(s *specs.Spec) error {
	if s.Process != nil && s.Process.Terminal {
		return &ConfigError{"process.terminal", "containers with a terminal cannot be checkpointed or restored yet"}
	}
	for i, n := range s.Linux.Namespaces {
		field := fmt.Sprintf("linux.namespaces[%d]", i)
		switch {
		case n.Path != "":
			return &ConfigError{field + ".path", "containers in namespaces joined by path cannot be checkpointed or restored yet"}
		case n.Type == specs.UserNamespace, n.Type == specs.CgroupNamespace, n.Type == specs.TimeNamespace:
			return &ConfigError{field, fmt.Sprintf("containers with a %s namespace cannot be checkpointed or restored yet", n.Type)}
		}
	}
	has := func(t specs.LinuxNamespaceType) bool {
		return slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == t })
	}
	if !has(specs.PIDNamespace) || !has(specs.MountNamespace) {
		return &ConfigError{"linux.namespaces", "a container without a pid and a mount namespace of its own cannot be checkpointed or restored"}
	}
	return nil
}

// stdio says what the first three descriptors are, and which of them CRIU has
// to take for external: files that are mounted nowhere in the container.
func (c *Container) stdio() (names [3]string, external []string, err error) {
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", c.Pid))
	if err != nil {
		return names, nil, err
	}
	for fd := range names {
		path := fmt.Sprintf("/proc/%d/fd/%d", c.Pid, fd)
		link, err := os.Readlink(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return names, nil, err
		}
		if names[fd] = link; !filepath.IsAbs(link) {
			continue
		}
		name, inside, err := externalName(path, fmt.Sprintf("/proc/%d/fdinfo/%d", c.Pid, fd), string(mounts))
		if err != nil {
			return names, nil, err
		}
		if !inside {
			names[fd] = name
			external = append(external, name)
		}
	}
	slices.Sort(external)
	return names, slices.Compact(external), nil
}

// externalName is file[MOUNT:INODE] in hexadecimal, criu(8) --external.
func externalName(path, info, mounts string) (name string, inside bool, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", false, fmt.Errorf("look at %s: %w", path, err)
	}
	data, err := os.ReadFile(info)
	if err != nil {
		return "", false, err
	}
	var mount uint64
	for line := range strings.Lines(string(data)) {
		_, _ = fmt.Sscanf(line, "mnt_id: %d", &mount) // the one line that has it
	}
	for line := range strings.Lines(mounts) {
		inside = inside || strings.HasPrefix(line, fmt.Sprintf("%d ", mount))
	}
	return fmt.Sprintf("file[%x:%x]", mount, st.Ino), inside, nil
}

// externalMounts are the mounts whose file systems the container does not own:
// CRIU knows them by their place, and gets them from the host again.
func (c *Container) externalMounts(s *specs.Spec, dump bool) (out []*rpc.ExtMountMap) {
	add := func(place, source string) {
		if dump {
			source = place
		}
		out = append(out, &rpc.ExtMountMap{Key: &place, Val: &source})
	}
	for _, m := range s.Mounts {
		if slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind") || m.Type == "bind" {
			source := m.Source
			if !filepath.IsAbs(source) {
				source = filepath.Join(c.Bundle, source)
			}
			add(filepath.Clean(m.Destination), source)
		}
	}
	for _, p := range s.Linux.MaskedPaths { // a file's mask is the host's /dev/null, a directory's a tmpfs
		if st, err := os.Stat(filepath.Join("/proc/self/root", p)); err == nil && !st.IsDir() {
			add(filepath.Clean(p), "/dev/null")
		}
	}
	return out
}

func asked[T any](v T) *T { return &v }

// options are those that both directions have.
func (d *dump) options(o CheckpointOptions) *rpc.CriuOpts {
	return &rpc.CriuOpts{
		ImagesDirFd: asked(int32(d.images.Fd())), WorkDirFd: asked(int32(d.work.Fd())),
		LogLevel: asked(int32(4)), LogFile: &d.log, NotifyScripts: asked(true),
		TcpEstablished: &o.TCPEstablished, ExtUnixSk: &o.ExtUnixSk, ShellJob: &o.ShellJob, FileLocks: &o.FileLocks,
		// The cgroup is ours: made here, with the configuration's limits.
		ManageCgroups: asked(true), ManageCgroupsMode: asked(rpc.CriuCgMode_IGNORE),
	}
}
