package userns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Range is Count ids from Start on.
type Range struct{ Start, Count uint32 }

func (r Range) end() uint64 { return uint64(r.Start) + uint64(r.Count) }

func (r Range) String() string {
	if r.Count == 1 {
		return strconv.FormatUint(uint64(r.Start), 10)
	}
	return fmt.Sprintf("%d-%d", r.Start, r.end()-1)
}

func rangesText(ranges []Range) string {
	if len(ranges) == 0 {
		return "none"
	}
	texts := make([]string, len(ranges))
	for i, r := range ranges {
		texts[i] = r.String()
	}
	return strings.Join(texts, ", ")
}

// BadLine is a line of a subid file that is meant for the caller and says
// nothing usable.
type BadLine struct {
	File string
	Line int // from 1
	Why  string
}

func (b BadLine) String() string { return fmt.Sprintf("%s:%d: %s", b.File, b.Line, b.Why) }

// SubIDs are the subordinate ids of the caller, in the order in which they
// are written, without duplicates and overlaps: from /etc/subuid and
// /etc/subgid, by name and by number (subuid(5)), or from getsubids where
// /etc/nsswitch.conf hands them to a directory service. The two names, ""
// for the caller itself, are those of --subuidname and --subgidname.
// No range at all is no error.
func SubIDs(ctx context.Context, id Identity, subuidName, subgidName string) (uids, gids []Range, err error) {
	l, err := realSystem().subIDs(ctx, id, [2]string{subuidName, subgidName})
	return l.UIDs, l.GIDs, err
}

// subLookup is what was found, and the lines that were no use.
type subLookup struct {
	UIDs, GIDs []Range
	Bad        []BadLine
}

func (s system) subIDs(ctx context.Context, id Identity, names [2]string) (subLookup, error) {
	var l subLookup
	service := s.subIDService()
	for _, k := range []struct {
		file, name string
		group      bool
		ranges     *[]Range
	}{{"/etc/subuid", names[0], false, &l.UIDs}, {"/etc/subgid", names[1], true, &l.GIDs}} {
		owners := owners(id, k.name)
		if service {
			ranges, err := s.getsubids(ctx, owners[0], k.group)
			if err != nil {
				return l, err
			}
			*k.ranges = distinct(ranges)
		}
		if len(*k.ranges) > 0 {
			continue
		}
		data, err := s.read(k.file)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return l, fmt.Errorf("read subordinate ids: %w", err)
		}
		ranges, bad := parseSubIDs(k.file, string(data), owners)
		*k.ranges = distinct(ranges)
		l.Bad = append(l.Bad, bad...)
	}
	return l, nil
}

// owners are the first fields that mean this caller. newuidmap accepts both.
func owners(id Identity, name string) []string {
	if name != "" {
		return []string{name}
	}
	number := strconv.FormatUint(uint64(id.UID), 10)
	if id.Name == "" {
		return []string{number}
	}
	return []string{id.Name, number}
}

// subIDService says whether getsubids can know more than the files: shadow
// asks another source only when nsswitch.conf has a subid line that names
// one. Without such a line two processes per start would find nothing.
func (s system) subIDService() bool {
	data, err := s.read("/etc/nsswitch.conf")
	if err != nil {
		// Where vendors keep it (openSUSE).
		data, err = s.read("/usr/etc/nsswitch.conf")
	}
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "subid:")
		if !ok {
			continue
		}
		return slices.ContainsFunc(strings.Fields(rest), func(source string) bool {
			return source != "files" && !strings.HasPrefix(source, "[")
		})
	}
	return false
}

// getsubids asks shadow's own lookup program. One that is not installed, or
// knows nothing of this owner, gives no ranges.
func (s system) getsubids(ctx context.Context, owner string, group bool) ([]Range, error) {
	args := []string{owner}
	if group {
		args = []string{"-g", owner}
	}
	out, err := s.run(ctx, "getsubids", args...)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || exited(err, 1) {
			return nil, nil
		}
		return nil, fmt.Errorf("ask for subordinate ids: %w", err)
	}
	return parseGetsubids(string(out))
}

