package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"coracle/internal/engine"
	"coracle/userns"
)

// runCmd is `coracle run`. The flags are docker's and podman's; run_options.go
// hands them to the engine as they were typed.
type runCmd struct {
	makeFlags `embed:""`

	Detach detachFlags `embed:"" group:"Process"`
}

// makeFlags are what a container is made with, by run and by create.
type makeFlags struct {
	Container containerFlags `embed:"" group:"Container and image"`
	Process   processFlags   `embed:"" group:"Process"`
	Identity  identityFlags  `embed:"" group:"Identity"`
	Files     fileFlags      `embed:"" group:"File system"`
	Security  securityFlags  `embed:"" group:"Security"`
	Network   networkFlags   `embed:"" group:"Network"`
	Limits    limitFlags     `embed:"" group:"Limits"`
	Health    healthFlags    `embed:"" group:"Health"`
	Metadata  metadataFlags  `embed:"" group:"Metadata"`

	Image string   `arg:"" name:"IMAGE"`
	Args  []string `arg:"" name:"ARG" optional:""`
}

type detachFlags struct {
	Detach     bool   `short:"d" help:"Leave it running in the background, and print its id."`
	DetachKeys string `name:"detach-keys" placeholder:"KEYS" help:"With -it: what is typed to leave it running (ctrl-p,ctrl-q)."`
}

type containerFlags struct {
	Name      string   `placeholder:"NAME" help:"Name the container."`
	Remove    bool     `name:"rm" help:"Remove the container when it ends."`
	Replace   bool     `help:"Remove another container of that name first."`
	Pull      string   `placeholder:"WHEN" enum:"always,missing,never,newer" default:"missing" help:"always, missing, never or newer."`
	Platform  string   `placeholder:"OS/ARCH" help:"Which image of an index to take."`
	TLSVerify *bool    `name:"tls-verify" placeholder:"false" help:"Allow plain HTTP and unknown certificates."`
	Quiet     bool     `short:"q" help:"No progress while pulling."`
	Rootfs    bool     `help:"IMAGE is a directory with a root file system."`
	CIDFile   string   `name:"cidfile" placeholder:"FILE" help:"Write the container's id to FILE."`
	PIDFile   string   `name:"pidfile" placeholder:"FILE" help:"Write the process id to FILE."`
	Restart   string   `placeholder:"POLICY" help:"Start it again when it ends: no, on-failure[:N], always or unless-stopped."`
	LogDriver string   `name:"log-driver" placeholder:"NAME" help:"Where its output is kept: k8s-file, json-file, journald or none."`
	LogOpt    []string `name:"log-opt" sep:"none" placeholder:"KEY=VALUE" help:"max-size=10m, max-file=3, path=FILE."`
	Report    string   `placeholder:"FILE" help:"Write how it ended to FILE, as JSON."`
	Timeout   seconds  `placeholder:"SECONDS" help:"Kill it after this time."`
	DryRun    bool     `name:"dry-run" help:"Print what would be done, and do nothing."`
	Format    string   `placeholder:"FMT" enum:"text,json" default:"text" help:"Of --dry-run: text or json."`
}

