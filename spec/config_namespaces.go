package spec

import (
	"path"
	"slices"
	"strings"

	"coracle/internal/plainjson"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// namespaceTypes are those of the specification, sorted.
func namespaceTypes() []specs.LinuxNamespaceType {
	return []specs.LinuxNamespaceType{
		specs.CgroupNamespace, specs.IPCNamespace, specs.MountNamespace, specs.NetworkNamespace,
		specs.PIDNamespace, specs.TimeNamespace, specs.UserNamespace, specs.UTSNamespace,
	}
}

func (v *validator) namespaces() error {
	const list = "linux.namespaces"
	seen := make(map[specs.LinuxNamespaceType]bool, 8)
	for i, ns := range v.s.Linux.Namespaces {
		if !slices.Contains(namespaceTypes(), ns.Type) {
			return wrong(at(list, i)+".type", "there is no namespace %s", plainjson.Quote(string(ns.Type)))
		}
		if seen[ns.Type] {
			return wrong(at(list, i), "a second %s namespace", ns.Type)
		}
		seen[ns.Type] = true
		if ns.Path != "" {
			if err := absolute(at(list, i)+".path", ns.Path); err != nil {
				return err
			}
		}
	}
	if !seen[specs.MountNamespace] && (!v.h.Root || seen[specs.UserNamespace]) {
		return wrong(list, "a mount namespace is missing: only the host's root may mount in the host's own")
	}
	if seen[specs.TimeNamespace] && !v.h.TimeNamespaces {
		return wrong(list, "this kernel has no time namespaces (Linux 5.6)")
	}
	if err := v.userNamespace(); err != nil {
		return err
	}
	return v.timeOffsets()
}

// userNamespace checks the id maps against the namespace that they are for.
func (v *validator) userNamespace() error {
	l := v.s.Linux
	ns, there := v.namespace(specs.UserNamespace)
	for _, m := range []struct {
		field      string
		ours, host []specs.LinuxIDMapping
	}{{"linux.uidMappings", l.UIDMappings, v.h.UIDMap}, {"linux.gidMappings", l.GIDMappings, v.h.GIDMap}} {
		switch {
		case !there && len(m.ours) > 0:
			return wrong(m.field, "a map needs a user namespace in linux.namespaces")
		case there && ns.Path == "" && len(m.ours) == 0:
			return wrong(m.field, "missing: a new user namespace has no ids without a map")
		case there && ns.Path != "" && len(m.ours) > 0 && len(m.host) > 0 && !sameIDMap(m.ours, m.host):
			return wrong(m.field, "it is not the map of the user namespace that linux.namespaces joins, %s", ns.Path)
		}
		if err := checkIDMap(m.field, m.ours); err != nil {
			return err
		}
	}
	return nil
}

func sameIDMap(a, b []specs.LinuxIDMapping) bool {
	order := func(a, b specs.LinuxIDMapping) int { return int(int64(a.ContainerID) - int64(b.ContainerID)) }
	return slices.Equal(slices.SortedFunc(slices.Values(a), order), slices.SortedFunc(slices.Values(b), order))
}

// checkIDMap holds a map to the kernel's rules (user_namespaces(7)).
func checkIDMap(field string, m []specs.LinuxIDMapping) error {
	const most = 340 // UID_GID_MAP_MAX_EXTENTS
	if len(m) > most {
		return wrong(field, "%d entries, and the kernel takes %d", len(m), most)
	}
	for i, a := range m {
		if a.Size == 0 {
			return wrong(at(field, i)+".size", "0")
		}
		// 4294967295 is no id but -1, "leave it".
		if a.ContainerID > ^uint32(0)-a.Size {
			return wrong(at(field, i), "%d ids from %d are more than there are", a.Size, a.ContainerID)
		}
		if a.HostID > ^uint32(0)-a.Size {
			return wrong(at(field, i), "%d ids of the host from %d are more than there are", a.Size, a.HostID)
		}
		for j, b := range m[:i] {
			if a.ContainerID < b.ContainerID+b.Size && b.ContainerID < a.ContainerID+a.Size {
				return wrong(at(field, i), "it has ids of the container that entry %d has as well", j)
			}
			if a.HostID < b.HostID+b.Size && b.HostID < a.HostID+a.Size {
				return wrong(at(field, i), "it has ids of the host that entry %d has as well", j)
			}
		}
	}
	return nil
}

// idMap is the map that decides on ids of the container, and the name of where
// it comes from.
func (v *validator) idMap(group bool) ([]specs.LinuxIDMapping, string) {
	l := v.s.Linux
	ours, host, name := l.UIDMappings, v.h.UIDMap, "linux.uidMappings"
	if group {
		ours, host, name = l.GIDMappings, v.h.GIDMap, "linux.gidMappings"
	}
	if len(ours) > 0 {
		return ours, name
	}
	return host, "the map of its user namespace"
}

// mappedID wants an id of the container that somebody stands behind.
func (v *validator) mappedID(field string, id uint32, group bool) error {
	word := "uid"
	if group {
		word = "gid"
	}
	if id == ^uint32(0) {
		return wrong(field, "%d is no id: it stands for -1", id)
	}
	if m, where := v.idMap(group); !mapped(m, id) {
		return wrong(field, "%s %d has no mapping in %s", word, id, where)
	}
	return nil
}

func (v *validator) timeOffsets() error {
	const field = "linux.timeOffsets"
	if len(v.s.Linux.TimeOffsets) == 0 {
		return nil
	}
	ns, ok := v.namespace(specs.TimeNamespace)
	if !ok {
		return wrong(field, "offsets need a time namespace in linux.namespaces")
	}
	if ns.Path != "" {
		return wrong(field, "the clocks of a time namespace that is joined, %s, are set already", ns.Path)
	}
	for _, clock := range sortedKeys(v.s.Linux.TimeOffsets) {
		at := field + "[" + plainjson.Quote(clock) + "]"
		if clock != "monotonic" && clock != "boottime" {
			return wrong(at, "a time namespace has the clocks monotonic and boottime")
		}
		o := v.s.Linux.TimeOffsets[clock]
		const most = 9223372036 // KTIME_SEC_MAX
		if o.Secs > most || o.Secs < -most {
			return wrong(at+".secs", "%d is beyond %d, the kernel's last second", o.Secs, most)
		}
		if o.Nanosecs > 999_999_999 {
			return wrong(at+".nanosecs", "%d is a second or more", o.Nanosecs)
		}
	}
	return nil
}

// sysctl is what a kernel parameter needs before a container may set it.
func (v *validator) sysctls() error {
	for _, key := range sortedKeys(v.s.Linux.Sysctl) {
		field := "linux.sysctl[" + plainjson.Quote(key) + "]"
		if !isSysctl(key) {
			return wrong(field, "not the name of a kernel parameter")
		}
		if err := noNul(field, v.s.Linux.Sysctl[key]); err != nil {
			return err
		}
		if err := v.sysctl(field, sysctlPath(key)); err != nil {
			return err
		}
	}
	return nil
}

// sysctlPath is the file below /proc/sys. The separator is what stands first in
// the name, as in sysctl(8): net.ipv4.conf.eth0/1.rp_filter and
// net/ipv4/conf/eth0.1/rp_filter are the same.
func sysctlPath(key string) string {
	if i := strings.IndexAny(key, "./"); i < 0 || key[i] == '/' {
		return key
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, key)
}

func (v *validator) sysctl(field, file string) error {
	needs := specs.LinuxNamespaceType("")
	switch {
	case file != path.Clean(file) || strings.HasPrefix(file, "../"):
		return wrong(field, "not the name of a kernel parameter")
	case strings.HasPrefix(file, "net/"):
		needs = specs.NetworkNamespace
	case slices.Contains(ipcSysctls(), file), strings.HasPrefix(file, "fs/mqueue/"):
		needs = specs.IPCNamespace
	case strings.HasPrefix(file, "user/"):
		if !v.inUserNamespace() {
			return wrong(field, "it would change the host: the container has no user namespace of its own")
		}
		return nil
	case file == "kernel/domainname":
		if v.s.Domainname != "" {
			return wrong(field, "the configuration says domainname as well")
		}
		needs = specs.UTSNamespace
	case file == "kernel/hostname":
		return wrong(field, "the configuration has a property of its own for it, hostname")
	default:
		return wrong(field, "it would change the host: no namespace has one of its own")
	}
	if !v.own(needs) {
		return wrong(field, "it would change the host: the container has no %s namespace of its own", needs)
	}
	return nil
}

// ipcSysctls are the parameters of an IPC namespace (ipc_namespaces(7)).
func ipcSysctls() []string {
	return []string{
		"kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem", "kernel/shmall",
		"kernel/shmmax", "kernel/shmmni", "kernel/shm_rmid_forced",
		"kernel/msg_next_id", "kernel/sem_next_id", "kernel/shm_next_id",
	}
}