// parseGetsubids reads lines such as "0: ann 100000 65536".
func parseGetsubids(out string) ([]Range, error) {
	var ranges []Range
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) < 4 {
			return nil, fmt.Errorf("getsubids printed %q, not NUMBER: NAME START COUNT", strings.TrimSpace(line))
		}
		r, err := newRange(f[len(f)-2], f[len(f)-1])
		if err != nil {
			return nil, fmt.Errorf("getsubids printed %q: %w", strings.TrimSpace(line), err)
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}

// parseSubIDs reads subuid(5): OWNER:START:COUNT. Comments, blank lines and
// nonsense that belongs to others are passed over as shadow does; nonsense
// of ours comes back with its line number.
func parseSubIDs(file, data string, owners []string) (ranges []Range, bad []BadLine) {
	n := 0
	for line := range strings.Lines(data) {
		n++
		f := strings.Split(strings.TrimSpace(line), ":")
		if !slices.Contains(owners, f[0]) {
			continue
		}
		if len(f) != 3 {
			bad = append(bad, BadLine{file, n, "a line has the form NAME:START:COUNT"})
			continue
		}
		r, err := newRange(f[1], f[2])
		if err != nil {
			bad = append(bad, BadLine{file, n, err.Error()})
			continue
		}
		ranges = append(ranges, r)
	}
	return ranges, bad
}

// allSubIDs are the ranges of everybody in the files, to find free ones.
func (s system) allSubIDs() []Range {
	var all []Range
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		data, err := s.read(file)
		if err != nil {
			continue
		}
		for _, l := range subIDLines(string(data)) {
			all = append(all, l.Range)
		}
	}
	return all
}

// ownedRange is a line of a subid file.
type ownedRange struct {
	Owner string
	Range
}

// subIDLines are the well-formed lines of a subid file.
func subIDLines(data string) []ownedRange {
	var lines []ownedRange
	for line := range strings.Lines(data) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || f[0] == "" {
			continue
		}
		if r, err := newRange(f[1], f[2]); err == nil {
			lines = append(lines, ownedRange{f[0], r})
		}
	}
	return lines
}

func newRange(start, count string) (Range, error) {
	s, err := parseID(start)
	if err != nil {
		return Range{}, err
	}
	n, err := parseID(count)
	if err != nil {
		return Range{}, err
	}
	if n == 0 {
		return Range{}, fmt.Errorf("the range from %d on is empty", s)
	}
	if uint64(s)+uint64(n) > 1<<32-1 {
		return Range{}, fmt.Errorf("%d ids from %d on go past the last id", n, s)
	}
	return Range{s, n}, nil
}

func parseID(s string) (uint32, error) {
	v, err := strconv.ParseUint(s, 10, 32)
	if err != nil || v == 1<<32-1 {
		return 0, fmt.Errorf("%q is not an id", s)
	}
	return uint32(v), nil
}

// distinct keeps the order and drops from each range what an earlier one
// has: newuidmap accepts overlapping lines, the kernel no overlapping map.
func distinct(ranges []Range) []Range {
	var out []Range
	for _, r := range ranges {
		out = append(out, subtract([]Range{r}, out)...)
	}
	return out
}

// subtract returns what of each range is in none of the taken ones.
func subtract(ranges, taken []Range) []Range {
	for _, t := range taken {
		var rest []Range
		for _, r := range ranges {
			lo, hi := max(uint64(r.Start), uint64(t.Start)), min(r.end(), t.end())
			if lo >= hi {
				rest = append(rest, r)
				continue
			}
			if uint64(r.Start) < lo {
				rest = append(rest, Range{r.Start, uint32(lo - uint64(r.Start))})
			}
			if hi < r.end() {
				rest = append(rest, Range{uint32(hi), uint32(r.end() - hi)})
			}
		}
		ranges = rest
	}
	return ranges
}

// joinRanges sorts ranges and makes one of those that touch, for reading.
func joinRanges(ranges []Range) []Range {
	sorted := slices.SortedFunc(slices.Values(ranges), func(a, b Range) int { return cmp.Compare(a.Start, b.Start) })
	var out []Range
	for _, r := range sorted {
		if n := len(out); n > 0 && out[n-1].end() >= uint64(r.Start) {
			if r.end() > out[n-1].end() {
				out[n-1].Count = uint32(r.end() - uint64(out[n-1].Start))
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

func total(ranges []Range) uint64 {
	var n uint64
	for _, r := range ranges {
		n += uint64(r.Count)
	}
	return n
}
