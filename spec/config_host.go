package spec

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	initUserNS   = 0xeffffffd // its inode in every kernel (linux/proc_ns.h)
	selinuxMagic = 0xf97cff8c
)

// ReadHost gathers what Validate must know of this process and machine; it
// looks only for what s asks for. The map of a user namespace that is joined is
// the caller's to fill in.
func ReadHost(s *specs.Spec) (HostFacts, error) {
	var h HostFacts
	own, err := namespaceInode("/proc/self/ns/user")
	if err != nil {
		return h, fmt.Errorf("look at our own user namespace: %w", err)
	}
	held, err := heldCaps(false)
	if err != nil {
		return h, err
	}
	h.Bounding, h.Permitted = held.bounding, held.permitted
	admin := held.permitted&(1<<unix.CAP_SYS_ADMIN) != 0
	initial := own == initUserNS
	h.Root, h.UserNamespace, h.IDMappedMounts = initial && admin, !initial || !admin, initial && admin
	for h.LastCapability = lastCap; h.LastCapability > 0; h.LastCapability-- {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(h.LastCapability), 0, 0, 0); err == nil {
			break
		}
	}
	if admin && !initial {
		if h.UIDMap, err = readIDMap("/proc/self/uid_map"); err != nil {
			return h, err
		}
		if h.GIDMap, err = readIDMap("/proc/self/gid_map"); err != nil {
			return h, err
		}
	}
	h.readLinux(s)
	return h, h.readProcess(s.Process)
}

func (h *HostFacts) readLinux(s *specs.Spec) {
	l := s.Linux
	if l == nil {
		return
	}
	h.SELinux = l.MountLabel != "" && haveSELinux()
	for _, ns := range l.Namespaces {
		if ns.Type == specs.TimeNamespace {
			h.TimeNamespaces = unix.Access("/proc/self/ns/time", unix.F_OK) == nil
		}
		var own, other unix.Stat_t
		if ns.Path != "" && unix.Stat("/proc/self/ns/"+nsFile(ns.Type), &own) == nil && unix.Stat(ns.Path, &other) == nil &&
			own.Dev == other.Dev && own.Ino == other.Ino {
			h.HostNamespaces = append(h.HostNamespaces, ns.Type)
		}
	}
}

// nsFile is a namespace's name below /proc/PID/ns.
func nsFile(t specs.LinuxNamespaceType) string {
	switch t {
	case specs.NetworkNamespace:
		return "net"
	case specs.MountNamespace:
		return "mnt"
	}
	return string(t)
}

func (h *HostFacts) readProcess(p *specs.Process) error {
	if p == nil {
		return nil
	}
	if p.ApparmorProfile != "" {
		data, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
		h.AppArmor = err == nil && strings.HasPrefix(string(data), "Y")
	}
	h.SELinux = h.SELinux || p.SelinuxLabel != "" && haveSELinux()
	if p.OOMScoreAdj != nil {
		data, err := os.ReadFile("/proc/self/oom_score_adj")
		if err != nil {
			return fmt.Errorf("read the OOM score: %w", err)
		}
		if h.OOMScoreAdj, err = strconv.Atoi(strings.TrimSpace(string(data))); err != nil {
			return fmt.Errorf("read the OOM score: %w", err)
		}
	}
	return nil
}

func haveSELinux() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/sys/fs/selinux", &fs) == nil && fs.Type == selinuxMagic
}

// readIDMap reads the map of a process: ids inside, ids outside, how many.
func readIDMap(name string) ([]specs.LinuxIDMapping, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []specs.LinuxIDMapping
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var n [3]uint32
		words := strings.Fields(lines.Text())
		if len(words) != len(n) {
			return nil, fmt.Errorf("read %s: %q", name, lines.Text())
		}
		for i, w := range words {
			x, err := strconv.ParseUint(w, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", name, err)
			}
			n[i] = uint32(x)
		}
		out = append(out, specs.LinuxIDMapping{ContainerID: n[0], HostID: n[1], Size: n[2]})
	}
	return out, lines.Err()
}