type processFlags struct {
	Interactive bool     `short:"i" help:"Keep standard input open."`
	TTY         bool     `name:"tty" short:"t" help:"Give it a terminal."`
	Env         []string `short:"e" sep:"none" placeholder:"NAME[=VALUE]" help:"Set a variable, or take it from here (NAME* takes several)."`
	EnvFile     []string `name:"env-file" sep:"none" placeholder:"FILE" help:"Read variables, one a line."`
	EnvHost     bool     `name:"env-host" help:"Take all variables from here."`
	UnsetEnv    []string `name:"unsetenv" sep:"none" placeholder:"NAME" help:"Drop a variable of the image."`
	UnsetEnvAll bool     `name:"unsetenv-all" help:"Drop all variables of the image."`
	Workdir     string   `short:"w" placeholder:"DIR" help:"Start in DIR."`
	Entrypoint  *string  `placeholder:"CMD" help:"Replace the image's entrypoint; \"\" clears it."`
	Init        bool     `help:"Run a small init that reaps processes."`
	InitPath    string   `name:"init-path" placeholder:"FILE" help:"Run this init instead."`
	Systemd     string   `placeholder:"WHEN" help:"Prepare it for systemd as its command: true (when it is that), false or always."`
	SigProxy    bool     `name:"sig-proxy" default:"true" placeholder:"false" help:"Keep signals here."`
	StopSignal  string   `name:"stop-signal" placeholder:"SIGNAL" help:"What stops it (default: the image's, else TERM)."`
	StopTimeout *int     `name:"stop-timeout" placeholder:"SECONDS" help:"How long to wait before KILL (default: 10)."`
	Umask       string   `placeholder:"MODE" help:"Its umask, octal (default: 0022)."`
	TZ          string   `name:"tz" placeholder:"ZONE" help:"Its time zone; local is the host's."`
	PID         string   `name:"pid" placeholder:"MODE" help:"private, host or container:NAME."`
	IPC         string   `name:"ipc" placeholder:"MODE" help:"private, host, none, shareable or container:NAME."`
	UTS         string   `name:"uts" placeholder:"MODE" help:"private, host or container:NAME."`
	PreserveFDs uint     `name:"preserve-fds" placeholder:"N" help:"Hand on descriptors 3 to N+2."`
}

type identityFlags struct {
	User        string   `short:"u" placeholder:"USER[:GROUP]" help:"Run as this user of the image."`
	GroupAdd    []string `name:"group-add" placeholder:"GROUP" help:"A further group; keep-groups keeps yours."`
	Userns      string   `placeholder:"MODE" help:"keep-id[:uid=N,gid=N], nomap, auto[:size=N] or container:NAME."`
	UIDMap      []string `name:"uidmap" placeholder:"C:H[:N]" help:"Map N user ids from C inside to H outside."`
	GIDMap      []string `name:"gidmap" placeholder:"C:H[:N]" help:"The same for group ids."`
	SubUIDName  string   `name:"subuidname" placeholder:"NAME" help:"Whose lines of /etc/subuid to use."`
	SubGIDName  string   `name:"subgidname" placeholder:"NAME" help:"Whose lines of /etc/subgid to use."`
	Passwd      *bool    `placeholder:"false" help:"Add nobody to /etc/passwd."`
	PasswdEntry string   `name:"passwd-entry" placeholder:"LINE" help:"The line to add to /etc/passwd."`
	GroupEntry  string   `name:"group-entry" placeholder:"LINE" help:"The line to add to /etc/group."`
	HostUser    []string `name:"hostuser" placeholder:"NAME" help:"Add a user of the host."`
}

type fileFlags struct {
	Volume        []string `short:"v" sep:"none" placeholder:"SRC:DST[:OPTS]" help:"Mount a file, a directory or a volume (a name, or none): ro, O (overlay), U, nocopy..."`
	Mount         []string `sep:"none" placeholder:"type=T,..." help:"volume, bind, tmpfs or image, with src=, dst=, ro..."`
	Tmpfs         []string `sep:"none" placeholder:"DST[:OPTS]" help:"A file system in memory."`
	ReadOnly      bool     `name:"read-only" help:"Make the root read-only."`
	ReadOnlyTmpfs *bool    `name:"read-only-tmpfs" placeholder:"false" help:"Not even /tmp and /run."`
	ShmSize       string   `name:"shm-size" placeholder:"SIZE" help:"Of /dev/shm (default: 64m)."`
	Device        []string `sep:"none" placeholder:"SRC[:DST[:rwm]]" help:"Give it a device node."`
	VolumesFrom   []string `name:"volumes-from" sep:"none" placeholder:"CONTAINER[:ro]" help:"Mount what another container has, but for its root."`
	Secret        []string `sep:"none" placeholder:"NAME[,OPTS]" help:"A secret: type=mount or env, target=, uid=, gid=, mode=."`
	ImageVolume   string   `name:"image-volume" placeholder:"HOW" help:"Volumes of the image: anonymous, tmpfs or ignore."`
}

