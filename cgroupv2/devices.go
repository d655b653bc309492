package cgroupv2

import (
	"errors"
	"fmt"
	"os"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The kernel's numbers (linux/bpf.h, BPF_DEVCG_*).
const (
	devBlock = 1
	devChar  = 2

	accMknod = 1
	accRead  = 2
	accWrite = 4
	accAll   = accMknod | accRead | accWrite

	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)

// deviceRule is an entry of linux.resources.devices; -1 is any, and kind 0 both.
type deviceRule struct {
	allow        bool
	kind         int32
	major, minor int64
	access       int32
}

func (r deviceRule) matches(kind int32, major, minor int64) bool {
	return (r.kind == 0 || r.kind == kind) && (r.major < 0 || r.major == major) && (r.minor < 0 || r.minor == minor)
}

// requiredDevices are what every container may use: the specification's
// default devices, terminals, and making nodes, which opens nothing.
func requiredDevices() []deviceRule {
	char := func(major, minor int64) deviceRule {
		return deviceRule{true, devChar, major, minor, accAll}
	}
	return []deviceRule{
		{true, 0, -1, -1, accMknod},
		char(1, 3), char(1, 5), char(1, 7), char(1, 8), char(1, 9), // null zero full random urandom
		char(5, 0), char(5, 1), char(5, 2), char(136, -1), // tty console ptmx pts
	}
}

// deviceRules reads linux.resources.devices. Later entries go before earlier
// ones. The devices that every container may use come right after the last
// entry about all devices, which mostly is the first and denies them; so an
// entry that denies one of them by its number still holds.
func deviceRules(in []specs.LinuxDeviceCgroup) ([]deviceRule, error) {
	var rules []deviceRule
	general := 0
	for i, d := range in {
		field := fmt.Sprintf("devices[%d]", i)
		r := deviceRule{allow: d.Allow, major: -1, minor: -1}
		switch d.Type {
		case "", "a":
		case "b":
			r.kind = devBlock
		case "c", "u":
			r.kind = devChar
		default:
			return nil, bad(field+".type", "%q: want a, b or c", d.Type)
		}
		for _, c := range d.Access {
			bit, ok := map[rune]int32{'r': accRead, 'w': accWrite, 'm': accMknod}[c]
			if !ok {
				return nil, bad(field+".access", "%q: want letters of rwm", d.Access)
			}
			r.access |= bit
		}
		if r.access == 0 {
			return nil, bad(field+".access", "is empty")
		}
		if d.Major != nil {
			r.major = *d.Major
		}
		if d.Minor != nil {
			r.minor = *d.Minor
		}
		if r.major > maxMajor || r.minor > maxMinor {
			return nil, bad(field, "%d:%d is no device: the maximum is %d:%d", r.major, r.minor, maxMajor, maxMinor)
		}
		rules = append(rules, r)
		if r.kind == 0 && r.major < 0 && r.minor < 0 {
			general = len(rules)
		}
	}
	out := append([]deviceRule{}, rules[:general]...)
	out = append(out, requiredDevices()...)
	return append(out, rules[general:]...), nil
}

// denied are the kinds of access of want that the rules do not allow: for each
// kind the last rule that names it decides, and without one it is denied.
func denied(rules []deviceRule, kind int32, major, minor int64, want int32) int32 {
	left := want
	var no int32
	for i := len(rules) - 1; i >= 0 && left != 0; i-- {
		if r := rules[i]; r.matches(kind, major, minor) {
			if !r.allow {
				no |= left & r.access
			}
			left &^= r.access
		}
	}
	return no | left
}

// heldByNamespace says whether a user namespace keeps what the rules promise,
// where no program can be loaded. Nobody in it can make a node of a device, and
// the nodes that there are have the host's permissions for the caller; so a
// device that is not in /dev is out of reach, whatever is denied. What it cannot
// do is to hand out a device and to withhold reading or writing: a device of
// linux.devices that the rules do not allow to be read and written is refused.
// Nodes that are bind mounted were chosen by whoever mounted them.
func heldByNamespace(rules []deviceRule, devices []specs.LinuxDevice) error {
	for i, d := range devices {
		kind := map[string]int32{"b": devBlock, "c": devChar, "u": devChar}[d.Type]
		if kind == 0 {
			continue // a FIFO
		}
		no := denied(rules, kind, d.Major, d.Minor, accRead|accWrite)
		if no == 0 {
			continue
		}
		var what []string
		if no&accRead != 0 {
			what = append(what, "reading")
		}
		if no&accWrite != 0 {
			what = append(what, "writing")
		}
		return &FieldError{
			Field: resources + "devices", kind: ErrUnsupported,
			Reason: fmt.Sprintf("linux.devices[%d] gives the container %s, and without real root nothing can keep it from %s", i, d.Path, strings.Join(what, " and ")),
			hint:   "allow it rw in linux.resources.devices, or leave it out of linux.devices",
		}
	}
	return nil
}

// inUserNamespace tells whether we are in one that is not the machine's.
func inUserNamespace() bool {
	m, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	return strings.Join(strings.Fields(string(m)), " ") != "0 0 4294967295"
}

// devices makes the cgroup hold the rules: by a program where the kernel lets
// us, and else by the container's user namespace.
func (c *Cgroup) devices(cfg Config) error {
	if cfg.Resources == nil || len(cfg.Resources.Devices) == 0 {
		return nil
	}
	rules, err := deviceRules(cfg.Resources.Devices)
	if err != nil {
		return err
	}
	why := ErrNone
	if c.dir != nil {
		if why = attachDevices(c.FD(), deviceProgram(rules)); why == nil {
			return nil
		}
	}
	// Without root there is no container without a user namespace.
	if cfg.UserNamespace || inUserNamespace() || os.Geteuid() != 0 {
		return heldByNamespace(rules, cfg.Devices)
	}
	e := &FieldError{Field: resources + "devices", Reason: "cannot be enforced", Err: why, kind: ErrUnsupported}
	if errors.Is(why, os.ErrPermission) {
		e.hint = "loading a BPF program needs CAP_SYS_ADMIN, or CAP_BPF and CAP_NET_ADMIN; or give the container a user namespace"
	}
	return e
}
