package fuse

import (
	"path"
	"sort"
	"strings"
)

// HostMounts is what of a mountinfo can be reached by path.
type HostMounts struct{ tree mountTree }

// ReadHostMounts reads /proc/self/mountinfo.
func ReadHostMounts(mountinfo []byte) (HostMounts, error) {
	all, err := parseMountinfo(mountinfo)
	if err != nil {
		return HostMounts{}, err
	}
	return HostMounts{visibleMounts(all)}, nil
}

// Below lists the mount points below dir, not dir itself.
func (h HostMounts) Below(dir string) []string {
	prefix := strings.TrimSuffix(dir, "/") + "/"
	points := h.tree.points
	from := sort.SearchStrings(points, prefix)
	to := from
	for to < len(points) && strings.HasPrefix(points[to], prefix) {
		to++
	}
	return points[from:to]
}

// Lower says whether the overlay takes the directory dir as a lower, as far as its
// file system goes, and which that is.
func (h HostMounts) Lower(dir string) (ok bool, fstype string) {
	for at := dir; ; at = path.Dir(at) {
		if m := h.tree.at[at]; m != nil {
			return lowerFS(m.fstype), m.fstype
		}
		if at == "/" || at == "." {
			return true, "unknown"
		}
	}
}