type securityFlags struct {
	SecurityOpt []string `name:"security-opt" sep:"none" placeholder:"OPT" help:"seccomp=FILE, no-new-privileges, writable-cgroups, mask=, unmask=, label=, apparmor=, proc-opts=."`
	CapAdd      []string `name:"cap-add" placeholder:"CAP" help:"Add a capability, or all."`
	CapDrop     []string `name:"cap-drop" placeholder:"CAP" help:"Drop a capability, or all."`
	Privileged  bool     `help:"All that the user namespace can give."`
	Sysctl      []string `sep:"none" placeholder:"KEY=VALUE" help:"Set a kernel parameter of its namespaces."`
}

type networkFlags struct {
	Network    []string `aliases:"net" sep:"none" single:"" placeholder:"MODE" help:"private (the default), builtin[:OPTIONS], slirp4netns, pasta, none, host, container:NAME, ns:PATH or the name of a network; again for more networks."`
	Alias      []string `name:"network-alias" placeholder:"NAME" help:"A name more by which others of the network reach it."`
	Publish    []string `short:"p" sep:"none" placeholder:"PORT" help:"[IP:][HOST:]PORT[/PROTO]: reach it by a port of the host."`
	PublishAll bool     `name:"publish-all" short:"P" help:"Publish all exposed ports, each by a free one."`
	IP         string   `name:"ip" placeholder:"ADDR" help:"Its IPv4 address."`
	IP6        string   `name:"ip6" placeholder:"ADDR" help:"Its IPv6 address."`
	MAC        string   `name:"mac-address" placeholder:"ADDR" help:"The hardware address of its interface, which is Ethernet then."`
	Hostname   *string  `short:"h" placeholder:"NAME" help:"Its host name."`
	AddHost    []string `name:"add-host" sep:"none" placeholder:"NAME:ADDR" help:"A line of /etc/hosts."`
	DNS        []string `name:"dns" placeholder:"ADDR" help:"A name server for /etc/resolv.conf."`
	DNSSearch  []string `name:"dns-search" placeholder:"DOMAIN" help:"A search domain."`
	DNSOption  []string `name:"dns-option" aliases:"dns-opt" placeholder:"OPT" help:"A resolver option."`
	NoHosts    bool     `name:"no-hosts" help:"Leave the image's /etc/hosts."`
	NoHostname bool     `name:"no-hostname" help:"Leave the image's /etc/hostname."`
	HTTPProxy  *bool    `name:"http-proxy" placeholder:"false" help:"No proxy variables from here."`
	Expose     []string `placeholder:"PORT[/PROTO]" help:"Note a port as exposed."`

	egressFlags `embed:""`
}

// egressFlags say whom a command may talk to; containers and sandboxes have them.
type egressFlags struct {
	AllowNet     []string `name:"allow-net" sep:"none" placeholder:"HOST[:PORT[-PORT]]" help:"Let it talk to this name, *.NAME, address, network or host only; may be repeated."`
	DenyNet      []string `name:"deny-net" sep:"none" placeholder:"HOST[:PORT[-PORT]]" help:"Never let it talk to this one."`
	AllowNetFile string   `name:"allow-net-file" placeholder:"FILE" help:"Read such rules, one a line, again at SIGHUP."`
	NetLog       string   `name:"net-log" placeholder:"FILE" help:"Append a line of JSON for each connection."`
	Pcap         string   `name:"pcap" placeholder:"FILE" help:"Capture its packets, for tcpdump and Wireshark."`
}

