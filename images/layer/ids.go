package layer

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// ids are the ids of the process that unpacks: its own, and those it may give
// to files. They are read once, before the stage loses sight of /proc.
type ids struct {
	uid, gid   uint32
	uids, gids []idRange
	umask      bool // is not 0: modes given at creation do not hold
}

type idRange struct{ start, count uint32 }

func currentIDs() (ids, error) {
	i := ids{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}
	var err error
	if i.uids, err = readIDMap("/proc/self/uid_map"); err != nil {
		return i, err
	}
	if i.gids, err = readIDMap("/proc/self/gid_map"); err != nil {
		return i, err
	}
	status, err := os.ReadFile("/proc/self/status")
	i.umask = err != nil || !bytes.Contains(status, []byte("\nUmask:\t0000\n"))
	return i, nil
}

func readIDMap(name string) ([]idRange, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read id map: %w", err)
	}
	var rs []idRange
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("read id map %s: %q is not a line of it", name, line)
		}
		start, err1 := strconv.ParseUint(string(f[0]), 10, 32)
		count, err2 := strconv.ParseUint(string(f[2]), 10, 32)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("read id map %s: %q is not a line of it", name, line)
		}
		rs = append(rs, idRange{uint32(start), uint32(count)})
	}
	return rs, nil
}

func mapped(rs []idRange, id uint32) bool {
	for _, r := range rs {
		if id >= r.start && id-r.start < r.count {
			return true
		}
	}
	return false
}
