package fuse

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Segment moves Count ids from From on to To on.
type Segment struct {
	From  uint32 `json:"from"`
	To    uint32 `json:"to"`
	Count uint32 `json:"count"`
}

// Translate says how files of a layer that was unpacked with the map base must
// be owned, in ids of base, for a container with the map target to see the
// owners that the image names: id x of the image is x in base; it must become
// the id whose host id is that of x in target. Ids that target lacks, or whose
// host id base lacks, are not in the answer; id 0 must be. Both maps must be
// valid: no overlaps.
func Translate(base, target []specs.LinuxIDMapping) ([]Segment, error) {
	var out []Segment
	for _, t := range target {
		for _, b := range base {
			lo := max(t.HostID, b.HostID)
			hi := min(uint64(t.HostID)+uint64(t.Size), uint64(b.HostID)+uint64(b.Size))
			if uint64(lo) >= hi {
				continue
			}
			out = append(out, Segment{
				From: t.ContainerID + (lo - t.HostID), To: b.ContainerID + (lo - b.HostID), Count: uint32(hi - uint64(lo)),
			})
		}
	}
	slices.SortFunc(out, func(a, b Segment) int { return cmp.Compare(a.From, b.From) })
	if len(out) == 0 || out[0].From != 0 {
		return nil, fmt.Errorf("%w: the map that the image was unpacked with does not reach root of the new map", ErrBadRequest)
	}
	return out, nil
}

// move translates one id. No segments at all leave every id as it is.
func move(s []Segment, id uint32) (uint32, bool) {
	if len(s) == 0 {
		return id, true
	}
	for _, g := range s {
		if id >= g.From && id-g.From < g.Count {
			return g.To + (id - g.From), true
		}
	}
	return 0, false
}

// ids are the two translations; an id without one belongs to root, as an id
// that no map reaches would belong to nobody.
type ids struct{ uids, gids []Segment }

func (i ids) uid(id uint32) uint32 { n, _ := moveOr(i.uids, id); return n }
func (i ids) gid(id uint32) uint32 { n, _ := moveOr(i.gids, id); return n }

func moveOr(s []Segment, id uint32) (uint32, bool) {
	if n, ok := move(s, id); ok {
		return n, true
	}
	n, _ := move(s, 0)
	return n, false
}

// Sizes and marks of security.capability, linux/capability.h.
const (
	capsV2Size   = 20
	capsV3Size   = 24
	capsRevision = 0xff000000
	capsV3       = 0x03000000
)

// moveCaps makes file capabilities those of the new root. The kernel honours
// them only in a namespace whose root is the one they name.
func (i ids) moveCaps(value []byte) []byte {
	if len(value) != capsV2Size && len(value) != capsV3Size {
		return value
	}
	root := uint32(0)
	if len(value) == capsV3Size {
		root = binary.LittleEndian.Uint32(value[capsV2Size:])
	}
	to := i.uid(root)
	if to == root {
		return value
	}
	magic := binary.LittleEndian.Uint32(value)&^uint32(capsRevision) | capsV3
	out := make([]byte, capsV3Size)
	copy(out, value[:capsV2Size])
	binary.LittleEndian.PutUint32(out, magic)
	binary.LittleEndian.PutUint32(out[capsV2Size:], to)
	return out
}

// Tags of entries that name an id, linux/posix_acl.h.
const (
	aclUser  = 0x02
	aclGroup = 0x08
)

// moveACL translates the ids in a POSIX ACL (linux/posix_acl_xattr.h: a
// version, then entries of tag, permissions and id).
func (i ids) moveACL(value []byte) []byte {
	const header, entry = 4, 8
	if len(value) < header || (len(value)-header)%entry != 0 {
		return value
	}
	out := slices.Clone(value)
	for p := header; p < len(out); p += entry {
		id := binary.LittleEndian.Uint32(out[p+4:])
		switch binary.LittleEndian.Uint16(out[p:]) {
		case aclUser:
			binary.LittleEndian.PutUint32(out[p+4:], i.uid(id))
		case aclGroup:
			binary.LittleEndian.PutUint32(out[p+4:], i.gid(id))
		}
	}
	return out
}

// owner is st's owner in the new tree.
func (i ids) owner(st *unix.Stat_t) (uid, gid int) { return int(i.uid(st.Uid)), int(i.gid(st.Gid)) }
