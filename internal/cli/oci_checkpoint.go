package cli

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"coracle/spec"
)

// criuFlags are those of checkpoint and restore alike.
type criuFlags struct {
	ImagePath         string   `name:"image-path" placeholder:"DIR" default:"checkpoint" help:"The directory of the checkpoint."`
	WorkPath          string   `name:"work-path" placeholder:"DIR" help:"The directory of CRIU's logs (default: the checkpoint's)."`
	TCPEstablished    bool     `name:"tcp-established" help:"Keep open TCP connections."`
	ExtUnixSk         bool     `name:"ext-unix-sk" help:"Allow Unix sockets to the outside."`
	ShellJob          bool     `name:"shell-job" help:"Allow processes of a shell's session."`
	FileLocks         bool     `name:"file-locks" help:"Keep file locks."`
	LazyPages         bool     `name:"lazy-pages" hidden:"" help:"Refused."`
	ManageCgroupsMode string   `name:"manage-cgroups-mode" placeholder:"MODE" enum:",soft,full,strict,ignore" default:"" help:"ignore: the cgroup is made from config.json. Others are refused."`
	EmptyNS           []string `name:"empty-ns" hidden:"" help:"Refused."`
	AutoDedup         bool     `name:"auto-dedup" hidden:"" help:"Refused."`
}

// refused is one flag that runc has and that is not carried out.
type refused struct {
	given bool
	flag  string
}

func (f *criuFlags) options(more ...refused) (spec.CheckpointOptions, error) {
	for _, r := range append(more,
		refused{f.LazyPages, "lazy-pages"}, refused{len(f.EmptyNS) > 0, "empty-ns"}, refused{f.AutoDedup, "auto-dedup"},
		refused{f.ManageCgroupsMode != "" && f.ManageCgroupsMode != "ignore", "manage-cgroups-mode=" + f.ManageCgroupsMode}) {
		if r.given {
			return spec.CheckpointOptions{}, fmt.Errorf("--%s is not supported yet", r.flag)
		}
	}
	return spec.CheckpointOptions{ImagePath: f.ImagePath, WorkPath: f.WorkPath, TCPEstablished: f.TCPEstablished,
		ExtUnixSk: f.ExtUnixSk, ShellJob: f.ShellJob, FileLocks: f.FileLocks}, nil
}

type ociCheckpointCmd struct {
	criuFlags
	LeaveRunning    bool   `name:"leave-running" help:"Let the container run on."`
	TCPSkipInFlight bool   `name:"tcp-skip-in-flight" help:"Leave out TCP connections that are being made."`
	StatusFD        int    `name:"status-fd" default:"-1" hidden:"" help:"Refused."`
	PageServer      string `name:"page-server" hidden:"" help:"Refused."`
	PreDump         bool   `name:"pre-dump" hidden:"" help:"Refused."`
	ParentPath      string `name:"parent-path" hidden:"" help:"Refused."`
	ID              string `arg:"" name:"ID"`
}

func (c *ociCheckpointCmd) run(a *app) (int, error) {
	r, err := a.runtime()
	if err != nil {
		return 1, err
	}
	o, err := c.options(refused{c.StatusFD >= 0, "status-fd"}, refused{c.PageServer != "", "page-server"},
		refused{c.PreDump, "pre-dump"}, refused{c.ParentPath != "", "parent-path"})
	if err != nil {
		return 1, err
	}
	o.LeaveRunning, o.TCPSkipInFlight = c.LeaveRunning, c.TCPSkipInFlight
	return 0, r.Checkpoint(context.Background(), c.ID, o)
}

type ociRestoreCmd struct {
	criuFlags
	Bundle          string `short:"b" placeholder:"DIR" default:"." help:"The bundle: a directory with config.json."`
	Detach          bool   `short:"d" help:"Leave the container in the background."`
	PIDFile         string `name:"pid-file" placeholder:"FILE" help:"Write the pid of the first process to FILE."`
	ConsoleSocket   string `name:"console-socket" hidden:"" help:"Refused."`
	NoSubreaper     bool   `name:"no-subreaper" help:"Leave what the container leaves behind to somebody else."`
	NoPivot         bool   `name:"no-pivot" hidden:"" help:"Refused."`
	LSMProfile      string `name:"lsm-profile" hidden:"" help:"Refused."`
	LSMMountContext string `name:"lsm-mount-context" hidden:"" help:"Refused."`
	ID              string `arg:"" name:"ID"`
}

func (c *ociRestoreCmd) run(a *app) (int, error) {
	r, err := a.runtime()
	if err != nil {
		return 1, err
	}
	o, err := c.options(refused{c.ConsoleSocket != "", "console-socket"}, refused{c.NoPivot, "no-pivot"},
		refused{c.LSMProfile != "", "lsm-profile"}, refused{c.LSMMountContext != "", "lsm-mount-context"})
	if err != nil {
		return 1, err
	}
	co := spec.CreateOptions{Bundle: c.Bundle, PIDFile: c.PIDFile}
	co.Extra.Stdio = stdStreams()
	ctx := context.Background()
	box, err := r.Restore(ctx, c.ID, co, o)
	if err != nil || c.Detach {
		return 0, err
	}
	return waitRestored(ctx, r, box)
}

// waitRestored waits for a container in the foreground, and deletes it.
func waitRestored(ctx context.Context, r *spec.Runtime, box *spec.Container) (int, error) {
	p, err := os.FindProcess(box.Pid)
	if err != nil {
		return 1, err
	}
	st, err := p.Wait()
	if err != nil {
		return 1, fmt.Errorf("wait for container %s: %w", box.ID, err)
	}
	code := st.ExitCode()
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		code = 128 + int(ws.Signal())
	}
	return code, r.Delete(ctx, box.ID, true)
}
