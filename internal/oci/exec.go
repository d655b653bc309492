package oci

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"coracle/internal/foreground"
	"coracle/spec"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
)

// Exec runs another process in a container.
type Exec struct {
	ConsoleSocket  string   `name:"console-socket" placeholder:"SOCKET" help:"Send the terminal to who listens there."`
	PIDFDSocket    string   `name:"pidfd-socket" placeholder:"SOCKET" help:"Send a pidfd of the process to who listens there."`
	Cwd            string   `placeholder:"DIR" help:"Working directory."`
	Env            []string `short:"e" sep:"none" placeholder:"NAME=VALUE" help:"Set a variable."`
	TTY            *bool    `name:"tty" short:"t" help:"Give it a terminal."`
	User           string   `short:"u" placeholder:"UID[:GID]" help:"Run as this user, by number."`
	AdditionalGIDs []uint32 `name:"additional-gids" short:"g" placeholder:"GID" help:"A further group."`
	Process        string   `short:"p" placeholder:"FILE" help:"Take the process, as in config.json, from FILE."`
	Detach         bool     `short:"d" help:"Leave it in the background."`
	PIDFile        string   `name:"pid-file" placeholder:"FILE" help:"Write its pid to FILE."`
	ProcessLabel   string   `name:"process-label" placeholder:"LABEL" help:"Its SELinux label."`
	AppArmor       string   `name:"apparmor" placeholder:"PROFILE" help:"Its AppArmor profile."`
	NoNewPrivs     bool     `name:"no-new-privs" help:"It gains no privileges."`
	Cap            []string `short:"c" placeholder:"NAME" help:"A capability more than the container has."`
	PreserveFDs    uint     `name:"preserve-fds" placeholder:"N" help:"Pass on N descriptors, from 3 on."`
	Cgroup         []string `placeholder:"PATH" help:"A cgroup below the container's."`
	IgnorePaused   bool     `name:"ignore-paused" help:"Also into a container that is paused: it waits there."`
	IgnoreCgroup   bool     `name:"ignore-cgroup" help:"Go on where the container's cgroup cannot be joined, without its limits."`
	NoNewKeyring   bool     `name:"no-new-keyring" help:"Keep the session keyring."`

	ID   string   `arg:"" name:"ID"`
	Args []string `arg:"" name:"COMMAND" optional:""`
}

func (*Exec) Help() string {
	return `Runs another process in a container, with the container's environment, limits
and capabilities.`
}

func (c *Exec) Run(e *Env) (int, error) {
	const failed = 255 // so that callers tell it from the command's own codes, as runc
	box, err := e.Box(c.ID)
	if err != nil {
		return failed, err
	}
	if e.NoSystemd && box.Cgroup.Scope != "" {
		return failed, spec.ErrSystemd // now, while nothing is done
	}
	p, err := c.process(box)
	if err != nil {
		return failed, err
	}
	if (c.Detach && p.Terminal) != (c.ConsoleSocket != "") {
		return failed, &UsageError{"exec: --console-socket goes with a terminal and --detach, and those two with it"}
	}
	o := spec.ExecOptions{
		Preserve: c.PreserveFDs, PIDFile: c.PIDFile, ConsoleSocket: c.ConsoleSocket, PIDFDSocket: c.PIDFDSocket,
		IgnoreCgroup: c.IgnoreCgroup, IgnorePaused: c.IgnorePaused, NoNewKeyring: c.NoNewKeyring,
	}
	if o.Cgroup, err = c.cgroup(); err != nil {
		return failed, err
	}
	ctx := context.Background()
	if c.Detach {
		o.Stdio = Stdio()
		child, err := box.Exec(ctx, p, o)
		if err != nil {
			return failed, ExecError(p.Args[0], err)
		}
		child.Detach()
		return 0, nil
	}
	ws, err := foreground.Run(foreground.Stdio{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, p.Terminal,
		func(ctx context.Context, child [3]*os.File, size *rspec.Box) (*spec.Process, error) {
			o.Stdio = child
			if p.Terminal && p.ConsoleSize == nil {
				p.ConsoleSize = size
			}
			started, err := box.Exec(ctx, p, o)
			return started, ExecError(p.Args[0], err)
		})
	if err != nil {
		return failed, err
	}
	return foreground.Code(ws), nil
}

// process is what --process says, or the container's own process with what
// the flags say.
func (c *Exec) process(box *spec.Container) (*rspec.Process, error) {
	if c.Process != "" {
		f, err := os.Open(c.Process)
		if err != nil {
			return nil, fmt.Errorf("read the process: %w", err)
		}
		defer f.Close()
		p, err := spec.LoadProcess(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Process, err)
		}
		if len(p.Args) == 0 {
			return nil, fmt.Errorf("%s: process.args: empty: there is nothing to run", c.Process)
		}
		return p, nil
	}
	if len(c.Args) == 0 {
		return nil, &UsageError{"exec: a command is needed behind the id, or --process"}
	}
	s, err := box.Spec()
	if err != nil {
		return nil, err
	}
	p := *s.Process
	p.Args, p.Terminal, p.ConsoleSize = c.Args, c.TTY != nil && *c.TTY, nil
	p.Env = append(append([]string{}, p.Env...), c.Env...)
	if c.Cwd != "" {
		p.Cwd = c.Cwd
	}
	if c.ProcessLabel != "" {
		p.SelinuxLabel = c.ProcessLabel
	}
	if c.AppArmor != "" {
		p.ApparmorProfile = c.AppArmor
	}
	p.NoNewPrivileges = p.NoNewPrivileges || c.NoNewPrivs
	c.capabilities(&p)
	return &p, c.user(&p)
}

// user reads UID[:GID].
func (c *Exec) user(p *rspec.Process) error {
	p.User.AdditionalGids = append(append([]uint32{}, p.User.AdditionalGids...), c.AdditionalGIDs...)
	if c.User == "" {
		return nil
	}
	uid, gid, both := strings.Cut(c.User, ":")
	n, err := strconv.ParseUint(uid, 10, 32)
	if err == nil {
		p.User.UID, n = uint32(n), uint64(p.User.GID)
		if both {
			n, err = strconv.ParseUint(gid, 10, 32)
		}
		p.User.GID = uint32(n)
	}
	if err != nil {
		return &UsageError{fmt.Sprintf("exec: --user %s: want UID or UID:GID in numbers", c.User)}
	}
	return nil
}

// capabilities adds what --cap names; not to the ambient ones where they are
// not inheritable.
func (c *Exec) capabilities(p *rspec.Process) {
	if len(c.Cap) == 0 {
		return
	}
	var old rspec.LinuxCapabilities
	if p.Capabilities != nil {
		old = *p.Capabilities
	}
	add := func(set []string) []string { return append(append([]string{}, set...), c.Cap...) }
	p.Capabilities = &rspec.LinuxCapabilities{
		Bounding: add(old.Bounding), Effective: add(old.Effective), Permitted: add(old.Permitted),
		Inheritable: old.Inheritable, Ambient: old.Ambient,
	}
}

// cgroup is the path below the container's cgroup; runc's form for version 1,
// CONTROLLER:PATH, means nothing here.
func (c *Exec) cgroup() (string, error) {
	switch {
	case len(c.Cgroup) == 0:
		return "", nil
	case len(c.Cgroup) > 1 || strings.Contains(c.Cgroup[0], ":"):
		return "", &UsageError{"exec: --cgroup takes one path: cgroup v2 has one tree for all controllers"}
	}
	return c.Cgroup[0], nil
}
