package cli

import (
	"context"
	"time"

	"coracle/internal/engine"
	"coracle/internal/sandbox"
	"coracle/spec"
)

// sandboxCmd is `coracle sandbox`.
type sandboxCmd struct {
	Profile string `placeholder:"NAME|FILE" help:"Flags of a profile: coracle profile ls lists them."`

	View    sandboxView    `embed:"" group:"Files"`
	Process sandboxProcess `embed:"" group:"Process"`
	Network sandboxNetwork `embed:"" group:"Network"`
	Limits  sandboxLimits  `embed:"" group:"Limits"`
	Result  sandboxResult  `embed:"" group:"Result"`

	Command []string `arg:"" name:"COMMAND" optional:""`
}

type sandboxView struct {
	RW        []string `name:"rw" sep:"none" placeholder:"PATH[:DEST]" help:"Let it write to this file or directory of the host's (seen at DEST)."`
	RO        []string `name:"ro" sep:"none" placeholder:"PATH[:DEST]" help:"Show it this one, read-only (at DEST)."`
	RWTry     []string `name:"rw-try" sep:"none" placeholder:"PATH[:DEST]" help:"As --rw, if it is there."`
	ROTry     []string `name:"ro-try" sep:"none" placeholder:"PATH[:DEST]" help:"As --ro, if it is there."`
	Overlay   []string `name:"overlay" sep:"none" placeholder:"PATH[:DEST]" help:"Show it this directory copy-on-write (at DEST)."`
	Hide      []string `sep:"none" placeholder:"PATH" help:"Show it nothing there."`
	Tmpfs     []string `sep:"none" placeholder:"PATH" help:"An empty directory in memory."`
	Cwd       string   `placeholder:"HOW" help:"The current directory: overlay (the default), rw, ro or none."`
	Home      string   `placeholder:"HOW" help:"The home directory: empty (the default), real or overlay; credentials stay hidden."`
	Root      string   `placeholder:"ROOT" help:"host (the default), none, an image, or a directory with a root file system (/DIR, ./DIR, rootfs:DIR)."`
	Pull      string   `placeholder:"WHEN" enum:"always,missing,never,newer" default:"missing" help:"Of an image as root: always, missing, never or newer."`
	File      []string `name:"file" sep:"none" placeholder:"FD:DEST" help:"A read-only file with what can be read from descriptor FD."`
	AllowUnix []string `name:"allow-unix" sep:"none" placeholder:"PATH" help:"Let it connect to this socket."`
}

type sandboxProcess struct {
	Env        []string `short:"e" sep:"none" placeholder:"NAME[=VALUE]" help:"Set a variable, or take it from here (NAME* takes several)."`
	EnvPass    []string `name:"env-pass" sep:"none" placeholder:"NAME" help:"Take a variable from here."`
	Stdin      string   `placeholder:"WHAT" help:"Its standard input: inherit (the default), none, or a file."`
	Stdout     string   `placeholder:"FILE" help:"Write its standard output to FILE."`
	Stderr     string   `placeholder:"FILE" help:"Write its standard error to FILE."`
	Seccomp    string   `placeholder:"FILE" help:"A seccomp profile of your own, docker's or runtime-spec's JSON, instead of the sandbox's."`
	Allow32    bool     `name:"allow-32bit" help:"Let it run i386's programs on amd64; its system call filter then has their calls, too."`
	Hostname   string   `placeholder:"NAME" help:"Its host name (default: the host's)."`
	TimeOffset []string `name:"time-offset" sep:"none" placeholder:"CLOCK=TIME" help:"Set its clock monotonic or boottime on or back by that much: boottime=86400, monotonic=-90s."`
	Escapes    bool     `name:"filter-escapes" help:"Of what it prints on a terminal, let through text, colours, cursor moves and erasing only."`
}

type sandboxNetwork struct {
	Network string `aliases:"net" placeholder:"MODE" help:"none (the default), private, which rules imply, or host."`

	egressFlags `embed:""`
	Loopback    string `placeholder:"HOW" help:"Its own loopback: allow (the default) or deny, where it can neither listen nor connect."`
	ProxyEnv    bool   `name:"proxy-env" help:"For programs that insist on http_proxy and https_proxy: serve one, under the same rules, and set them."`
}

