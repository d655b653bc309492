package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"coracle/internal/foreground"
	"coracle/internal/oci"
	"coracle/spec"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// criuFlags are those of checkpoint and restore alike.
type criuFlags struct {
	ImagePath         string   `name:"image-path" placeholder:"DIR" default:"checkpoint" help:"The directory of the checkpoint."`
	WorkPath          string   `name:"work-path" placeholder:"DIR" help:"The directory of CRIU's logs (default: the checkpoint's)."`
	TCPEstablished    bool     `name:"tcp-established" help:"Keep open TCP connections."`
	ExtUnixSk         bool     `name:"ext-unix-sk" help:"Allow Unix sockets to the outside."`
	ShellJob          bool     `name:"shell-job" help:"Allow processes of a shell's session."`
	FileLocks         bool     `name:"file-locks" help:"Keep file locks."`
	LazyPages         bool     `name:"lazy-pages" help:"Fetch the memory when it is needed, from criu lazy-pages."`
	AutoDedup         bool     `name:"auto-dedup" help:"Drop memory from the images as it becomes superfluous."`
	ManageCgroupsMode string   `name:"manage-cgroups-mode" placeholder:"MODE" enum:",soft,full,strict,ignore" default:"" help:"What becomes of the container's own cgroups: soft (the default with cgroup v2 alone), full, strict or ignore."`
	EmptyNS           []string `name:"empty-ns" placeholder:"KIND" help:"network: leave what is in the network namespace to hooks."`
}

func (f *criuFlags) options() (spec.CheckpointOptions, error) {
	o := spec.CheckpointOptions{ImagePath: f.ImagePath, WorkPath: f.WorkPath, TCPEstablished: f.TCPEstablished,
		ExtUnixSk: f.ExtUnixSk, ShellJob: f.ShellJob, FileLocks: f.FileLocks,
		LazyPages: f.LazyPages, AutoDedup: f.AutoDedup, Cgroups: f.ManageCgroupsMode}
	for _, kind := range f.EmptyNS {
		if kind != string(rspec.NetworkNamespace) {
			return o, &usageError{msg: fmt.Sprintf("--empty-ns %s: only network is possible", kind)}
		}
		o.EmptyNetwork = true
	}
	return o, nil
}

type ociCheckpointCmd struct {
	criuFlags
	LeaveRunning    bool   `name:"leave-running" help:"Let the container run on."`
	TCPSkipInFlight bool   `name:"tcp-skip-in-flight" help:"Leave out TCP connections that are being made."`
	LinkRemap       bool   `name:"link-remap" help:"Allow files that are open and deleted to be linked again."`
	PreDump         bool   `name:"pre-dump" help:"Only write the memory; the container runs on."`
	ParentPath      string `name:"parent-path" placeholder:"DIR" help:"An earlier --pre-dump, relative to --image-path: only what has changed since is written."`
	PageServer      string `name:"page-server" placeholder:"ADDRESS:PORT" help:"Send the memory to a criu page-server; with --lazy-pages, be one there."`
	StatusFD        int    `name:"status-fd" placeholder:"N" default:"-1" help:"Write a zero byte to descriptor N when --lazy-pages can be fetched."`
	ID              string `arg:"" name:"ID"`
}

func (*ociCheckpointCmd) Help() string {
	return `Writes the processes of a running container to a directory with CRIU, and deletes
the container, as runc does. One that cannot be written runs on.`
}

func (c *ociCheckpointCmd) run(a *app) (int, error) {
	r, err := a.runtime()
	if err != nil {
		return 1, err
	}
	o, err := c.options()
	if err != nil {
		return 1, err
	}
	if o.Status, err = statusFile(c.StatusFD); err != nil {
		return 1, err
	}
	o.LeaveRunning, o.TCPSkipInFlight, o.LinkRemap = c.LeaveRunning, c.TCPSkipInFlight, c.LinkRemap
	o.PreDump, o.ParentPath, o.PageServer = c.PreDump, c.ParentPath, c.PageServer
	ctx, stop := interruptible()
	defer stop()
	return 0, r.Checkpoint(ctx, c.ID, o)
}

