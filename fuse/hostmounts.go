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
// file system goes, without having to ask a server; and which that is.
func (h HostMounts) Lower(dir string) (ok bool, fstype string) {
	fstype = h.fstype(dir)
	return lowerFS(fstype), fstype
}

// MayBeLower is Lower for a directory that somebody has chosen: a network file system or
// one in user space may answer slowly, and the kernel may refuse it when it is mounted.
func (h HostMounts) MayBeLower(dir string) (ok bool, fstype string) {
	fstype = h.fstype(dir)
	return !kernelFS(fstype) && !ignoresCase(fstype), fstype
}

func (h HostMounts) fstype(dir string) string {
	for at := dir; ; at = path.Dir(at) {
		if m := h.tree.at(at); m != nil {
			return m.fstype
		}
		if at == "/" || at == "." {
			return "unknown"
		}
	}
}
