package spec

import (
	"time"

	"coracle/spec/seccomp"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Options is what the user asked of one container, with docker's and
// podman's names and meanings. Values are as typed; Generate parses and
// refuses them, naming the flag. Zero values mean "not given".
type Options struct {
	// Process.
	Args        []string // the command after the image name; replaces the image's Cmd
	Entrypoint  *string  // --entrypoint; "" clears, a JSON array is taken as one
	Env         []string // -e NAME=VALUE, or NAME (taken from HostEnv), in order, or "*"-suffixed NAME* as podman's
	EnvFiles    []string // --env-file, in order, before Env
	EnvHost     bool     // --env-host
	UnsetEnv    []string // --unsetenv
	UnsetEnvAll bool     // --unsetenv-all
	Workdir     string   // -w
	User        string   // -u user[:group], names or numbers, resolved inside the root
	GroupAdd    []string // --group-add, names, numbers or keep-groups
	Init        bool     // --init
	InitPath    string   // --init-path
	Systemd     string   // --systemd true|false|always
	TTY         bool     // -t
	Interactive bool     // -i
	StopSignal  string   // --stop-signal
	StopTimeout *int     // --stop-timeout, seconds
	Umask       string   // --umask, octal
	TZ          string   // --tz
	PID         string   // --pid private|host|container:ID
	IPC         string   // --ipc private|host|none|shareable|container:ID
	UTS         string   // --uts private|host|container:ID
	PreserveFDs uint     // --preserve-fds N: 3..N+2
	Hostname    string   // --hostname
	HostnameSet bool
	Passwd      *bool    // --passwd=false: do not add the user to /etc/passwd
	PasswdEntry string   // --passwd-entry
	GroupEntry  string   // --group-entry
	HostUsers   []string // --hostuser

	// File system.
	Volumes       []string // -v
	Mounts        []string // --mount
	Tmpfs         []string // --tmpfs
	VolumesFrom   []string // --volumes-from
	Secrets       []string // --secret
	ReadOnly      bool     // --read-only
	ReadOnlyTmpfs *bool    // --read-only-tmpfs, default true
	ShmSize       string   // --shm-size
	Devices       []string // --device
	ImageVolume   string   // --image-volume anonymous|tmpfs|ignore

	// Security.
	SecurityOpt []string // --security-opt
	CapAdd      []string
	CapDrop     []string
	Privileged  bool
	Sysctl      []string

	// Network, as far as config.json and /etc go.
	Network    string   // none | host | container:ID | private | builtin[:OPTIONS]
	AddHosts   []string // --add-host NAME:IP
	DNS        []string
	DNSSearch  []string
	DNSOption  []string
	NoHosts    bool
	NoHostname bool
	HTTPProxy  *bool // --http-proxy, default true
	Expose     []string

	// Limits: by rlimit, and by cgroup.
	Ulimits     []string // --ulimit NAME=SOFT[:HARD], or host
	OOMScoreAdj *int
	Limits      Limits
	Cgroups     string `json:",omitempty"` // --cgroups enabled|disabled|no-conmon
	Cgroupns    string `json:",omitempty"` // --cgroupns private|host
	// CgroupParent is --cgroup-parent: a path below the tree's mount, one below
	// the place that is ours, or NAME.slice of systemd's.
	CgroupParent string `json:",omitempty"`

	// Metadata.
	Labels      []string
	LabelFiles  []string
	Annotations []string
}

// Host is everything Generate wants to know of the machine it runs on.
// The engine fills it; tests use tables.
type Host interface {
	Getenv() []string
	Getwd() (string, error)
	ReadFile(path string) ([]byte, error) // host path
	Lstat(path string) (FileInfo, error)  // host path, final link not followed
	Stat(path string) (FileInfo, error)   // host path, links followed
	ReadDir(path string) ([]string, error)
	Hostname() string
	CgroupV2() bool                                    // /sys/fs/cgroup is a cgroup2 mount that a container may see
	Rlimit(name string) (soft, hard uint64, err error) // the caller's, by OCI name: "RLIMIT_NOFILE"; ^uint64(0) is unlimited
	Now() time.Time
}

// FileInfo is the part of stat(2) that Generate needs.
type FileInfo struct {
	Mode         uint32 // st_mode
	UID, GID     uint32
	Major, Minor uint32 // of a device node
}

// RootReader reads files of the not yet mounted root, links resolved inside
// it. fs.ErrNotExist where a file is missing.
type RootReader interface {
	ReadFile(name string) ([]byte, error)
}

// ImageConfig is that of image-spec (config.md), into which it converts field by
// field. Its package would bring a regular expression to compile at each start.
type ImageConfig struct {
	User         string
	ExposedPorts map[string]struct{}
	Env          []string
	Entrypoint   []string
	Cmd          []string
	Volumes      map[string]struct{}
	WorkingDir   string
	Labels       map[string]string
	StopSignal   string
	ArgsEscaped  bool // of Windows
}

// Input is what Generate computes a container from.
type Input struct {
	ID      string // 64 hex digits
	Name    string
	Image   ImageConfig // zero for --rootfs and host
	NoImage bool        // --rootfs and host: without a command $SHELL or /bin/sh is run
	Arch    string      // GOARCH of the payload, for the seccomp profile; "" is our own
	Options Options
	Root    RootReader
	Host    Host
	Sources Sources // nil: mounts name paths only
	RootDir string  // root.path of config.json, absolute
	Files   string  // directory on the host for the generated /etc files, absolute
	// ParseAddr reads an IP address, and writes it the usual way, the zone apart:
	// net/netip would be initialised, and all that its turn comes after, at each start.
	ParseAddr func(text string) (addr, zone string, err error)

	// The map, from userns.Resolve.
	UIDMap, GIDMap []specs.LinuxIDMapping
	HostUID        uint32 // the caller
	HostGID        uint32
	HostGroups     []uint32
	HostName       string // the caller's login name
	// ContainerUID/GID are the ids that the caller has inside the map, and
	// KeepID says that the payload runs as them unless -u says otherwise.
	ContainerUID, ContainerGID uint32
	KeepID                     bool
	SingleID                   bool // only one id is mapped

	Joined Joined // of other containers
	Tun    *Tun   // the interface of a network of its own; nil: it has none, or another's
}

// Joined is what a container has from others.
type Joined struct {
	// Namespaces are their paths; the caller may exchange them before the start.
	Namespaces map[specs.LinuxNamespaceType]string
	Hostname   string // with a UTS namespace
	// Hosts and ResolvConf are the other's files on the host, with a network
	// namespace; "" where it has none of its own.
	Hosts, ResolvConf string
	// ByPath: the network namespace is no container's, and has no such files.
	ByPath bool
}

// othersNet says whether the network is another container's.
func (j Joined) othersNet() bool {
	return j.Namespaces[specs.NetworkNamespace] != "" && !j.ByPath
}

// Result is a container ready to be written down and run.
type Result struct {
	Spec *specs.Spec `json:"-"` // config.json has it; encoding/json would prepare for all of it
	// Files are the contents of generated files, by name inside Input.Files
	// ("hosts", "hostname", "resolv.conf", "passwd", "group", "localtime");
	// Spec.Mounts binds them. All of them are meant to be mode 0644.
	Files map[string][]byte
	// Overlays are the volumes with copy-on-write (-v SRC:DST:O): Upper and
	// Work must exist before the start. Spec.Mounts has the same mounts as
	// type "overlay", with escaped paths.
	Overlays []Overlay
	// Chowns are host trees that are given to the container's user before
	// the start (-v SRC:DST:U).
	Chowns []Chown
	// Mounted are the mounts that were asked for; the engine makes and fills
	// the volumes among them.
	Mounted []Mounted `json:",omitempty"`
	// Secrets are put into the container at its start; their data is not here.
	Secrets []SecretUse `json:",omitempty"`
	// Directories are places inside the root to be made when they are
	// missing: the image's volumes when nothing is mounted there.
	Directories []string
	// Init says that --init was given without --init-path: our own pid 1. With
	// --init-path the foreign init is already part of Spec.
	Init bool
	// Systemd says that the command is systemd, which needs a cgroup of its own.
	Systemd bool `json:",omitempty"`
	// WritableCgroup says that the container must have a cgroup to write to.
	WritableCgroup bool `json:",omitempty"`
	// NoCgroup says that none is wanted (--cgroups disabled).
	NoCgroup bool `json:",omitempty"`
	// Implied are limits that nobody asked for, to be set where they can be had.
	Implied *specs.LinuxResources `json:",omitempty"`
	// Filter is what Spec.Linux.Seccomp compiles to, where that is known
	// already; nil: seccomp.Compile says it.
	Filter *seccomp.Program `json:"-"`
	// KeepGroups says that the payload keeps the caller's supplementary
	// groups (--group-add keep-groups): no setgroups(2). Also an annotation,
	// run.oci.keep_original_groups, for crun.
	KeepGroups  bool
	Labels      map[string]string // image labels, --label-file, --label; later ones win
	Ports       []string          // exposed by the image or --expose: "80/tcp", "5000-5010/udp", sorted
	StopSignal  int
	StopTimeout time.Duration // default 10 s; negative is for ever
	Warnings    []string      // one line each, printed once
}

// Overlay is a volume with copy-on-write (-v SRC:DST:O).
type Overlay struct {
	Source      string // host directory
	Destination string // inside the root
	Upper, Work string // below Input.Files, or where upperdir= and workdir= said
}

// Chown asks for a recursive change of owner that does not follow links.
type Chown struct {
	Path        string // on the host
	Destination string // where it is mounted, for messages
	UID, GID    uint32 // ids inside the container's user namespace
}