// statusFile is a descriptor that we were given to write to.
func statusFile(fd int) (*os.File, error) {
	if fd == -1 {
		return nil, nil
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || fd < 0 {
		return nil, fmt.Errorf("--status-fd %d: %w", fd, err)
	}
	if flags&unix.O_ACCMODE == unix.O_RDONLY {
		return nil, fmt.Errorf("--status-fd %d: it cannot be written to", fd)
	}
	return os.NewFile(uintptr(fd), "--status-fd"), nil
}

type ociRestoreCmd struct {
	criuFlags
	Bundle          string `short:"b" placeholder:"DIR" default:"." help:"The bundle: a directory with config.json."`
	Detach          bool   `short:"d" help:"Leave the container in the background."`
	PIDFile         string `name:"pid-file" placeholder:"FILE" help:"Write the pid of the first process to FILE."`
	ConsoleSocket   string `name:"console-socket" placeholder:"SOCKET" help:"Send the terminal to who listens there."`
	NoSubreaper     bool   `name:"no-subreaper" help:"Leave what the container leaves behind to somebody else."`
	NoPivot         bool   `name:"no-pivot" help:"Taken for runc's sake: CRIU enters the root its own way."`
	LSMProfile      string `name:"lsm-profile" placeholder:"TYPE:NAME" help:"Restore with this profile: apparmor:NAME or selinux:LABEL."`
	LSMMountContext string `name:"lsm-mount-context" placeholder:"LABEL" help:"Mount with this SELinux label."`
	ID              string `arg:"" name:"ID"`
}

func (*ociRestoreCmd) Help() string {
	return `Makes a container from a checkpoint and a bundle, with CRIU. The hooks prestart,
createRuntime and poststart run; what the others did is in the checkpoint.`
}

func (c *ociRestoreCmd) run(a *app) (int, error) {
	r, err := a.runtime()
	if err != nil {
		return 1, err
	}
	o, err := c.options()
	if err != nil {
		return 1, err
	}
	o.LSMProfile, o.LSMMountContext = c.LSMProfile, c.LSMMountContext
	cfg, err := spec.LoadBundle(c.Bundle)
	if err != nil {
		return 1, err
	}
	b := oci.BundleFlags{Bundle: c.Bundle, ConsoleSocket: c.ConsoleSocket, PIDFile: c.PIDFile}
	if err := b.CheckTerminal(cfg, c.Detach); err != nil {
		return 1, err
	}
	co := b.Options(cfg)
	restore := func(ctx context.Context, stdio [3]*os.File) (*spec.Process, error) {
		co.Extra.Stdio = stdio
		_, p, err := r.Restore(ctx, c.ID, co, o)
		return p, err
	}
	if c.Detach {
		ctx, stop := interruptible()
		defer stop()
		p, err := restore(ctx, oci.Stdio())
		if err == nil {
			p.Detach()
		}
		return 0, err
	}
	return c.foreground(r, cfg.Process != nil && cfg.Process.Terminal, restore)
}

// foreground stays with the container to its end, and deletes it then.
func (c *ociRestoreCmd) foreground(r *spec.Runtime, tty bool, restore func(context.Context, [3]*os.File) (*spec.Process, error)) (int, error) {
	if !c.NoSubreaper {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return 1, fmt.Errorf("become the subreaper: %w", err)
		}
	}
	ws, err := foreground.Run(foreground.Stdio{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, tty,
		func(ctx context.Context, child [3]*os.File, _ *rspec.Box) (*spec.Process, error) {
			p, err := restore(ctx, child)
			if err == nil && !c.NoSubreaper {
				go reapOthers(p.PID)
			}
			return p, err
		})
	if err != nil {
		return 1, err
	}
	return foreground.Code(ws), r.Delete(context.Background(), c.ID, true)
}

// reapOthers reaps what the container leaves behind, up to the end of its first
// process, which is left to others.
func reapOthers(first int) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		pid := childOf(&info)
		if pid == first {
			return
		}
		_, _ = unix.Wait4(pid, nil, 0, nil) // whoever else waits for it was faster
	}
}

// childOf is si_pid, for which x/sys has no name.
func childOf(info *unix.Siginfo) int {
	const place = 16 // behind three ints, and the union's alignment
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(info), place)))
}
