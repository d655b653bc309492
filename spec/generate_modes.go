package spec

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// modes decides the namespaces and what depends on nothing but them.
func (g *generator) modes() error {
	var err error
	if g.ownPID, g.hostPID, err = g.private("--pid", g.opt.PID, specs.PIDNamespace); err != nil {
		return err
	}
	if g.ownUTS, _, err = g.private("--uts", g.opt.UTS, specs.UTSNamespace); err != nil {
		return err
	}
	if g.ownIPC, g.hostIPC, err = g.private("--ipc", g.opt.IPC, specs.IPCNamespace, "none", "shareable"); err != nil {
		return err
	}
	if err := g.cgroupns(); err != nil {
		return err
	}
	g.noShm = g.opt.IPC == "none"
	switch g.opt.Network {
	case "", "none":
		g.ownNet = true
	case "host":
		g.hostNet = true
	default:
		if g.in.Joined.Namespaces[specs.NetworkNamespace] != "" {
			break
		}
		if g.in.Tun == nil {
			return refuse("--network", g.opt.Network, "only private, builtin, none and host are available yet").because(quiet{ErrLater})
		}
		g.ownNet = true
	}
	g.namespaces()
	return g.setHostname()
}

// private reads the value of a namespace flag: "", private, host and container:ID
// are the same for all of them.
func (g *generator) private(flag, value string, kind specs.LinuxNamespaceType, more ...string) (own, host bool, err error) {
	if value == "" || value == "private" || slices.Contains(more, value) {
		return true, false, nil
	}
	if value == "host" {
		return false, true, nil
	}
	if strings.HasPrefix(value, "container:") && g.in.Joined.Namespaces[kind] != "" {
		return false, false, nil
	}
	if strings.HasPrefix(value, "container:") || strings.HasPrefix(value, "ns:") {
		return false, false, refuse(flag, value, "joining a namespace by its path is not available yet").because(quiet{ErrLater})
	}
	return false, false, refuse(flag, value, "unknown mode").choose(value, append([]string{"private", "host"}, more...))
}

// whose namespace it is that is not the container's own.
func whose(mode string) string {
	if strings.HasPrefix(mode, "container:") {
		return "another container's"
	}
	return "the host's"
}

func (g *generator) namespaces() {
	add := func(own bool, kind specs.LinuxNamespaceType) {
		path := g.in.Joined.Namespaces[kind]
		if own || path != "" {
			g.spec.Linux.Namespaces = append(g.spec.Linux.Namespaces, specs.LinuxNamespace{Type: kind, Path: path})
		}
	}
	// Without a map the bundle is for a caller that is already inside a user
	// namespace (as podman calls its runtime), and names none.
	add(len(g.in.UIDMap) > 0, specs.UserNamespace)
	add(true, specs.MountNamespace)
	add(g.ownPID, specs.PIDNamespace)
	add(g.ownIPC, specs.IPCNamespace)
	add(g.ownUTS, specs.UTSNamespace)
	add(g.ownNet, specs.NetworkNamespace)
	add(g.ownCgroup, specs.CgroupNamespace)
}

// maxHostname is the kernel's __NEW_UTS_LEN.
const maxHostname = 64

// setHostname follows podman: the host's name with the host's UTS or network
// namespace, else what was asked, else the short id.
func (g *generator) setHostname() error {
	name := g.opt.Hostname
	if name != "" && !g.ownUTS {
		return refuse("--hostname", name, "%s UTS namespace is used, and its name is not ours to change", whose(g.opt.UTS)).hint("leave out --uts %s", g.opt.UTS)
	}
	if name != "" && !isHostname(name) {
		return refuse("--hostname", name, "not a host name").hint("letters, digits, hyphens and dots, at most %d of them", maxHostname)
	}
	switch {
	case name != "":
	case g.in.Joined.Hostname != "":
		name = g.in.Joined.Hostname
	case !g.ownUTS || g.hostNet:
		name = g.in.Host.Hostname()
	default:
		name = g.in.ID[:min(12, len(g.in.ID))]
	}
	g.hostname = name
	if g.ownUTS {
		g.spec.Hostname = name
	}
	return nil
}

// isHostname is lenient about underscores, which docker and podman take.
func isHostname(s string) bool {
	if s == "" || len(s) > maxHostname || s[0] == '-' || s[0] == '.' {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-', c == '.', c == '_':
		default:
			return false
		}
	}
	return true
}
