// Package userns answers who the caller is inside: subordinate ids, id maps,
// newuidmap and newgidmap, user namespaces and what the host allows of them.
package userns

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Map is a pair of id maps as written to /proc/PID/uid_map and gid_map,
// container ids ascending.
type Map struct {
	UIDs, GIDs []specs.LinuxIDMapping
}

// Request is what the user asked for: the flags as typed, "" or empty when
// not given.
type Request struct {
	Userns     string   // --userns: keep-id[:uid=,gid=,size=], nomap, auto[:size=], host
	UIDMaps    []string // --uidmap CONTAINER:[@]FROM[:SIZE]
	GIDMaps    []string // --gidmap
	SubUIDName string   // --subuidname
	SubGIDName string   // --subgidname

	// AutoSize is how many ids auto without size= takes at least: the highest
	// id in the image + 1. 0 where it is not known.
	AutoSize uint32
	// RunRoot is where auto keeps its lock file; "" is
	// $XDG_RUNTIME_DIR/coracle, or /tmp/coracle-UID where that is unset.
	RunRoot string
}

// OverflowID is what the kernel shows for an id that has no mapping
// (/proc/sys/kernel/overflowuid, which nobody changes).
const OverflowID = 65534

// Limits of one map: user_namespaces(7), "Defining user and group ID
// mappings". The text must be shorter than a page, counted here with the
// smallest page there is.
const (
	maxExtents = 340
	maxMapText = 4096
)

// ErrBadMap is what every malformed or contradictory id map unwraps to.
var ErrBadMap = errors.New("bad id map")

// ErrTooFewIDs is what an error unwraps to when more ids are needed than are
// mapped.
var ErrTooFewIDs = errors.New("not enough ids")

// Validate says whether the kernel would take the map: no empty or
// overflowing range, none that overlap inside or outside, not too many.
// It unwraps to ErrBadMap.
func (m Map) Validate() error {
	if err := validateExtents("uid", m.UIDs); err != nil {
		return err
	}
	return validateExtents("gid", m.GIDs)
}

func validateExtents(kind string, extents []specs.LinuxIDMapping) error {
	if len(extents) == 0 {
		return fmt.Errorf("%w: no %s is mapped", ErrBadMap, kind)
	}
	if len(extents) > maxExtents {
		return fmt.Errorf("%w: %d %s ranges, and the kernel takes %d", ErrBadMap, len(extents), kind, maxExtents)
	}
	if n := len(mapText(extents)); n >= maxMapText {
		return fmt.Errorf("%w: the %s map has %d bytes, and the kernel takes less than %d", ErrBadMap, kind, n, maxMapText)
	}
	for i, e := range extents {
		// The last id, 2^32-1, is no id: it is what chown takes for "leave it".
		if e.Size == 0 || uint64(e.ContainerID)+uint64(e.Size) > 1<<32-1 || uint64(e.HostID)+uint64(e.Size) > 1<<32-1 {
			return fmt.Errorf("%w: %s range %s is empty or goes past the last id", ErrBadMap, kind, extentText(e))
		}
		for _, f := range extents[:i] {
			if overlaps(e.ContainerID, f.ContainerID, e.Size, f.Size) {
				return fmt.Errorf("%w: %s ranges %s and %s overlap inside the container", ErrBadMap, kind, extentText(f), extentText(e))
			}
			if overlaps(e.HostID, f.HostID, e.Size, f.Size) {
				return fmt.Errorf("%w: %s ranges %s and %s overlap on the host", ErrBadMap, kind, extentText(f), extentText(e))
			}
		}
	}
	return nil
}

func overlaps(a, b, an, bn uint32) bool {
	return uint64(a) < uint64(b)+uint64(bn) && uint64(b) < uint64(a)+uint64(an)
}

func extentText(e specs.LinuxIDMapping) string {
	return fmt.Sprintf("%d:%d:%d", e.ContainerID, e.HostID, e.Size)
}

// mapText is the map as /proc/PID/uid_map takes it.
func mapText(extents []specs.LinuxIDMapping) string {
	var b strings.Builder
	for _, e := range extents {
		fmt.Fprintf(&b, "%d %d %d\n", e.ContainerID, e.HostID, e.Size)
	}
	return b.String()
}

// SingleMap is the map that needs no privilege: container 0 is this user and
// group.
func SingleMap(uid, gid uint32) Map { return Map{ownID(uid), ownID(gid)} }

// Single says that exactly one user and one group id are mapped.
func (m Map) Single() bool {
	return len(m.UIDs) == 1 && m.UIDs[0].Size == 1 && len(m.GIDs) == 1 && m.GIDs[0].Size == 1
}