type sandboxLimits struct {
	Timeout     seconds `placeholder:"SECONDS" help:"End it after this time: TERM, then KILL."`
	Grace       seconds `placeholder:"SECONDS" help:"Time between TERM and KILL (default: 2)."`
	CPUTime     seconds `name:"cpu-time" placeholder:"SECONDS" help:"Most processor time of all its processes."`
	Memory      string  `short:"m" placeholder:"BYTES" help:"Most memory: 512m, 2g."`
	Pids        string  `aliases:"pids-limit" placeholder:"N" help:"Most processes and threads (default: 2048)."`
	CPUs        string  `name:"cpus" placeholder:"N" help:"Most processors: 0.5, 2."`
	MaxFileSize string  `name:"max-file-size" placeholder:"BYTES" help:"Largest file that it can write."`
	MaxFiles    uint64  `name:"max-files" placeholder:"N" help:"Most open files of a process."`
	Disk        string  `placeholder:"BYTES" help:"Most bytes of all that it writes, which is then in memory while it runs."`
	Inodes      uint64  `placeholder:"N" help:"Most files of all that it writes, likewise."`
	MaxOutput   string  `name:"max-output" placeholder:"BYTES" help:"Most bytes that it prints; more ends it."`
	Nice        int     `placeholder:"N" help:"Its niceness, 0 to 19."`
	IONice      string  `name:"ionice" placeholder:"N" help:"Its priority for disks: 0 (first) to 7, or idle."`
	BestEffort  bool    `name:"best-effort" help:"Leave out, and say, what cannot be enforced here."`
}

type sandboxResult struct {
	OnExit  string   `name:"on-exit" placeholder:"WHAT" help:"Of its changes: ask, apply, discard or keep."`
	Report  string   `placeholder:"FILE" help:"Write how it ended as JSON: to FILE, - or fd:N."`
	Denials string   `placeholder:"WHAT" help:"Record what is refused to it, for coracle why: all (the default with --report) or none."`
	Status  string   `name:"json-status-fd" placeholder:"FD" help:"Write JSON lines to descriptor FD: child-pid when it is there (also where --block-fd holds it), exit-code at its end."`
	Block   string   `name:"block-fd" placeholder:"FD" help:"Start it once there is something to read from descriptor FD, or its end."`
	Args    []string `name:"args" sep:"none" placeholder:"FD" help:"Read flags from descriptor FD, each word with a zero byte behind it."`
	Explain bool     `aliases:"dry-run" help:"Print what would be enforced, and by what, and do nothing."`
	Format  string   `placeholder:"FMT" enum:"text,json" default:"text" help:"Of --explain: text or json."`
}

// Help is shown above the flags.
func (*sandboxCmd) Help() string {
	return `COMMAND is one of the host's. It sees the host's files read-only, an empty home
and /tmp, and the current directory copy-on-write: what it changes there is kept
apart. It has no network, no privileges, and none of your environment but PATH,
TERM and the language. Nothing of it is left when it ends.

  coracle sandbox -- make test
  coracle sandbox --on-exit discard -- ./configure
  coracle sandbox --rw build --timeout 60 -- make
  coracle sandbox --explain -- npm install`
}

// refused are bubblewrap's flags, and firejail's, that are called otherwise here.
func (*sandboxCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{
		{flags: "ro-bind", never: true, reason: "that is bubblewrap's name for it", hint: "--ro PATH[:DEST]; all of the host's root is in sight anyway, read-only, but for homes, /tmp and /run"},
		{flags: "bind dev-bind", never: true, reason: "that is bubblewrap's name for it", hint: "--rw PATH[:DEST]"},
		{flags: "ro-bind-try bind-try dev-bind-try", never: true, reason: "that is bubblewrap's name for it", hint: "--ro-try PATH[:DEST], --rw-try PATH[:DEST]"},
		{flags: "ro-bind-data bind-data", never: true, reason: "that is bubblewrap's name for it", hint: "--file FD:DEST"},
		{flags: "setenv", never: true, reason: "that is bubblewrap's name for it", hint: "--env NAME=VALUE"},
		{flags: "unsetenv clearenv", never: true, reason: "of the environment there is only what is asked for", hint: "leave it out; --env-pass NAME takes a variable from here"},
		{flags: "chdir", never: true, reason: "the command starts where you are", hint: "cd DIR && coracle sandbox ..., or sandbox ... -- env -C DIR COMMAND"},
		{flags: "proc dev die-with-parent new-session unshare-all unshare-user unshare-pid unshare-ipc unshare-uts unshare-cgroup unshare-net cap-drop as-pid-1 private private-dev private-tmp nonewprivs noroot caps.drop", never: true,
			reason: "that is so in every sandbox", hint: "leave it out; --explain says all that holds"},
		{flags: "share-net", never: true, reason: "that is bubblewrap's name for it", hint: "--network host, or better --allow-net HOST:PORT"},
		{flags: "whitelist read-write", never: true, reason: "that is firejail's name for it", hint: "--rw PATH"},
		{flags: "blacklist", never: true, reason: "that is firejail's name for it", hint: "--hide PATH"},
		{flags: "read-only", never: true, reason: "that is firejail's name for it", hint: "--ro PATH"},
	}, name)
}

