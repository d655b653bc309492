package fuse

import (
	"bytes"
	"fmt"
	"path"
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
	var out []mountInfo
	for n, line := range bytes.Split(data, []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		m, err := parseMountLine(string(line))
		if err != nil {
			return nil, fmt.Errorf("read mountinfo: line %d: %w", n+1, err)
		}
		out = append(out, m)
	}
	return out, nil
}

func parseMountLine(line string) (mountInfo, error) {
	before, after, ok := strings.Cut(line, " - ")
	left, right := strings.Split(before, " "), strings.Split(after, " ")
	if !ok || len(left) < 6 || len(right) < 2 {
		return mountInfo{}, fmt.Errorf("%w: too few fields", ErrBadRequest)
	}
	id, err := strconv.Atoi(left[0])
	if err != nil {
		return mountInfo{}, fmt.Errorf("%w: mount id %q", ErrBadRequest, left[0])
	}
	parent, err := strconv.Atoi(left[1])
	if err != nil {
		return mountInfo{}, fmt.Errorf("%w: parent id %q", ErrBadRequest, left[1])
	}
	m := mountInfo{id: id, parent: parent, point: plainfile.UnescapeMount(left[4]), options: left[5], fstype: right[0]}
	if !strings.HasPrefix(m.point, "/") || path.Clean(m.point) != m.point {
		return mountInfo{}, fmt.Errorf("%w: mount point %q", ErrBadRequest, left[4])
	}
	if len(right) > 2 {
		m.super = right[2]
	}
	return m, nil
}

// mountTree is what of a mountinfo can be reached by path.
type mountTree struct {
	at     map[string]*mountInfo // visible mounts by mount point
	points []string              // their mount points, sorted
}

// visibleMounts drops what other mounts cover. A mount covers another one on
// the same mount point when it is the child of it, and with it all that hangs
// below that one.
func visibleMounts(all []mountInfo) mountTree {
	byID := map[int]bool{}
	for _, m := range all {
		byID[m.id] = true
	}
	children := map[int][]*mountInfo{}
	var roots []*mountInfo
	for i := range all {
		m := &all[i]
		if byID[m.parent] && m.parent != m.id {
			children[m.parent] = append(children[m.parent], m)
		} else {
			roots = append(roots, m)
		}
	}
	t := mountTree{at: map[string]*mountInfo{}}
	seen := map[int]bool{} // mountinfo is a tree, but it is read without a lock
	var visit func(m *mountInfo)
	visit = func(m *mountInfo) {
		if seen[m.id] {
			return
		}
		seen[m.id] = true
		var cover *mountInfo
		for _, c := range children[m.id] {
			if c.point == m.point {
				cover = c
			}
		}
		if cover != nil {
			visit(cover)
			return
		}
		t.at[m.point] = m
		for _, c := range children[m.id] {
			visit(c)
		}
	}
	for _, m := range roots {
		visit(m)
	}
	for p := range t.at {
		t.points = append(t.points, p)
	}
	sort.Strings(t.points)
	return t
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
