package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"coracle/fuse"
	"coracle/images"
	"coracle/spec"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// InspectOptions say what is looked for, and how closely.
type InspectOptions struct {
	Kind string // container, image, volume, or all for the first that has the name
	Size bool   // of containers: measure them
}

// Inspect describes a container, an image or a volume.
func (e *Engine) Inspect(ctx context.Context, name string, o InspectOptions) (any, error) {
	if o.Kind != "image" && o.Kind != "volume" {
		c, err := e.find(name)
		if err == nil {
			return e.inspectContainer(ctx, c, o.Size)
		}
		if o.Kind == "container" || !isNotFound(err) {
			return nil, err
		}
	}
	if o.Kind != "volume" {
		store, err := e.store()
		if err != nil {
			return nil, err
		}
		img, err := store.Inspect(name)
		if err == nil || o.Kind == "image" || !errors.Is(err, images.ErrNotFound) {
			return img, err
		}
	}
	v, err := e.Volume(name)
	if o.Kind == "volume" || err == nil || !isNotFound(err) {
		return v, err
	}
	return nil, &Error{Err: fmt.Errorf("no container, image or volume is called %q", name), Help: "coracle ps -a, coracle images and coracle volume ls list what is there"}
}

// inspectContainer puts together what the record, config.json and create.json
// say. Of a container in the foreground there is no create.json, and of one that
// is just starting the record only.
func (e *Engine) inspectContainer(ctx context.Context, c Container, size bool) (ContainerInspection, error) {
	dir := e.containerDir(c.ID)
	p, err := e.readBlueprint(c.ID)
	if isNotFound(err) {
		p = blueprint{}
		if p.Result.Spec, err = spec.LoadBundle(dir); isNotFound(err) {
			err = nil
		}
	}
	if err != nil {
		return ContainerInspection{}, err
	}
	in := inspector{e: e, c: c, p: p, s: p.Result.Spec, dir: dir}
	if in.s == nil {
		in.s = &specs.Spec{}
	}
	out := in.inspect()
	if size {
		sizes, err := e.Sizes(ctx, []Container{c})
		if err != nil {
			return out, err
		}
		s := sizes[c.ID]
		out.SizeRw, out.SizeRootFs = &s.RW, &s.Root
	}
	return out, nil
}

// inspector has what a container's description is made of.
type inspector struct {
	e   *Engine
	c   Container
	p   blueprint
	s   *specs.Spec
	dir string
}

func (in inspector) inspect() ContainerInspection {
	c := in.c
	out := ContainerInspection{
		ID: c.ID, Created: c.Created, Args: []string{}, State: in.state(), Image: hexOf(c.ImageID), ImageName: c.Image,
		ResolvConfPath: in.generated("resolv.conf"), HostnamePath: in.generated("hostname"), HostsPath: in.generated("hosts"),
		StaticDir: in.dir, OCIConfigPath: filepath.Join(in.dir, "config.json"), OCIRuntime: "coracle", PidFile: in.p.Options.PIDFile,
		LogPath: in.e.logPathOf(c), Name: c.Name, RestartCount: c.Restarts, Driver: in.driver(), ExecIDs: []string{}, Dependencies: append([]string{}, c.Owners...),
		Rootfs: in.p.Root.Direct, GraphDriver: in.graph(), Mounts: containerMounts(c.Mounts), Config: in.config(), HostConfig: in.hostConfig(),
		NetworkSettings: in.network(),
	}
	if c.Running() {
		out.ExecIDs = in.e.execs(c.ID)
	}
	if len(c.Command) > 0 {
		out.Path, out.Args = c.Command[0], c.Command[1:]
	}
	if pr := in.s.Process; pr != nil {
		out.AppArmorProfile, out.ProcessLabel = pr.ApparmorProfile, pr.SelinuxLabel
		if pr.Capabilities != nil {
			out.EffectiveCaps, out.BoundingCaps = pr.Capabilities.Effective, pr.Capabilities.Bounding
		}
	}
	if in.s.Linux != nil {
		out.MountLabel = in.s.Linux.MountLabel
	}
	return out
}