func (c *sandboxCmd) run(a *app) (int, error) {
	o, err := c.options()
	if err != nil {
		return exitOurs, err
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	bars := newProgress(a.err)
	defer bars.close()
	o.Progress = bars.add
	o.Stdio = engine.Stdio{Stdin: a.files[0], Stdout: a.files[1], Stderr: a.files[2]}
	exit, err := e.Sandbox(context.Background(), o)
	return exit.Code, err
}

func (c *sandboxCmd) options() (engine.SandboxOptions, error) {
	v, l := c.View, c.Limits
	o := engine.SandboxOptions{
		Options: sandbox.Options{
			Command: c.Command, ReadWrite: v.RW, ReadOnly: v.RO, TryReadWrite: v.RWTry, TryReadOnly: v.ROTry,
			Hide: v.Hide, Tmpfs: v.Tmpfs, Overlay: v.Overlay, AllowUnix: v.AllowUnix, Cwd: v.Cwd, Root: v.Root, Home: v.Home,
			Network:  sandbox.Network{Mode: c.Network.Network, Loopback: c.Network.Loopback},
			Hostname: c.Process.Hostname, TimeOffsets: c.Process.TimeOffset,
			Env: c.Process.Env, EnvPass: c.Process.EnvPass, Allow32: c.Process.Allow32, FilterEscapes: c.Process.Escapes,
			Limits: sandbox.Limits{Timeout: time.Duration(l.Timeout), Grace: time.Duration(l.Grace), CPUTime: time.Duration(l.CPUTime), MaxFiles: l.MaxFiles, Inodes: l.Inodes, Nice: l.Nice, IONice: l.IONice},
		},
		EgressOptions: c.Network.egressFlags.options(), ProxyEnv: c.Network.ProxyEnv,
		Streams: engine.SandboxStreams{Stdin: c.Process.Stdin, Stdout: c.Process.Stdout, Stderr: c.Process.Stderr,
			StatusFD: c.Result.Status, BlockFD: c.Result.Block},
		Limits: spec.Limits{Memory: l.Memory, PidsLimit: l.Pids, CPUs: l.CPUs},
		Pull:   v.Pull,
		Files:  v.File, Seccomp: c.Process.Seccomp, BestEffort: l.BestEffort, OnExit: c.Result.OnExit, Report: c.Result.Report, Denials: c.Result.Denials, Explain: c.Result.Explain, Format: c.Result.Format,
	}
	return o, readSizes(&o.Options.Limits, l)
}

// readSizes reads the sizes among the limits.
func readSizes(to *sandbox.Limits, l sandboxLimits) error {
	for _, f := range []struct {
		flag, word string
		to         *uint64
	}{{"--max-file-size", l.MaxFileSize, &to.MaxFileSize}, {"--disk", l.Disk, &to.Disk}, {"--max-output", l.MaxOutput, &to.MaxOutput}} {
		if f.word == "" {
			continue
		}
		n, err := spec.ParseBytes(f.word)
		if err != nil || n <= 0 {
			return &usageError{msg: "sandbox: " + f.flag + " " + f.word + ": that is no size", hint: "for instance 512m or 2g"}
		}
		*f.to = uint64(n)
	}
	return nil
}
