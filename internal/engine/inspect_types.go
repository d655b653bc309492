package engine

import (
	"strconv"
	"strings"
	"time"

	"coracle/spec"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// ContainerInspection is what inspect shows of a container, with podman's and
// docker's names: where the two differ podman's, and where podman has changed
// its mind the later one. What there is nothing to say about is left out.
type ContainerInspection struct {
	ID              string `json:"Id"`
	Created         time.Time
	Path            string
	Args            []string
	State           ContainerState
	Image           string // the image's id, hex
	ImageName       string
	Rootfs          string // of --rootfs
	ResolvConfPath  string
	HostnamePath    string
	HostsPath       string
	StaticDir       string
	OCIConfigPath   string // the runtime-spec config.json that it ran with
	OCIRuntime      string
	PidFile         string
	LogPath         string
	Name            string
	RestartCount    int
	Driver          string
	MountLabel      string
	ProcessLabel    string
	AppArmorProfile string
	EffectiveCaps   []string
	BoundingCaps    []string
	ExecIDs         []string
	GraphDriver     ContainerGraph
	SizeRw          *int64 `json:",omitempty"` // with --size
	SizeRootFs      *int64 `json:",omitempty"`
	Mounts          []ContainerMount
	Dependencies    []string
	NetworkSettings ContainerNetwork
	Config          ContainerConfig
	HostConfig      ContainerHostConfig
}

// ContainerState is the part of an inspection that changes.
type ContainerState struct {
	OciVersion string
	Status     Status
	Running    bool
	Paused     bool
	Restarting bool
	OOMKilled  bool
	Dead       bool
	TimedOut   bool
	Pid        int
	ExitCode   int
	Signal     int
	Error      string
	StartedAt  time.Time
	FinishedAt time.Time
	Health     *Health `json:",omitempty"` // nil without a health check
}

// ContainerGraph says where the root's parts are.
type ContainerGraph struct {
	Name string
	Data map[string]string
}

// ContainerMount is one mount of a container, but for those that all have.
type ContainerMount struct {
	Type        string // bind, volume or image
	Name        string `json:",omitempty"`
	Source      string
	Destination string
	Driver      string
	Mode        string
	Options     []string
	RW          bool
	Propagation string
}

func containerMounts(all []spec.Mounted) []ContainerMount {
	out := []ContainerMount{}
	for _, m := range all {
		c := ContainerMount{Type: m.Type, Name: m.Name, Source: m.Source, Destination: m.Destination, RW: !m.ReadOnly, Options: []string{}}
		if m.Type == "volume" {
			c.Driver = "local"
		}
		for _, o := range m.Options {
			switch o {
			case "ro", "rw", "rro": // RW says it
			case "private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable":
				c.Propagation = o
			default:
				c.Options = append(c.Options, o)
			}
		}
		out = append(out, c)
	}
	return out
}

// ContainerNetwork is how it can be reached.
type ContainerNetwork struct {
	IPAddress           string
	IPPrefixLen         int
	Gateway             string
	GlobalIPv6Address   string
	GlobalIPv6PrefixLen int
	IPv6Gateway         string
	MacAddress          string
	Ports               map[string][]ContainerPort // by the container's: "80/tcp"
	Networks            map[string]ContainerEndpoint
}

// ContainerEndpoint is its place in a network that containers share.
type ContainerEndpoint struct {
	NetworkID           string
	IPAddress           string
	IPPrefixLen         int
	Gateway             string
	GlobalIPv6Address   string
	GlobalIPv6PrefixLen int
	IPv6Gateway         string
	MacAddress          string
	Aliases             []string
}

// ContainerPort is a port of the host's that leads to one of the container's; the
// names are docker's.
type ContainerPort struct {
	HostIP   string `json:"HostIp"`
	HostPort string
}

// ContainerConfig is what the container was made with, as far as its image
// could have said it.
type ContainerConfig struct {
	Hostname     string
	Domainname   string
	User         string
	Tty          bool
	OpenStdin    bool
	Env          []string
	Cmd          []string
	Image        string
	Volumes      map[string]struct{}
	WorkingDir   string
	Entrypoint   []string
	Healthcheck  *HealthCheck        `json:",omitempty"` // times in nanoseconds
	ExposedPorts map[string]struct{} `json:",omitempty"`
	Labels       map[string]string
	Annotations  map[string]string
	StopSignal   string
	StopTimeout  int // seconds
	Timeout      int
	Umask        string
}

// ContainerHostConfig is the rest of what the container was made with.
type ContainerHostConfig struct {
	Binds           []string
	ContainerIDFile string
	LogConfig       ContainerLog
	NetworkMode     string
	PortBindings    map[string][]ContainerPort
	RestartPolicy   ContainerRestart
	AutoRemove      bool
	VolumesFrom     []string
	CapAdd          []string
	CapDrop         []string
	DNS             []string `json:"Dns"`
	DNSOptions      []string `json:"DnsOptions"`
	DNSSearch       []string `json:"DnsSearch"`
	ExtraHosts      []string
	GroupAdd        []string
	IpcMode         string
	OomScoreAdj     int
	PidMode         string
	Privileged      bool
	ReadonlyRootfs  bool
	SecurityOpt     []string
	Tmpfs           map[string]string
	UTSMode         string
	UsernsMode      string
	ShmSize         int64
	Sysctls         map[string]string `json:",omitempty"`
	Runtime         string
	Init            bool
	Cgroups         string // enabled or disabled
	CgroupMode      string // private or host
	CgroupParent    string
	CgroupConf      map[string]string `json:",omitempty"`
	Memory          int64             // 0 is without limit, here and below
	MemorySwap      int64
	MemoryReserve   int64 `json:"MemoryReservation"`
	NanoCpus        int64
	CPUShares       uint64 `json:"CpuShares"`
	CPUPeriod       uint64 `json:"CpuPeriod"`
	CPUQuota        int64  `json:"CpuQuota"`
	CpusetCpus      string
	CpusetMems      string
	PidsLimit       int64
	Unlimited       []string `json:",omitempty"` // default limits that it could not have, and why
	MemoryHigh      int64    `json:",omitempty"`
	BlkioWeight     uint16
	BlkioDevices
	Devices []ContainerDevice
	Ulimits []ContainerUlimit
}

// BlkioDevices are weights and rates of disks.
type BlkioDevices struct {
	BlkioWeightDevice    []ContainerWeight   `json:",omitempty"`
	BlkioDeviceReadBps   []ContainerThrottle `json:",omitempty"`
	BlkioDeviceWriteBps  []ContainerThrottle `json:",omitempty"`
	BlkioDeviceReadIOps  []ContainerThrottle `json:",omitempty"`
	BlkioDeviceWriteIOps []ContainerThrottle `json:",omitempty"`
}

// ContainerWeight is --blkio-weight-device.
type ContainerWeight struct {
	Path   string
	Weight uint16
}

// ContainerThrottle is --device-read-bps and its like.
type ContainerThrottle struct {
	Path string
	Rate uint64 // bytes, or operations, a second
}

// ContainerLog says where its output is.
type ContainerLog struct {
	Type   string
	Config map[string]string
	Path   string
	Tag    string
}

// ContainerRestart is --restart.
type ContainerRestart struct {
	Name              string
	MaximumRetryCount int
}

// ContainerDevice is --device.
type ContainerDevice struct{ PathOnHost, PathInContainer, CgroupPermissions string }

// ContainerUlimit is --ulimit.
type ContainerUlimit struct {
	Name       string
	Soft, Hard uint64
}

// deviceOf takes SRC[:DST[:rwm]] apart.
func deviceOf(s string) ContainerDevice {
	parts := strings.Split(s, ":")
	d := ContainerDevice{PathOnHost: parts[0], PathInContainer: parts[0], CgroupPermissions: "rwm"}
	for _, p := range parts[1:] {
		if strings.HasPrefix(p, "/") {
			d.PathInContainer = p
		} else {
			d.CgroupPermissions = p
		}
	}
	return d
}

// sizeOption is size= among a tmpfs' options, in bytes; 0 where it is not said.
func sizeOption(options []string) int64 {
	for _, o := range options {
		value, ok := strings.CutPrefix(o, "size=")
		if !ok || value == "" {
			continue
		}
		unit := int64(1)
		if i := strings.IndexByte("kmg", value[len(value)-1]|0x20); i >= 0 {
			unit, value = 1<<(10*(i+1)), value[:len(value)-1]
		}
		if n, err := strconv.ParseInt(value, 10, 64); err == nil {
			return n * unit
		}
	}
	return 0
}

// limits takes those of config.json.
func (h *ContainerHostConfig) limits(r *specs.LinuxResources) {
	if r == nil {
		return
	}
	if m := r.Memory; m != nil {
		h.Memory, h.MemorySwap, h.MemoryReserve = deref(m.Limit), deref(m.Swap), deref(m.Reservation)
	}
	if c := r.CPU; c != nil {
		h.CPUShares, h.CPUPeriod, h.CPUQuota, h.CpusetCpus, h.CpusetMems = deref(c.Shares), deref(c.Period), deref(c.Quota), c.Cpus, c.Mems
		if h.CPUPeriod > 0 && h.CPUQuota > 0 {
			h.NanoCpus = h.CPUQuota * 1e9 / int64(h.CPUPeriod) //nolint:gosec // a period is at most a second
		}
	}
	if r.Pids != nil {
		h.PidsLimit = deref(r.Pids.Limit)
	}
	h.MemoryHigh, _ = strconv.ParseInt(r.Unified["memory.high"], 10, 64)
	if r.BlockIO != nil {
		h.BlkioWeight = deref(r.BlockIO.Weight)
	}
}

// disks takes what was typed of disks, which says their paths.
func (h *ContainerHostConfig) disks(l spec.Limits) {
	for _, s := range l.BlkioWeightDevice {
		path, value := pathAndValue(s)
		n, _ := strconv.ParseUint(value, 10, 16)
		h.BlkioWeightDevice = append(h.BlkioWeightDevice, ContainerWeight{path, uint16(n)})
	}
	for _, f := range []struct {
		from []string
		to   *[]ContainerThrottle
	}{
		{l.DeviceReadBps, &h.BlkioDeviceReadBps}, {l.DeviceWriteBps, &h.BlkioDeviceWriteBps},
		{l.DeviceReadIOPS, &h.BlkioDeviceReadIOps}, {l.DeviceWriteIOPS, &h.BlkioDeviceWriteIOps},
	} {
		for _, s := range f.from {
			path, value := pathAndValue(s)
			n, _ := spec.ParseBytes(value)                            // what was refused is not recorded
			*f.to = append(*f.to, ContainerThrottle{path, uint64(n)}) //nolint:gosec // sizes are not negative
		}
	}
	h.CgroupConf = pairs(l.CgroupConf)
}

func pathAndValue(s string) (path, value string) {
	at := strings.LastIndexByte(s, ':')
	return s[:max(at, 0)], s[at+1:]
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
