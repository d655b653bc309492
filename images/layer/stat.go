package layer

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// XattrStat is the xattr that keeps a Stat.
const XattrStat = "user.coracle.stat"

// Stat is what an archive says of a file and what could not be given to it,
// because only one id is mapped: its owner, or that it is a device. It is
// written UID:GID:MODE[:MAJOR:MINOR], MODE being the octal st_mode with its
// file type. Regular files and directories have it in XattrStat, and only where
// their owner is another than their own; whatever cannot have user xattrs
// (symbolic links, fifos), and devices, which are not made at all, are in the
// file "stat" beside the layer's directory: "STAT NAME" ends with a NUL, a later
// record for a name replaces an earlier one, and a record whose file type is not
// that of the file is out of date.
type Stat struct {
	UID, GID     uint32
	Mode         uint32 // as in stat(2), with the file type
	Major, Minor uint32 // of devices
}

// String gives the form in which a Stat is kept.
func (s Stat) String() string {
	b := fmt.Sprintf("%d:%d:%07o", s.UID, s.GID, s.Mode)
	if t := s.Mode & unix.S_IFMT; t == unix.S_IFCHR || t == unix.S_IFBLK {
		b += fmt.Sprintf(":%d:%d", s.Major, s.Minor)
	}
	return b
}

// ParseStat reads what String wrote.
func ParseStat(text string) (Stat, error) {
	var s Stat
	parts := strings.Split(text, ":")
	into := []struct {
		v    *uint32
		base int
	}{{&s.UID, 10}, {&s.GID, 10}, {&s.Mode, 8}, {&s.Major, 10}, {&s.Minor, 10}}
	if len(parts) != 3 && len(parts) != 5 {
		return s, fmt.Errorf("read %s: %.60q is not UID:GID:MODE[:MAJOR:MINOR]", XattrStat, text)
	}
	for i, p := range parts {
		v, err := strconv.ParseUint(p, into[i].base, 32)
		if err != nil {
			return s, fmt.Errorf("read %s: %.60q is not UID:GID:MODE[:MAJOR:MINOR]", XattrStat, text)
		}
		*into[i].v = uint32(v)
	}
	return s, nil
}
