package userns

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

var errNoRoom = errors.New("somebody has these ids")

// defaultAutoSize is what podman's auto takes at least.
const defaultAutoSize = 1024

// auto picks ids for --userns auto. The ids of the caller's ranges are lined
// up as 0, 1, 2, …, one line for users and one for groups, and the first gap
// of the asked size is taken. In use is what stands in the id map of any
// running process, and what another launcher has locked: nothing is written
// down, so nothing can be left behind. Containers with the default map are
// not counted: they have all ids, and auto keeps containers apart that chose
// to be kept apart.
func auto(want wanted, src sources, base Map) (Map, io.Closer, error) {
	uids, gids := src.named.UIDs, src.named.GIDs
	if !src.root {
		uids, gids = hostRanges(base.UIDs[1:]), hostRanges(base.GIDs[1:])
	} else {
		uids, _ = usable(uids, src.own.UIDs, 0)
		gids, _ = usable(gids, src.own.GIDs, 0)
	}
	size := src.need
	if want.size > 0 {
		size = want.size
	}
	for _, k := range []struct {
		kind   string
		ranges []Range
	}{{"user", uids}, {"group", gids}} {
		if total(k.ranges) >= size {
			continue
		}
		err := fmt.Errorf("%w: --userns auto needs %d %s ids, and there are %d", ErrTooFewIDs, size, k.kind, total(k.ranges))
		if src.root {
			return Map{}, nil, &hintError{err, "echo containers:2147483647:2147483648 | sudo tee -a /etc/subuid /etc/subgid"}
		}
		return Map{}, nil, err
	}
	at, hold, err := src.pick("uid", uids, size)
	if err != nil {
		return Map{}, nil, err
	}
	// The same place in the groups' line: two containers that differ in
	// their users then differ in their groups.
	gat := min(at, total(gids)-size)
	return Map{stack(0, slice(uids, at, size)), stack(0, slice(gids, gat, size))}, hold, nil
}

func hostRanges(extents []specs.LinuxIDMapping) []Range {
	out := make([]Range, 0, len(extents))
	for _, e := range extents {
		out = append(out, Range{e.HostID, e.Size})
	}
	return out
}

// slice takes size ids from place at on of the lined-up ranges.
func slice(ranges []Range, at, size uint64) []Range {
	var out []Range
	for _, r := range ranges {
		n := uint64(r.Count)
		if at >= n {
			at -= n
			continue
		}
		take := min(n-at, size)
		if take > 0 {
			out = append(out, Range{uint32(uint64(r.Start) + at), uint32(take)})
		}
		at, size = 0, size-take
	}
	return out
}

// firstGap is the first place in the lined-up ranges from which size ids
// are free of the used ones.
func firstGap(space, used []Range, size uint64) (uint64, bool) {
	free := subtract(space, used)
	var run, place uint64
	for _, r := range space {
		next := uint64(r.Start)
		for _, f := range free {
			if uint64(f.Start) < uint64(r.Start) || f.end() > r.end() {
				continue
			}
			if uint64(f.Start) != next {
				run = 0
			}
			run += uint64(f.Count)
			next = f.end()
			if run >= size {
				end := place + f.end() - uint64(r.Start)
				return end - run, true
			}
		}
		if next != r.end() {
			run = 0
		}
		place += uint64(r.Count)
	}
	return 0, false
}

// pickAuto finds the first free place and locks it against other launchers.
func (s system) pickAuto(uid uint32, runRoot, kind string, space []Range, size uint64) (uint64, io.Closer, error) {
	used := s.idsInUse(kind+"_map", uid, total(space))
	lock, err := openAutoLock(uid, runRoot)
	if err != nil {
		// Only the short time between choice and map write is unguarded then.
		lock = nil
	}
	for {
		at, ok := firstGap(space, used, size)
		if !ok {
			closeFile(lock)
			return 0, nil, &hintError{
				fmt.Errorf("%w: --userns auto finds no %d ids that no other container uses", ErrTooFewIDs, size),
				"ask for fewer with --userns auto:size=N, or end a container",
			}
		}
		if lock == nil {
			return at, nil, nil
		}
		taken, err := lockRanges(lock, slice(space, at, size))
		if err == nil {
			return at, lock, nil
		}
		if !errors.Is(err, errNoRoom) {
			closeFile(lock)
			return 0, nil, fmt.Errorf("lock ids for --userns auto: %w", err)
		}
		used = append(used, taken)
	}
}

func closeFile(f *os.File) {
	if f != nil {
		_ = f.Close() // nothing was written
	}
}

// openAutoLock opens the empty file whose byte N stands for host id N.
func openAutoLock(uid uint32, runRoot string) (*os.File, error) {
	if runRoot == "" {
		if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
			runRoot = filepath.Join(dir, "coracle")
		} else {
			runRoot = "/tmp/coracle-" + strconv.FormatUint(uint64(uid), 10)
		}
	}
	if err := os.Mkdir(runRoot, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Lstat(runRoot, &st); err != nil {
		return nil, &os.PathError{Op: "lstat", Path: runRoot, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != uid {
		return nil, fmt.Errorf("%s is not a directory of user %d", runRoot, uid)
	}
	return os.OpenFile(filepath.Join(runRoot, "auto.lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
}

// lockRanges locks these bytes until the file is closed. Where somebody has
// one, the error is errNoRoom and taken what that somebody has.
func lockRanges(f *os.File, ranges []Range) (taken Range, err error) {
	for i, r := range ranges {
		fl := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(r.Start), Len: int64(r.Count)}
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &fl)
		if err == nil {
			continue
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return Range{}, err
		}
		taken, known := r, unix.Flock_t{Type: unix.F_WRLCK, Start: int64(r.Start), Len: int64(r.Count)}
		if unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &known) == nil && known.Type != unix.F_UNLCK && known.Len > 0 {
			taken = Range{uint32(known.Start), uint32(known.Len)}
		}
		for _, done := range ranges[:i] {
			un := unix.Flock_t{Type: unix.F_UNLCK, Start: int64(done.Start), Len: int64(done.Count)}
			if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &un); err != nil {
				return Range{}, err
			}
		}
		return taken, errNoRoom
	}
	return Range{}, nil
}

// idsInUse are the host ids in the maps of all running processes, except for
// maps that have the caller's own id or all ids there are.
func (s system) idsInUse(file string, caller uint32, all uint64) []Range {
	dir, err := os.Open(s.file("/proc"))
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // a half-read /proc still helps
	seen := map[string]bool{"": true}
	var used []Range
	for _, name := range names {
		if name == "" || name[0] < '0' || name[0] > '9' {
			continue
		}
		text := s.word("/proc/" + name + "/" + file)
		if seen[text] {
			continue
		}
		seen[text] = true
		extents, err := parseProcMap(text)
		if err != nil {
			continue
		}
		if _, ok := inward(extents, caller); ok || baseSize(extents) >= all {
			continue
		}
		used = append(used, hostRanges(extents)...)
	}
	return joinRanges(used)
}
