package spec

import (
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Kinds of files, as in st_mode (inode(7)).
const (
	modeType    = 0o170000
	modeDir     = 0o040000
	modeChar    = 0o020000
	modeBlock   = 0o060000
	devicesDeep = 8 // directories below /dev are walked no deeper
)

func (f FileInfo) isDir() bool { return f.Mode&modeType == modeDir }

func (f FileInfo) isDevice() bool {
	return f.Mode&modeType == modeChar || f.Mode&modeType == modeBlock
}

// devices binds --device, and with --privileged every node of the host that
// the caller can use. A user namespace can make no device nodes, so they are
// the host's own, bound; linux.devices of config.json is for runtimes that
// run as root. The default nodes (null, zero, full, random, urandom, tty) are
// the runtime's duty.
func (g *generator) devices() error {
	for _, s := range g.opt.Devices {
		if err := g.device(s); err != nil {
			return refused("--device", s, err)
		}
	}
	if g.opt.Privileged {
		g.hostDevices()
	}
	return nil
}

// parseDevice reads SRC[:DST][:PERMISSIONS].
func parseDevice(s string) (source, destination, permissions string, err error) {
	if !strings.HasPrefix(s, "/") && strings.Contains(s, "=") {
		return "", "", "", later("names of the Container Device Interface are not available yet").hint("give the path of the device node")
	}
	parts := strings.Split(s, ":")
	source, destination, permissions = parts[0], parts[0], "rwm"
	switch {
	case len(parts) > 3:
		return "", "", "", bad("more than SOURCE:DESTINATION:PERMISSIONS")
	case len(parts) == 3:
		destination, permissions = parts[1], parts[2]
	case len(parts) == 2 && isPermissions(parts[1]):
		permissions = parts[1]
	case len(parts) == 2:
		destination = parts[1]
	}
	if !path.IsAbs(source) {
		return "", "", "", bad("%q is not an absolute path", source)
	}
	if destination == "" {
		destination = source
	}
	if destination, err = cleanDestination(destination); err != nil {
		return "", "", "", err
	}
	if !isPermissions(permissions) {
		return "", "", "", bad("%q are no permissions", permissions).hint("permissions are r, w and m")
	}
	return path.Clean(source), destination, permissions, nil
}

func isPermissions(s string) bool {
	return s != "" && len(s) <= 3 && strings.Trim(s, "rwm") == ""
}

func (g *generator) device(s string) error {
	source, destination, permissions, err := parseDevice(s)
	if err != nil {
		return err
	}
	// Reading alone cannot be enforced: a read-only mount does not hinder
	// writing to a device, and the device controller of cgroups needs root.
	if !strings.Contains(permissions, "r") || !strings.Contains(permissions, "w") {
		return bad("%q cannot be enforced without root", permissions).hint("leave the permissions out: the node's own mode and owner decide")
	}
	info, err := g.in.Host.Stat(source)
	if err != nil {
		return g.noSource("--device", s, source, err)
	}
	if info.isDevice() {
		return g.place(deviceMount(source, destination), fromUser, "--device", s)
	}
	if !info.isDir() {
		return bad("%s is neither a device nor a directory of devices", source)
	}
	nodes := g.deviceNodes(source, devicesDeep)
	if len(nodes) == 0 {
		return bad("%s holds no devices", source)
	}
	for _, node := range nodes {
		target := path.Join(destination, strings.TrimPrefix(node, source))
		if err := g.place(deviceMount(node, target), fromUser, "--device", s); err != nil {
			return err
		}
	}
	return nil
}

func deviceMount(source, destination string) specs.Mount {
	return specs.Mount{
		Destination: destination, Type: "bind", Source: source,
		Options: []string{"bind", "rprivate", "rw", "nosuid", "noexec"},
	}
}

// deviceNodes lists the nodes below a directory, sorted; no links, so that
// none is listed twice. What belongs to the runtime is left out.
func (g *generator) deviceNodes(dir string, depth int) (nodes []string) {
	names, err := g.in.Host.ReadDir(dir)
	if err != nil {
		return nil // a directory that is not ours to read holds nothing for us
	}
	slices.Sort(names)
	for _, name := range names {
		p := path.Join(dir, name)
		if p == "/dev/pts" || p == "/dev/shm" || p == "/dev/fd" || p == "/dev/mqueue" || p == "/dev/console" || p == "/dev/ptmx" {
			continue
		}
		info, err := g.in.Host.Lstat(p)
		switch {
		case err != nil:
		case info.isDevice():
			nodes = append(nodes, p)
		case info.isDir() && depth > 0:
			nodes = append(nodes, g.deviceNodes(p, depth-1)...)
		}
	}
	return nodes
}

func (g *generator) hostDevices() {
	for _, node := range g.deviceNodes("/dev", devicesDeep) {
		switch node {
		case "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty":
			continue
		}
		if info, err := g.in.Host.Lstat(node); err == nil && g.accessible(info) {
			_ = g.place(deviceMount(node, node), fromImplied, "--privileged", "")
		}
	}
}

// accessible says whether the caller may read or write a node.
func (g *generator) accessible(f FileInfo) bool {
	bits := f.Mode & 0o006
	switch {
	case g.in.HostUID == 0:
		return true
	case f.UID == g.in.HostUID:
		bits = f.Mode >> 6 & 0o006
	case f.GID == g.in.HostGID || slices.Contains(g.in.HostGroups, f.GID):
		bits = f.Mode >> 3 & 0o006
	}
	return bits != 0
}
