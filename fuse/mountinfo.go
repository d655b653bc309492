package fuse

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"

	"coracle/internal/plainfile"
)

// mountInfo is a line of /proc/PID/mountinfo (proc(5)), escapes taken out.
type mountInfo struct {
	id, parent int
	point      string // relative to the reader's root
	options    string // of the mount: "rw,nosuid"
	fstype     string
	super      string // options of the file system
}

// parseMountinfo reads the whole file; a line that it does not understand is
// an error, for a mount that is not known cannot be split off.
func parseMountinfo(data []byte) ([]mountInfo, error) {
	out := make([]mountInfo, 0, bytes.Count(data, []byte("\n"))+1)
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		if line = strings.TrimSuffix(line, "\n"); line == "" {
			continue
		}
		m, err := parseMountLine(line)
		if err != nil {
			return nil, fmt.Errorf("read mountinfo: line %d: %w", n, err)
		}
		out = append(out, m)
	}
	return out, nil
}

func parseMountLine(line string) (mountInfo, error) {
	const id, parent, point, options, fstype, super = 0, 1, 4, 5, 0, 2
	var left [options + 1]string
	var right [super + 1]string
	before, after, ok := strings.Cut(line, " - ")
	if n := words(before, left[:]); !ok || n < len(left) {
		return mountInfo{}, fmt.Errorf("%w: too few fields", ErrBadRequest)
	}
	if words(after, right[:]) < super {
		return mountInfo{}, fmt.Errorf("%w: too few fields", ErrBadRequest)
	}
	m := mountInfo{point: plainfile.UnescapeMount(left[point]), options: left[options], fstype: right[fstype], super: right[super]}
	var err error
	if m.id, err = strconv.Atoi(left[id]); err != nil {
		return mountInfo{}, fmt.Errorf("%w: mount id %q", ErrBadRequest, left[id])
	}
	if m.parent, err = strconv.Atoi(left[parent]); err != nil {
		return mountInfo{}, fmt.Errorf("%w: parent id %q", ErrBadRequest, left[parent])
	}
	if !strings.HasPrefix(m.point, "/") || path.Clean(m.point) != m.point {
		return mountInfo{}, fmt.Errorf("%w: mount point %q", ErrBadRequest, left[point])
	}
	return m, nil
}

// words puts the words of s, which single spaces part, into to, as many as it takes, and says how many.
func words(s string, to []string) int {
	more := true
	for i := range to {
		if !more {
			return i
		}
		to[i], s, more = strings.Cut(s, " ")
	}
	return len(to)
}

// mountTree is what of a mountinfo can be reached by path.
type mountTree struct {
	points []string     // mount points, sorted
	mounts []*mountInfo // what is visible at each
}

// at is the mount on a mount point, nil where there is none.
func (t mountTree) at(point string) *mountInfo {
	if i, ok := slices.BinarySearch(t.points, point); ok {
		return t.mounts[i]
	}
	return nil
}

// visibleMounts drops what other mounts cover. A mount covers another one on
// the same mount point when it is the child of it, and with it all that hangs
// below that one.
func visibleMounts(all []mountInfo) mountTree {
	v := visibility{all: all, byID: make([]int, len(all)), child: make([]int, len(all)), next: make([]int, len(all)), seen: make([]bool, len(all))}
	for i := range all {
		v.byID[i], v.child[i], v.next[i] = i, none, none
	}
	slices.SortStableFunc(v.byID, func(a, b int) int { return cmp.Compare(all[a].id, all[b].id) })
	v.visible = make([]*mountInfo, 0, len(all))
	var roots []int
	for i := range slices.Backward(all) {
		m := &all[i]
		if up := v.find(m.parent); up != none && m.parent != m.id {
			v.next[i], v.child[up] = v.child[up], i
		} else {
			roots = append(roots, i)
		}
	}
	for _, i := range slices.Backward(roots) {
		v.visit(i)
	}
	slices.SortStableFunc(v.visible, func(a, b *mountInfo) int { return cmp.Compare(a.point, b.point) })
	t := mountTree{points: make([]string, 0, len(v.visible)), mounts: make([]*mountInfo, 0, len(v.visible))}
	for i, m := range v.visible {
		if i+1 < len(v.visible) && v.visible[i+1].point == m.point {
			continue // the later one is on it
		}
		t.points, t.mounts = append(t.points, m.point), append(t.mounts, m)
	}
	return t
}

// visibility walks a mount tree by numbers, without a map: that of a launcher is walked in
// each start, and of a host with many containers there are thousands.
type visibility struct {
	all         []mountInfo
	byID        []int // indexes of all, in the order of their ids
	child, next []int // the first child of each, and the next one of the same parent
	seen        []bool
	visible     []*mountInfo
}

const none = -1

// find is the index of the first mount with an id.
func (v *visibility) find(id int) int {
	i, ok := slices.BinarySearchFunc(v.byID, id, func(at, id int) int { return cmp.Compare(v.all[at].id, id) })
	if !ok {
		return none
	}
	return v.byID[i]
}

func (v *visibility) visit(i int) {
	m := &v.all[i]
	self := v.find(m.id)
	if v.seen[self] { // mountinfo is a tree, but it is read without a lock
		return
	}
	v.seen[self] = true
	cover := none
	for c := v.child[self]; c != none; c = v.next[c] {
		if v.all[c].point == m.point {
			cover = c
		}
	}
	if cover != none {
		v.visit(cover)
		return
	}
	v.visible = append(v.visible, m)
	for c := v.child[self]; c != none; c = v.next[c] {
		v.visit(c)
	}
}

// below returns the next components of the mount points below dir, none when
// dir has no mounts below it.
func (t mountTree) below(dir string) []string {
	prefix := strings.TrimSuffix(dir, "/") + "/"
	var names []string
	for i := sort.SearchStrings(t.points, prefix); i < len(t.points) && strings.HasPrefix(t.points[i], prefix); i++ {
		name, _, _ := strings.Cut(t.points[i][len(prefix):], "/")
		if name != "" && (len(names) == 0 || names[len(names)-1] != name) {
			names = append(names, name)
		}
	}
	return names
}