func (in inspector) state() ContainerState {
	c := in.c
	started := c.Started
	if started.IsZero() && c.Status != Created {
		started = c.Created // in the foreground it is the same moment
	}
	s := ContainerState{
		OciVersion: in.s.Version, Status: c.Status, Running: c.Running(), Paused: c.Status == Paused, OOMKilled: c.OOMKilled, TimedOut: c.TimedOut,
		Pid: c.PID, ExitCode: c.ExitCode, Signal: c.Signal, Error: c.Error, StartedAt: started, FinishedAt: c.Finished,
	}
	if c.Health != "" {
		s.Health, _ = in.e.Health(c.ID) // as it was written down, or nothing
	}
	return s
}

// generated is where a file lies that was made for the container; "" where its
// image's own is used.
func (in inspector) generated(name string) string {
	for _, m := range in.s.Mounts {
		if m.Source == filepath.Join(in.dir, "files", name) {
			return m.Source
		}
	}
	return ""
}

// driver is how the root is mounted; containers of earlier versions do not say.
func (in inspector) driver() string { return cmp.Or(in.p.Root.Driver, fuse.DriverOverlay) }

func (in inspector) graph() ContainerGraph {
	g := ContainerGraph{Name: in.driver(), Data: map[string]string{}}
	if in.p.Root.Direct == "" {
		g.Data["LowerDir"] = strings.Join(in.p.Root.Lowers, ":")
	}
	for key, name := range map[string]string{"UpperDir": "upper", "WorkDir": "work"} {
		dir := filepath.Join(in.dir, name)
		if _, err := os.Lstat(dir); err == nil {
			g.Data[key] = dir
		}
	}
	return g
}

func (in inspector) config() ContainerConfig {
	o, image := in.p.Options, in.p.Root.Config
	out := ContainerConfig{
		Hostname: in.s.Hostname, Domainname: in.s.Domainname, User: cmp.Or(o.User, image.User), OpenStdin: o.Interactive, Env: []string{},
		Cmd: in.c.Command, Image: in.c.Image, WorkingDir: "/", Labels: in.c.Labels, Annotations: in.s.Annotations, StopSignal: signalName(in.c.StopSignal),
		StopTimeout: int(in.c.StopTimeout / time.Second), Timeout: int(o.Timeout / time.Second), Umask: cmp.Or(o.Umask, "0022"), Volumes: image.Volumes, Healthcheck: in.p.Health,
	}
	if pr := in.s.Process; pr != nil {
		out.Tty, out.Env, out.WorkingDir = pr.Terminal, pr.Env, pr.Cwd
	}
	if len(in.p.Result.Ports) > 0 {
		out.ExposedPorts = map[string]struct{}{}
		for _, port := range in.p.Result.Ports {
			out.ExposedPorts[port] = struct{}{}
		}
	}
	if in.p.Store == "" { // a container in the foreground: what it runs is known, and not of what it was made
		return out
	}
	out.Entrypoint, out.Cmd = image.Entrypoint, image.Cmd
	if o.Entrypoint != nil {
		// Options and Args make the whole line: the entrypoint is what comes before them.
		n := max(0, len(in.c.Command)-len(o.Args))
		out.Entrypoint, out.Cmd = in.c.Command[:n:n], nil
	}
	if len(o.Args) > 0 {
		out.Cmd = o.Args
	}
	return out
}

// signalName is a signal as docker writes it.
func signalName(n int) string {
	names := spec.SignalNames()
	switch {
	case n <= 0:
		return ""
	case n <= len(names):
		return "SIG" + names[n-1]
	}
	return fmt.Sprintf("SIGRTMIN+%d", n-34) // as libc counts
}

