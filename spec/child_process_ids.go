package spec

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// KeepGroupsAnnotation keeps the caller's supplementary groups; the name is
// crun's, the value "1".
const KeepGroupsAnnotation = "run.oci.keep_original_groups"

const lastCap = 40 // CAP_CHECKPOINT_RESTORE

// capSets are sets of capabilities as masks.
type capSets struct{ bounding, effective, permitted, inheritable, ambient uint64 }

const allCaps = ^uint64(0)

// inUserNamespace says whether the process enters a user namespace of which it
// is root then: its capabilities there are all, whatever the launcher's are.
func inUserNamespace(s *specs.Spec) bool {
	return s.Linux != nil && slices.ContainsFunc(s.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == specs.UserNamespace })
}

// heldCaps are the sets that the payload's are cut from: all, or without a
// user namespace the launcher's own (it may be root of a container itself).
func heldCaps(userNamespace bool) (capSets, error) {
	if userNamespace {
		return capSets{bounding: allCaps, permitted: allCaps}, nil
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return capSets{}, fmt.Errorf("read the capabilities of this process: %w", err)
	}
	held := capSets{permitted: uint64(data[1].Permitted)<<32 | uint64(data[0].Permitted)}
	for n := range lastCap + 1 {
		if v, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err == nil && v == 1 {
			held.bounding |= 1 << n
		}
	}
	return held, nil
}

// grantable is what of the wanted sets the kernel will give to one who holds
// held, and the names of the rest. The specification wants those logged, not
// refused: "Any value which cannot be mapped to a relevant kernel interface, or
// cannot be granted otherwise, MUST be logged as a warning" (config.md#linux-process).
func grantable(want *specs.LinuxCapabilities, held capSets, last int) (capSets, []string) {
	if want == nil {
		return capSets{}, nil
	}
	var left []string
	mask := func(names []string, within uint64) uint64 {
		var m uint64
		for _, name := range names {
			if n, ok := capNumber(name); ok && n <= last && within&(1<<n) != 0 {
				m |= 1 << n
			} else if !slices.Contains(left, name) {
				left = append(left, name)
			}
		}
		return m
	}
	var got capSets
	got.bounding = mask(want.Bounding, held.bounding)
	got.permitted = mask(want.Permitted, held.permitted)
	got.effective = mask(want.Effective, got.permitted)
	// capset(2) takes nothing here that has left the bounding set.
	got.inheritable = mask(want.Inheritable, held.permitted&got.bounding)
	got.ambient = mask(want.Ambient, got.permitted&got.inheritable)
	slices.Sort(left)
	return got, left
}

// credentials drops from root of the namespace, with all capabilities, to the
// payload's user with the payload's sets. Order: bounding set while CAP_SETPCAP
// is there; ids with the permitted set kept; then the sets; ambient last.
func (c *child) credentials() {
	held, err := heldCaps(c.userns)
	if err != nil {
		c.fail(err)
		return
	}
	// What the kernel does not know it takes for nothing, so its last
	// capability need not be known here.
	want, _ := grantable(c.s.Process.Capabilities, held, lastCap)
	for n := range lastCap + 1 {
		if held.bounding&^want.bounding&(1<<n) != 0 {
			// EINVAL: a capability newer than the kernel.
			c.p.Call("process.capabilities.bounding: drop a capability", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, n, 0, 0, 0).Allow(unix.EINVAL)
		}
	}
	u := c.s.Process.User
	c.groups(u)
	c.p.Call("keep capabilities over the change of user", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0, 0, 0)
	c.p.Call(fmt.Sprintf("process.user.gid: become group %d", u.GID), unix.SYS_SETRESGID, u.GID, u.GID, u.GID)
	c.p.Call(fmt.Sprintf("process.user.uid: become user %d", u.UID), unix.SYS_SETRESUID, u.UID, u.UID, u.UID)
	c.p.Call("", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 0, 0, 0, 0)
	c.capset(want)
	c.p.Call("process.capabilities.ambient: clear", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	for n := range lastCap + 1 {
		if want.ambient&(1<<n) != 0 {
			c.p.Call(fmt.Sprintf("process.capabilities.ambient: raise capability %d", n), unix.SYS_PRCTL,
				unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, n, 0, 0).Allow(unix.EINVAL)
		}
	}
}

// groups sets the supplementary groups. Where the caller wrote its single-id
// map itself the kernel denies setgroups(2); then there is nothing to set.
func (c *child) groups(u specs.User) {
	if c.s.Annotations[KeepGroupsAnnotation] == "1" {
		return
	}
	list := make([]byte, 0, 4*len(u.AdditionalGids)+4)
	for _, g := range u.AdditionalGids {
		list = binary.NativeEndian.AppendUint32(list, g)
	}
	step := c.p.Call("process.user.additionalGids: set the supplementary groups", unix.SYS_SETGROUPS, len(u.AdditionalGids), list)
	if len(u.AdditionalGids) == 0 {
		step.Allow(unix.EPERM)
	}
}

func (c *child) capset(want capSets) {
	hdr := make([]byte, 8)
	binary.NativeEndian.PutUint32(hdr, unix.LINUX_CAPABILITY_VERSION_3)
	data := make([]byte, 0, 24)
	for _, shift := range []int{0, 32} {
		for _, m := range []uint64{want.effective, want.permitted, want.inheritable} {
			data = binary.NativeEndian.AppendUint32(data, uint32(m>>shift))
		}
	}
	c.p.Call("process.capabilities: set them", unix.SYS_CAPSET, hdr, data)
}
