package spec

import (
	"path"
	"strings"

	"coracle/internal/plainjson"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A device number has 12 bits before and 20 after the colon (linux/kdev_t.h).
const (
	mostMajor = 1<<12 - 1
	mostMinor = 1<<20 - 1
)

func (v *validator) devices() error {
	const list = "linux.devices"
	if err := notOver(list, len(v.s.Linux.Devices), maxPaths); err != nil {
		return err
	}
	seen := make(map[string]int)
	for i := range v.s.Linux.Devices {
		d, field := &v.s.Linux.Devices[i], at(list, i)
		if err := absolute(field+".path", d.Path); err != nil {
			return err
		}
		name := path.Clean(d.Path)
		if j, twice := seen[name]; twice {
			return wrong(field+".path", "%s is the path of %s too", plainjson.Quote(d.Path), at(list, j))
		}
		seen[name] = i
		if err := v.device(field, d); err != nil {
			return err
		}
	}
	return nil
}

func (v *validator) device(field string, d *specs.LinuxDevice) error {
	switch d.Type {
	case "b", "c", "u":
		if d.Major < 0 || d.Major > mostMajor {
			return wrong(field+".major", "%d is not between 0 and %d", d.Major, mostMajor)
		}
		if d.Minor < 0 || d.Minor > mostMinor {
			return wrong(field+".minor", "%d is not between 0 and %d", d.Minor, mostMinor)
		}
	case "p":
	case "":
		return wrong(field+".type", "missing")
	default:
		return wrong(field+".type", "there is no type %s; c, b, u and p are", plainjson.Quote(d.Type))
	}
	// The type of the file may stand in it: that is how mknod(2) takes it.
	if d.FileMode != nil && *d.FileMode&^0o7777 != 0 && !hasTypeBits(uint32(*d.FileMode), d.Type) {
		return wrong(field+".fileMode", "%d (octal %#o) is more than octal 07777; JSON has no octal numbers, 0666 is 438", *d.FileMode, uint32(*d.FileMode))
	}
	if d.UID != nil {
		if err := v.mappedID(field+".uid", *d.UID, false); err != nil {
			return err
		}
	}
	if d.GID != nil {
		if err := v.mappedID(field+".gid", *d.GID, true); err != nil {
			return err
		}
	}
	if v.inUserNamespace() && d.Type != "p" && (d.FileMode != nil || d.UID != nil || d.GID != nil) {
		v.warn(field, "the node is the host's, for a user namespace can make none: owner and mode stay the host's")
	}
	return nil
}

// hasTypeBits says that what a mode has besides permissions is the type.
func hasTypeBits(mode uint32, kind string) bool {
	bits := map[string]uint32{"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}
	return mode&^0o7777 == bits[kind]
}

// netDevices moves interfaces of the host, which is for its administrator.
func (v *validator) netDevices() error {
	const field = "linux.netDevices"
	if len(v.s.Linux.NetDevices) == 0 {
		return nil
	}
	if !v.h.Root {
		return wrong(field, "moving an interface takes CAP_NET_ADMIN over the host's network, which no user namespace gives")
	}
	if !v.own(specs.NetworkNamespace) {
		return wrong(field, "the container has no network namespace of its own to move an interface to")
	}
	names := make(map[string]string)
	for _, host := range sortedKeys(v.s.Linux.NetDevices) {
		at := field + "[" + plainjson.Quote(host) + "]"
		if !isInterface(host) || strings.Contains(host, "%") {
			return wrong(at, "not the name of an interface")
		}
		name := v.s.Linux.NetDevices[host].Name
		switch rest := strings.Replace(name, "%d", "", 1); {
		case name == "":
			name = host
		case !isInterface(name) || strings.Contains(rest, "%"):
			return wrong(at+".name", "%s is not the name of an interface", plainjson.Quote(name))
		}
		if other, twice := names[name]; twice && !strings.Contains(name, "%d") {
			return wrong(at+".name", "%s is the name of %s too", plainjson.Quote(name), plainjson.Quote(other))
		}
		names[name] = host
	}
	return nil
}

// isInterface is the kernel's rule (dev_valid_name).
func isInterface(name string) bool {
	for _, c := range []byte(name) {
		switch c {
		case 0, '/', ':', ' ', '\t', '\n', '\v', '\f', '\r', 0xa0:
			return false
		}
	}
	return name != "" && len(name) < 16 && name != "." && name != ".."
}

// checkDeviceRules checks the rules of the cgroup; cgroupv2 finds out who can
// hold a container to them.
func checkDeviceRules(field string, rules []specs.LinuxDeviceCgroup) error {
	if err := notOver(field, len(rules), maxPaths); err != nil {
		return err
	}
	for i := range rules {
		if err := checkDeviceRule(at(field, i), &rules[i]); err != nil {
			return err
		}
	}
	return nil
}

func checkDeviceRule(field string, r *specs.LinuxDeviceCgroup) error {
	switch r.Type {
	case "", "a", "b", "c":
	default:
		return wrong(field+".type", "there is no type %s; a, b and c are", plainjson.Quote(r.Type))
	}
	if r.Access == "" {
		return wrong(field+".access", "missing: a rule needs one of r, w and m")
	}
	if strings.Trim(r.Access, "rwm") != "" {
		return wrong(field+".access", "%s; only r, w and m are", plainjson.Quote(r.Access))
	}
	for _, n := range []struct {
		name  string
		value *int64
		most  int64
	}{{"major", r.Major, mostMajor}, {"minor", r.Minor, mostMinor}} {
		// -1 stands for all, as in other runtimes.
		if n.value != nil && (*n.value < -1 || *n.value > n.most) {
			return wrong(field+"."+n.name, "%d is not between 0 and %d", *n.value, n.most)
		}
	}
	return nil
}
