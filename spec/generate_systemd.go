package spec

import (
	"path"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// systemdStop is SIGRTMIN+3, at which systemd halts in order: systemd(1).
const systemdStop = "RTMIN+3"

// systemd prepares the container for systemd as its first process, where that
// is its command, as podman does (podman-run(1), --systemd). Source of what
// systemd wants: https://systemd.io/CONTAINER_INTERFACE.
func (g *generator) systemd() error {
	switch g.opt.Systemd {
	case "", "true":
		args, err := g.args()
		if err != nil || !g.ownPID || g.opt.Init || g.opt.InitPath != "" || !isSystemd(args) {
			return nil //nolint:nilerr // said by the step that needs them
		}
	case "always":
		if !g.ownPID {
			return refuse("--systemd", "always", "systemd must be process 1, and --pid host has one already").hint("leave out --pid host")
		}
		if g.opt.Init || g.opt.InitPath != "" {
			return refuse("--systemd", "always", "systemd must be process 1, and --init is").hint("leave out --init")
		}
	case "false":
		return nil
	default:
		return refuse("--systemd", g.opt.Systemd, "unknown value").choose(g.opt.Systemd, []string{"true", "false", "always"})
	}
	g.res.Systemd = true
	for _, dir := range []string{"/run", "/run/lock", "/tmp", "/var/log/journal"} {
		m := specs.Mount{Destination: dir, Type: "tmpfs", Source: "tmpfs", Options: []string{"rw", "rprivate", "nosuid", "nodev", "tmpcopyup"}}
		if err := g.place(m, fromImplied, "--systemd", "true"); err != nil {
			return err
		}
	}
	return nil
}

// isSystemd says whether a command is systemd, or an init that is mostly a link
// to it. A shell that the image puts before it does not count.
func isSystemd(args []string) bool {
	if len(args) > 2 && args[0] == "/bin/sh" && args[1] == "-c" {
		args = args[2:]
	}
	if len(args) == 0 {
		return false
	}
	return slices.Contains([]string{"/sbin/init", "/usr/sbin/init", "/usr/local/sbin/init"}, args[0]) || path.Base(args[0]) == "systemd"
}
