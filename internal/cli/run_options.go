package cli

import (
	"strings"
	"time"

	"coracle/internal/engine"
	"coracle/spec"
)

// options is what the engine is asked for.
func (c *runCmd) options() (engine.RunOptions, error) {
	opts, err := c.makeFlags.options()
	opts.Detach, opts.DetachKeys = c.Detach.Detach, c.Detach.DetachKeys
	return opts, err
}

func (c *makeFlags) options() (engine.RunOptions, error) {
	networks := c.Network.words()
	for _, word := range networks {
		if err := refuseNetwork(word); err != nil {
			return engine.RunOptions{}, err
		}
	}
	box := c.Container
	if box.Replace && box.Name == "" {
		return engine.RunOptions{}, &usageError{msg: "--replace: there is no --name, so there is nothing to replace", hint: "add --name NAME, or leave --replace out"}
	}
	restart, err := engine.ParseRestart(box.Restart)
	if err != nil {
		return engine.RunOptions{}, err
	}
	return engine.RunOptions{
		Options:        c.specOptions(),
		Image:          c.Image,
		Rootfs:         box.Rootfs,
		Name:           box.Name,
		Remove:         box.Remove,
		Replace:        box.Replace,
		Restart:        restart,
		LogDriver:      box.LogDriver,
		LogOpts:        box.LogOpt,
		NetworkOptions: engine.NetworkOptions{IP: c.Network.IP, IP6: c.Network.IP6, MAC: c.Network.MAC, Publish: c.Network.Publish, PublishAll: c.Network.PublishAll, Aliases: c.Network.Alias, Networks: networks[min(1, len(networks)):], EgressOptions: c.Network.egressFlags.options()},
		Health:         c.Health.options(),
		Userns:         c.Identity.request(),
		Pull:           box.Pull,
		Platform:       box.Platform,
		TLSVerify:      box.TLSVerify,
		Timeout:        time.Duration(box.Timeout),
		SigProxy:       c.Process.SigProxy,
		CIDFile:        box.CIDFile,
		PIDFile:        box.PIDFile,
		Report:         box.Report,
		DryRun:         box.DryRun,
		Format:         box.Format,
		Quiet:          box.Quiet,
	}, nil
}

func (c *makeFlags) specOptions() spec.Options {
	o := spec.Options{Args: c.command()}
	c.Process.fill(&o)
	c.Identity.fill(&o)
	c.Files.fill(&o)
	c.Network.fill(&o)
	o.SecurityOpt = c.Security.SecurityOpt
	o.CapAdd = c.Security.CapAdd
	o.CapDrop = c.Security.CapDrop
	o.Privileged = c.Security.Privileged
	o.Sysctl = c.Security.Sysctl
	c.Limits.fill(&o)
	o.Labels = c.Metadata.Label
	o.LabelFiles = c.Metadata.LabelFile
	o.Annotations = c.Metadata.Annotation
	return o
}

// command is what follows the image's name. `run host -- CMD` reads like
// `sandbox -- CMD`, so its -- goes; after an image's name docker and podman
// hand a -- on as the first word of the command, and so do we.
func (c *makeFlags) command() []string {
	if c.Image == "host" && len(c.Args) > 0 && c.Args[0] == "--" {
		return c.Args[1:]
	}
	return c.Args
}

func (f processFlags) fill(o *spec.Options) {
	o.Interactive = f.Interactive
	o.TTY = f.TTY
	o.Env = f.Env
	o.EnvFiles = f.EnvFile
	o.EnvHost = f.EnvHost
	o.UnsetEnv = f.UnsetEnv
	o.UnsetEnvAll = f.UnsetEnvAll
	o.Workdir = f.Workdir
	o.Entrypoint = f.Entrypoint
	o.Init = f.Init
	o.InitPath = f.InitPath
	o.Systemd = f.Systemd
	o.StopSignal = f.StopSignal
	o.StopTimeout = f.StopTimeout
	o.Umask = f.Umask
	o.TZ = f.TZ
	o.PID = f.PID
	o.IPC = f.IPC
	o.UTS = f.UTS
	o.PreserveFDs = f.PreserveFDs
}

func (f identityFlags) fill(o *spec.Options) {
	o.User = f.User
	o.GroupAdd = f.GroupAdd
	o.Passwd = f.Passwd
	o.PasswdEntry = f.PasswdEntry
	o.GroupEntry = f.GroupEntry
	o.HostUsers = f.HostUser
}

func (f fileFlags) fill(o *spec.Options) {
	o.Volumes = f.Volume
	o.Mounts = f.Mount
	o.Tmpfs = f.Tmpfs
	o.ReadOnly = f.ReadOnly
	o.ReadOnlyTmpfs = f.ReadOnlyTmpfs
	o.ShmSize = f.ShmSize
	o.Devices = f.Device
	o.VolumesFrom = f.VolumesFrom
	o.Secrets = f.Secret
	o.ImageVolume = f.ImageVolume
}

// words are the networks one by one: podman takes names with commas between, too. In a
// word with a colon the commas are the mode's.
func (f networkFlags) words() []string {
	var out []string
	for _, word := range f.Network {
		if strings.Contains(word, ":") {
			out = append(out, word)
		} else {
			out = append(out, strings.Split(word, ",")...)
		}
	}
	return out
}

func (f networkFlags) fill(o *spec.Options) {
	if words := f.words(); len(words) > 0 {
		o.Network = words[0]
	}
	if f.Hostname != nil {
		o.Hostname, o.HostnameSet = *f.Hostname, true
	}
	o.AddHosts = f.AddHost
	o.DNS = f.DNS
	o.DNSSearch = f.DNSSearch
	o.DNSOption = f.DNSOption
	o.NoHosts = f.NoHosts
	o.NoHostname = f.NoHostname
	o.HTTPProxy = f.HTTPProxy
	o.Expose = f.Expose
}