// Class is a short stable name for the host ids that files of a layer get
// under this map; layers are unpacked once per class. A single-id map gives
// all files to the caller, whatever its id inside.
func (m Map) Class() string {
	if m.Single() {
		return fmt.Sprintf("single-%d-%d", m.UIDs[0].HostID, m.GIDs[0].HostID)
	}
	sum := sha256.Sum256([]byte(mapText(m.UIDs) + "\n" + mapText(m.GIDs)))
	return "m-" + hex.EncodeToString(sum[:8])
}

// HostUID is the caller's-side id of a user id in the container; false when
// it is not mapped.
func (m Map) HostUID(container uint32) (uint32, bool) { return outward(m.UIDs, container) }

// HostGID is HostUID for groups.
func (m Map) HostGID(container uint32) (uint32, bool) { return outward(m.GIDs, container) }

// ContainerUID is the id in the container of a user id on the caller's side;
// false when it is not mapped.
func (m Map) ContainerUID(host uint32) (uint32, bool) { return inward(m.UIDs, host) }

// ContainerGID is ContainerUID for groups.
func (m Map) ContainerGID(host uint32) (uint32, bool) { return inward(m.GIDs, host) }

func outward(extents []specs.LinuxIDMapping, id uint32) (uint32, bool) {
	for _, e := range extents {
		if id >= e.ContainerID && id-e.ContainerID < e.Size {
			return e.HostID + (id - e.ContainerID), true
		}
	}
	return 0, false
}

func inward(extents []specs.LinuxIDMapping, id uint32) (uint32, bool) {
	for _, e := range extents {
		if id >= e.HostID && id-e.HostID < e.Size {
			return e.ContainerID + (id - e.HostID), true
		}
	}
	return 0, false
}

// Direct says that the caller may write the map itself, without newuidmap
// and newgidmap: it holds CAP_SETUID and CAP_SETGID, or only its own ids are
// mapped (then setgroups is denied inside).
func (m Map) Direct(caller Identity) bool {
	return caller.SetID || ownOnly(m.UIDs, caller.UID) && ownOnly(m.GIDs, caller.GID)
}

func ownOnly(extents []specs.LinuxIDMapping, id uint32) bool {
	return len(extents) == 1 && extents[0].Size == 1 && extents[0].HostID == id
}

// NeedIDs refuses a map in which the given ids, the highest that an image
// uses, are not mapped. The error unwraps to ErrTooFewIDs and has a hint.
func NeedIDs(m Map, maxUID, maxGID uint32) error {
	for _, c := range []struct {
		kind, file string
		extents    []specs.LinuxIDMapping
		need       uint32
	}{{"user", "/etc/subuid", m.UIDs, maxUID}, {"group", "/etc/subgid", m.GIDs, maxGID}} {
		if _, ok := outward(c.extents, c.need); ok {
			continue
		}
		return &hintError{
			err:  fmt.Errorf("%w: the image needs %s id %d, and mapped are %s", ErrTooFewIDs, c.kind, c.need, insideText(c.extents)),
			hint: fmt.Sprintf("give yourself a longer range in %s: %d ids are needed", c.file, uint64(c.need)+1),
		}
	}
	return nil
}

// insideText names the container ids of a map: "0-65536", "0, 1000".
func insideText(extents []specs.LinuxIDMapping) string {
	ranges := make([]Range, 0, len(extents))
	for _, e := range extents {
		ranges = append(ranges, Range{e.ContainerID, e.Size})
	}
	return rangesText(joinRanges(ranges))
}

// Own is the map of the user namespace that this process is in: its ids, and those
// that the namespace above has for them.
func Own() (Map, error) {
	var m Map
	for name, to := range map[string]*[]specs.LinuxIDMapping{"/proc/self/uid_map": &m.UIDs, "/proc/self/gid_map": &m.GIDs} {
		text, err := os.ReadFile(name)
		if err == nil {
			*to, err = parseProcMap(string(text))
		}
		if err != nil {
			return Map{}, fmt.Errorf("read the ids of this user namespace: %w", err)
		}
	}
	return m, nil
}

// parseProcMap reads the text of /proc/PID/uid_map.
func parseProcMap(text string) ([]specs.LinuxIDMapping, error) {
	var extents []specs.LinuxIDMapping
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 {
			return nil, fmt.Errorf("%w: line %q", ErrBadMap, strings.TrimSpace(line))
		}
		var n [3]uint32
		for i := range n {
			v, err := strconv.ParseUint(f[i], 10, 32)
			if err != nil {
				return nil, fmt.Errorf("%w: line %q: %w", ErrBadMap, strings.TrimSpace(line), err)
			}
			n[i] = uint32(v)
		}
		extents = append(extents, specs.LinuxIDMapping{ContainerID: n[0], HostID: n[1], Size: n[2]})
	}
	return extents, nil
}

// hintError is an error together with what the user can type about it.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

// Hint is what to do about the error, for the line below it.
func (e *hintError) Hint() string { return e.hint }