func (f egressFlags) options() engine.EgressOptions {
	return engine.EgressOptions{AllowNet: f.AllowNet, DenyNet: f.DenyNet, AllowNetFile: f.AllowNetFile, NetLog: f.NetLog, Pcap: f.Pcap}
}

type limitFlags struct {
	cgroupFlags `embed:""`

	Ulimit       []string `placeholder:"NAME=SOFT[:HARD]" help:"A resource limit; host keeps yours."`
	OOMScoreAdj  *int     `name:"oom-score-adj" placeholder:"N" help:"-1000 to 1000: more is killed sooner."`
	Cgroups      string   `placeholder:"WHEN" help:"enabled, or disabled: no cgroup of its own."`
	Cgroupns     string   `placeholder:"MODE" help:"private or host: which cgroups it sees."`
	CgroupParent string   `name:"cgroup-parent" placeholder:"PATH" help:"Where its cgroup is: a directory of the tree, or NAME.slice."`
	CgroupConf   []string `name:"cgroup-conf" sep:"none" placeholder:"FILE=VALUE" help:"Write a file of the cgroup: memory.high=1073741824."`
}

type metadataFlags struct {
	Label      []string `short:"l" sep:"none" placeholder:"KEY=VALUE" help:"A label."`
	LabelFile  []string `name:"label-file" sep:"none" placeholder:"FILE" help:"Read labels, one a line."`
	Annotation []string `sep:"none" placeholder:"KEY=VALUE" help:"An annotation of config.json."`
}

// Help is shown above the flags.
func (*runCmd) Help() string {
	return `IMAGE is a name in a registry, oci:DIR, oci-archive:FILE, docker-archive:FILE,
dir:DIR, rootfs:DIR, or host: this machine's own root, with disposable writes.
All words after IMAGE belong to the command.

  coracle run -it --rm debian bash
  coracle run --rm -v "$PWD":/src -w /src golang go build
  coracle run --rm --userns keep-id --network none alpine id
  coracle run host -- make test`
}

func (*runCmd) refused(name string) (refusal, bool) {
	return findRefusal(runRefusals(), name)
}

func (c *runCmd) run(a *app) (int, error) {
	opts, err := c.options()
	if err != nil {
		return exitOurs, err
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	opts.Stdin, opts.Stdout, opts.Stderr = a.files[0], a.files[1], a.files[2]
	opts.Plan = visibleWriter{a.out, opts.Format == "json"}
	if !c.Container.Quiet {
		bars := newProgress(a.err)
		defer bars.close()
		opts.Progress = bars.add
	}
	if c.Detach.Detach && !opts.DryRun {
		box, err := e.RunDetached(context.Background(), opts)
		if err != nil {
			return exitOurs, err
		}
		fmt.Fprintln(a.out, box.ID)
		return 0, nil
	}
	exit, err := e.Run(context.Background(), opts)
	a.sayOOM("the container", exit)
	return exit.Code, err
}

// seconds is a time as podman takes it: a number of seconds; 0.5, 90s and 5m are
// understood too.
type seconds time.Duration

// UnmarshalText implements encoding.TextUnmarshaler for kong.
func (s *seconds) UnmarshalText(text []byte) error {
	if n, err := strconv.ParseUint(string(text), 10, 32); err == nil {
		*s = seconds(time.Duration(n) * time.Second)
		return nil
	}
	word := string(text)
	if word != "" && strings.Trim(word, "0123456789.") == "" && strings.Contains(word, ".") {
		word += "s"
	}
	d, err := time.ParseDuration(word)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not a time: a number of seconds, or 90s, 5m, 1h30m", text)
	}
	*s = seconds(d)
	return nil
}

func (f identityFlags) request() userns.Request {
	return userns.Request{
		Userns:     f.Userns,
		UIDMaps:    f.UIDMap,
		GIDMaps:    f.GIDMap,
		SubUIDName: f.SubUIDName,
		SubGIDName: f.SubGIDName,
	}
}