func (in inspector) hostConfig() ContainerHostConfig {
	o := in.p.Options
	h := ContainerHostConfig{
		Binds: binds(in.c.Mounts), ContainerIDFile: o.CIDFile, LogConfig: in.log(), NetworkMode: in.c.NetworkWord(), PortBindings: portsByContainer(in.asked()),
		RestartPolicy: ContainerRestart{Name: cmp.Or(in.c.Restart.Name, "no"), MaximumRetryCount: in.c.Restart.Max}, AutoRemove: in.c.Remove,
		VolumesFrom: o.VolumesFrom, CapAdd: capabilityNames(o.CapAdd), CapDrop: capabilityNames(o.CapDrop), DNS: words(o.DNS), DNSOptions: words(o.DNSOption), DNSSearch: words(o.DNSSearch),
		ExtraHosts: words(o.AddHosts), GroupAdd: words(o.GroupAdd), IpcMode: cmp.Or(o.IPC, "private"), PidMode: cmp.Or(o.PID, "private"), UTSMode: cmp.Or(o.UTS, "private"),
		UsernsMode: o.Userns.Userns, Privileged: o.Privileged, ReadonlyRootfs: in.s.Root != nil && in.s.Root.Readonly, SecurityOpt: words(o.SecurityOpt),
		Init: o.Init, Tmpfs: map[string]string{}, Ulimits: []ContainerUlimit{}, Devices: []ContainerDevice{}, Runtime: "coracle",
	}
	for _, t := range o.Tmpfs {
		dest, opts, _ := strings.Cut(t, ":")
		h.Tmpfs[dest] = opts
	}
	for _, d := range o.Devices {
		h.Devices = append(h.Devices, deviceOf(d))
	}
	for _, m := range in.s.Mounts {
		if m.Destination == "/dev/shm" {
			h.ShmSize = sizeOption(m.Options)
		}
	}
	if pr := in.s.Process; pr != nil {
		for _, l := range pr.Rlimits {
			h.Ulimits = append(h.Ulimits, ContainerUlimit{l.Type, l.Soft, l.Hard})
		}
		if pr.OOMScoreAdj != nil {
			h.OomScoreAdj = *pr.OOMScoreAdj
		}
	}
	if in.s.Linux != nil {
		h.Sysctls = in.s.Linux.Sysctl
		had, unlimited := in.limits()
		h.limits(had)
		h.Unlimited = unlimited
	}
	h.CgroupParent, h.Cgroups, h.CgroupMode = o.CgroupParent, cmp.Or(o.Cgroups, "enabled"), cmp.Or(o.Cgroupns, "private")
	h.disks(in.c.limitsOf())
	return h
}

func (in inspector) log() ContainerLog {
	l := ContainerLog{Type: cmp.Or(in.c.LogDriver, "none"), Path: in.e.logPathOf(in.c), Config: map[string]string{}}
	maps.Copy(l.Config, pairs(in.p.Options.LogOpts))
	l.Tag = l.Config["tag"]
	return l
}

// logPathOf is where the container's log is; "" where it has none.
func (e *Engine) logPathOf(c Container) string {
	if c.LogPath == "" {
		return ""
	}
	return e.logPath(c)
}

// binds are mounts as --volume would have them.
func binds(all []spec.Mounted) []string {
	out := []string{}
	for _, m := range all {
		if m.Type != "bind" && m.Type != "volume" {
			continue
		}
		mode := "rw"
		if m.ReadOnly {
			mode = "ro"
		}
		opts := slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return o == "ro" || o == "rw" || o == "rro" })
		out = append(out, cmp.Or(m.Name, m.Source)+":"+m.Destination+":"+strings.Join(append([]string{mode}, opts...), ","))
	}
	return out
}

func capabilityNames(all []string) []string {
	out := []string{}
	for _, c := range all {
		c = strings.ToUpper(c)
		if c != "ALL" && !strings.HasPrefix(c, "CAP_") {
			c = "CAP_" + c
		}
		out = append(out, c)
	}
	return out
}

// words are never null in JSON.
func words(all []string) []string { return append([]string{}, all...) }
