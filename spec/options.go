package spec

import (
	"time"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"
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
	TTY         bool     // -t
	Interactive bool     // -i
	StopSignal  string   // --stop-signal
	StopTimeout *int     // --stop-timeout, seconds
	Umask       string   // --umask, octal
	TZ          string   // --tz
	PID         string   // --pid private|host
	IPC         string   // --ipc private|host|none|shareable
	UTS         string   // --uts private|host
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
	ReadOnly      bool     // --read-only
	ReadOnlyTmpfs *bool    // --read-only-tmpfs, default true
	ShmSize       string   // --shm-size
	Devices       []string // --device
	ImageVolume   string   // --image-volume ignore|tmpfs|anonymous

	// Security.
	SecurityOpt []string // --security-opt
	CapAdd      []string
	CapDrop     []string
	Privileged  bool
	Sysctl      []string

	// Network, as far as config.json and /etc go.
	Network    string   // none | host
	AddHosts   []string // --add-host NAME:IP
	DNS        []string
	DNSSearch  []string
	DNSOption  []string
	NoHosts    bool
	NoHostname bool
	HTTPProxy  *bool // --http-proxy, default true
	Expose     []string

	// Limits by rlimit.
	Ulimits     []string // --ulimit NAME=SOFT[:HARD], or host
	OOMScoreAdj *int

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
	CgroupV2() bool // /sys/fs/cgroup is a cgroup2 mount that a container may see
	Rlimit(name string) (soft, hard uint64, err error)
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

// Input is what Generate computes a container from.
type Input struct {
	ID      string // 64 hex digits
	Name    string
	Image   ispec.ImageConfig // zero for --rootfs and host
	Options Options
	Root    RootReader
	Host    Host
	RootDir string // root.path of config.json, absolute
	Files   string // directory on the host for the generated /etc files, absolute

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
}

// Result is a container ready to be written down and run.
type Result struct {
	Spec *specs.Spec
	// Files are the contents of generated files, by name inside Input.Files
	// ("hosts", "hostname", "resolv.conf", "passwd", "group", …).
	Files map[string][]byte
	// Upper are directories that must exist in the container's own directory
	// (for -v SRC:DST:O): overlay mounts keep upper and work there.
	Overlays    []Overlay
	StopSignal  int
	StopTimeout time.Duration
	Warnings    []string // one line each, printed once
}

// Overlay is a volume with copy-on-write (-v SRC:DST:O).
type Overlay struct {
	Source      string // host directory
	Destination string // inside the root
	Upper, Work string // below Input.Files
}
