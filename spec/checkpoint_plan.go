package spec

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// emptyNetwork has CRIU make a network namespace and leave what is in it to
// others.
const emptyNetwork = unix.CLONE_NEWNET

// canCheckpoint refuses what CRIU does not bring back.
func canCheckpoint(s *specs.Spec) error {
	if s.Linux == nil {
		return &ConfigError{Path: "linux", Msg: "missing"}
	}
	for i, n := range s.Linux.Namespaces {
		if n.Path == "" {
			continue
		}
		switch n.Type {
		case specs.NetworkNamespace, specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace:
		default:
			return &ConfigError{Path: fmt.Sprintf("linux.namespaces[%d].path", i), Msg: fmt.Sprintf(
				"CRIU cannot put processes back into a %s namespace that others have made: such a container cannot be checkpointed or restored", n.Type)}
		}
	}
	if namespaceOf(s, specs.MountNamespace) == nil {
		return &ConfigError{Path: "linux.namespaces", Msg: "a container without a mount namespace of its own cannot be checkpointed or restored: CRIU would take the host's mounts for its own"}
	}
	return nil
}

// namespaceOf is what the configuration says about a kind of namespace.
func namespaceOf(s *specs.Spec, kind specs.LinuxNamespaceType) *specs.LinuxNamespace {
	i := slices.IndexFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
	if i < 0 {
		return nil
	}
	return &s.Linux.Namespaces[i]
}

// fresh says whether the container gets a namespace of that kind for itself.
func fresh(s *specs.Spec, kind specs.LinuxNamespaceType) bool {
	n := namespaceOf(s, kind)
	return n != nil && n.Path == ""
}

// outsideNamespaces are those that CRIU leaves out of a checkpoint when they
// were joined, and gets by a descriptor again; the keys are runc's.
var outsideNamespaces = []outsideNamespace{{specs.NetworkNamespace, "net", "extRootNetNS"}, {specs.PIDNamespace, "pid", "extRootPidNS"}}

type outsideNamespace struct {
	kind      specs.LinuxNamespaceType
	file, key string
}

// externalNamespaces names the joined ones of a process, criu(8) --external.
func externalNamespaces(s *specs.Spec, pid int) (out []string, err error) {
	for _, o := range outsideNamespaces {
		if n := namespaceOf(s, o.kind); n == nil || n.Path == "" {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/%s", pid, o.file), &st); err != nil {
			return nil, fmt.Errorf("look at the %s namespace of process %d: %w", o.kind, pid, err)
		}
		out = append(out, fmt.Sprintf("%s[%d]:%s", o.file, st.Ino, o.key))
	}
	return out, nil
}

// foreignDevices says whether the container's own network namespace has devices
// besides its loopback: the other ends are the host's, whoever put them there
// (a hook, linux.netDevices) does so again.
func foreignDevices(s *specs.Spec, pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", pid))
	return err == nil && fresh(s, specs.NetworkNamespace) && otherThanLoopback(string(data))
}

// otherThanLoopback reads /proc/net/dev: two lines of head, then one a device.
func otherThanLoopback(dev string) bool {
	for line := range strings.Lines(dev) {
		name, _, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(name) != "lo" {
			return true
		}
	}
	return false
}

// dumpedEmpty says whether the images hold a network namespace without what was
// in it.
func dumpedEmpty(s *specs.Spec, images string) bool {
	if !fresh(s, specs.NetworkNamespace) {
		return false
	}
	found, err := filepath.Glob(filepath.Join(images, "netdev-*.img"))
	return err == nil && len(found) == 0
}

// pageServer reads ADDRESS:PORT; "" is none.
func pageServer(at string) (*rpc.CriuPageServerInfo, error) {
	if at == "" {
		return nil, nil
	}
	last := max(0, strings.LastIndexByte(at, ':'))
	address, port := at[:last], strings.TrimPrefix(at[last:], ":")
	if inside, ok := strings.CutPrefix(address, "["); ok { // of IPv6
		address, ok = strings.CutSuffix(inside, "]")
		if !ok {
			address = ""
		}
	} else if strings.Contains(address, ":") {
		address = ""
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || address == "" || n == 0 {
		return nil, fmt.Errorf("--page-server %s: want ADDRESS:PORT", at)
	}
	return &rpc.CriuPageServerInfo{Address: &address, Port: asked(int32(n))}, nil
}

// cgroupMode is how CRIU treats cgroups. By default, on hosts with version 2
// alone, as runc: softly, so that cgroups that the container has made and its
// namespace come back. Elsewhere it would go through the version 1 hierarchies.
func cgroupMode(s *specs.Spec, name string, unified bool) (rpc.CriuCgMode, error) {
	own := fresh(s, specs.CgroupNamespace)
	switch name {
	case "":
		if unified || own {
			return rpc.CriuCgMode_SOFT, nil
		}
		return rpc.CriuCgMode_IGNORE, nil
	case "soft":
		return rpc.CriuCgMode_SOFT, nil
	case "full":
		return rpc.CriuCgMode_FULL, nil
	case "strict":
		return rpc.CriuCgMode_STRICT, nil
	case "ignore":
		if own {
			return 0, fmt.Errorf("--manage-cgroups-mode=ignore: CRIU would bring the container back without its cgroup namespace")
		}
		return rpc.CriuCgMode_IGNORE, nil
	}
	return 0, fmt.Errorf("--manage-cgroups-mode %s: want soft, full, strict or ignore", name)
}

// onlyUnified says whether cgroup version 2 is all there is, by /proc/self/cgroup.
func onlyUnified() bool {
	data, err := os.ReadFile("/proc/self/cgroup")
	return err == nil && bytes.HasPrefix(data, []byte("0::")) && bytes.Count(data, []byte("\n")) == 1
}

const criuConfigAnnotation = "org.criu.config"

// criuConfig is the configuration file that CRIU reads besides: runc's, which
// administrators know, unless the container's annotation names another or none.
func criuConfig(s *specs.Spec) string {
	name, ok := s.Annotations[criuConfigAnnotation]
	if !ok {
		return "/etc/criu/runc.conf"
	}
	return name
}
