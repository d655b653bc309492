package cgroupv2

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

// Layout is how a machine mounts its cgroups.
type Layout string

// The layouts, as systemd calls them.
const (
	Unified Layout = "unified" // version 2 alone, at /sys/fs/cgroup
	Hybrid  Layout = "hybrid"  // version 2 beside version 1 hierarchies
	Legacy  Layout = "legacy"  // version 1 only
	Absent  Layout = "absent"  // none
)

const defaultMount = "/sys/fs/cgroup"

// Tree is the cgroup v2 tree as this process sees it.
type Tree struct {
	Layout      Layout
	Mount       string   // where cgroup2 is mounted, "" without
	Root        string   // the cgroup that Mount shows, named as Own is: mostly "/"
	Own         string   // our cgroup, as our cgroup namespace names it: "/user.slice/…"
	OwnDir      string   // the directory of Own, "" where Mount does not show it
	ReadOnly    bool     // the mount is
	NSDelegate  bool     // namespaces are boundaries: from inside the topmost cgroup's limits cannot be written
	Controllers []string // that the root of the mount has, sorted
	Offered     []string // that OwnDir could give to its children, sorted
	V1          []string // controllers that version 1 hierarchies hold, sorted
	Place       string   // the directory where a container's cgroup can be made, "" for none
	Managed     bool     // systemd writes the tree, but for what it has delegated:
	Delegate    string   // the unit that we are in, "" for none of ours
}

// Detect looks at /proc/self/mountinfo, /proc/self/cgroup and the tree.
func Detect() (Tree, error) {
	mounts, err := plainfile.Read("/proc/self/mountinfo")
	if err != nil {
		return Tree{}, err
	}
	own, err := plainfile.Read("/proc/self/cgroup")
	if err != nil && !os.IsNotExist(err) { // a kernel without cgroups
		return Tree{}, err
	}
	t := parseTree(string(mounts), string(own), isCgroup2)
	if t.Mount == "" {
		return t, nil
	}
	t.managed()
	t.Controllers = sortedFields(readIn(t.Mount, "cgroup.controllers"))
	switch {
	case t.Delegate != "":
		t.Offered = sortedFields(readIn(t.Delegate, "cgroup.controllers"))
	case t.OwnDir != "":
		t.Offered = sortedFields(readIn(t.OwnDir, "cgroup.controllers"))
	}
	for _, dir := range t.parents() {
		if mayMake(dir) == nil {
			t.Place = dir
			break
		}
	}
	return t, nil
}

// parseTree reads the two files; visible tells whether a mount point is what
// its line says, for later mounts can cover it.
func parseTree(mountinfo, own string, visible func(string) bool) Tree {
	t := Tree{Layout: Absent}
	for line := range strings.Lines(own) {
		// hierarchy-ID:controller-list:cgroup-path
		id, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		names, path, ok := strings.Cut(rest, ":")
		switch {
		case !ok:
		case id == "0" && names == "":
			t.Own = path
		default:
			t.Layout = Legacy
			for name := range strings.SplitSeq(names, ",") {
				if !strings.HasPrefix(name, "name=") {
					t.V1 = append(t.V1, name)
				}
			}
		}
	}
	slices.Sort(t.V1)
	for line := range strings.Lines(mountinfo) {
		if !strings.Contains(line, " - cgroup2 ") {
			continue
		}
		// A later line of the same mount point is the mount on top.
		f := strings.Fields(line)
		if len(f) < 6 {
			continue
		}
		at := plainfile.UnescapeMount(f[4])
		if (t.Mount == defaultMount && at != defaultMount) || !visible(at) {
			continue
		}
		t.Mount, t.Root = at, plainfile.UnescapeMount(f[3])
		t.ReadOnly = slices.Contains(strings.Split(f[5], ","), "ro")
		t.NSDelegate = slices.Contains(strings.Split(f[len(f)-1], ","), "nsdelegate")
	}
	switch {
	case t.Mount == "":
		return t
	case t.Mount == defaultMount:
		t.Layout = Unified
	default:
		t.Layout = Hybrid
	}
	t.OwnDir = t.dirOf(t.Own)
	return t
}

// dirOf is the directory of a cgroup that is named as Own is, "" when the
// mount does not show it: outside of our cgroup namespace (/../x), outside of
// the mount's root, or removed.
func (t Tree) dirOf(cgroup string) string {
	if !strings.HasPrefix(cgroup, "/") || strings.HasPrefix(cgroup, "/..") || strings.HasSuffix(cgroup, " (deleted)") {
		return ""
	}
	if strings.HasPrefix(t.Root, "/..") {
		return "" // the names between are not known
	}
	rel, err := filepath.Rel(t.Root, cgroup)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return ""
	}
	return filepath.Join(t.Mount, rel)
}

// parents are the directories where a container's cgroup may go, best first.
// Beside us comes first: a cgroup with processes, as ours, cannot give
// controllers to its children. Then below us, then the places further up. All
// are ancestors of ours or ours, so that the kernel lets us move processes
// from here to there when cgroup.procs of that directory is writable. What
// systemd has not delegated is left out.
func (t Tree) parents() []string {
	if t.OwnDir == "" {
		return nil
	}
	if t.OwnDir == t.Mount {
		return []string{t.OwnDir}
	}
	up := filepath.Dir(t.OwnDir)
	dirs := []string{up, t.OwnDir}
	for up != t.Mount {
		up = filepath.Dir(up)
		dirs = append(dirs, up)
	}
	return slices.DeleteFunc(dirs, func(dir string) bool { return !t.ours(dir) })
}

// mayMake says whether we may make a cgroup in dir and move ourselves there.
func mayMake(dir string) error {
	if err := mayWrite(dir); err != nil {
		return err
	}
	return mayWrite(dir + "/cgroup.procs")
}

func mayWrite(path string) error {
	if err := unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("write to %s: %w", path, err)
	}
	return nil
}

func isCgroup2(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && int64(st.Type) == unix.CGROUP2_SUPER_MAGIC
}

// readIn reads a file of a cgroup by its directory's path, "" when it cannot.
func readIn(dir, name string) string {
	data, err := plainfile.Read(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(data))
}

func sortedFields(s string) []string {
	f := strings.Fields(s)
	slices.Sort(f)
	return f
}
