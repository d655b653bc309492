package engine

import (
	"strings"
	"time"

	"coracle/spec"
)

// ContainerInspection is what inspect shows of a container, with podman's and
// docker's names.
type ContainerInspection struct {
	ID        string `json:"Id"`
	Created   time.Time
	Path      string
	Args      []string
	State     ContainerState
	Image     string // the image's id, hex
	ImageName string
	Name      string
	Mounts    []ContainerMount
	Config    ContainerConfig
	Rootfs    string `json:"Rootfs"`
	// OCIConfigPath is the runtime-spec config.json that it ran with.
	OCIConfigPath string
}

// ContainerState is the part of an inspection that changes.
type ContainerState struct {
	Status     Status
	Running    bool
	TimedOut   bool
	Pid        int
	ExitCode   int
	Signal     int
	StartedAt  time.Time
	FinishedAt time.Time
	Health     *Health `json:",omitempty"` // nil without a health check
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

// ContainerConfig is what the container was made with.
type ContainerConfig struct {
	Cmd    []string
	Labels map[string]string
}

func (e *Engine) inspectContainer(c Container) ContainerInspection {
	dir := e.containerDir(c.ID)
	out := ContainerInspection{
		ID: c.ID, Created: c.Created, Image: strings.TrimPrefix(c.ImageID.String(), "sha256:"), ImageName: c.Image, Name: c.Name,
		State: ContainerState{
			Status: c.Status, Running: c.Running(), TimedOut: c.TimedOut, Pid: c.PID, ExitCode: c.ExitCode, Signal: c.Signal,
			StartedAt: c.Created, FinishedAt: c.Finished,
		},
		Mounts: containerMounts(c.Mounts),
		Config: ContainerConfig{Cmd: c.Command, Labels: c.Labels},
		Rootfs: dir + "/root", OCIConfigPath: dir + "/config.json",
	}
	if c.Health != "" {
		out.State.Health, _ = e.Health(c.ID) // as it was written down, or nothing
	}
	if len(c.Command) > 0 {
		out.Path, out.Args = c.Command[0], c.Command[1:]
	}
	return out
}
