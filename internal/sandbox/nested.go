package sandbox

import (
	"path"
	"slices"

	"coracle/fuse"

	"golang.org/x/sys/unix"
)

// How far below a writable directory repositories are looked for: deep enough for
// those that people have, and bounded, for a directory can be a whole disk.
const (
	nestedDepth   = 4
	nestedDirs    = 256
	nestedEntries = 4096
)

// repositories are the directories below dir in which git looks for its configuration,
// those of submodules, linked worktrees and bare ones included, and the files and links that lead it to one
// elsewhere, as paths relative to dir. The .git in dir itself is in executedLater, if it is
// a directory.
func repositories(host Host, dir string) (dirs, pointers []string) {
	type place struct {
		name  string // relative
		depth int
	}
	queue := []place{{"", 0}}
	for n := 0; n < len(queue) && n < nestedDirs; n++ {
		at := queue[n]
		entries, err := host.ReadDir(path.Join(dir, at.name), nestedEntries)
		if err != nil {
			continue
		}
		if isBare(entries) { // a submodule's, too
			dirs = append(dirs, at.name)
			entries = slices.DeleteFunc(entries, func(e fuse.HostEntry) bool { return e.Name != "modules" })
		}
		for _, e := range entries {
			name := path.Join(at.name, e.Name)
			switch {
			case e.Name == ".git" && (e.Type == unix.S_IFREG || e.Type == unix.S_IFLNK):
				pointers = append(pointers, name)
			case e.Type != unix.S_IFDIR || e.Name == "node_modules":
			case e.Name == ".git":
				if at.name != "" {
					dirs = append(dirs, name)
				}
				worktrees, _ := host.ReadDir(path.Join(dir, name, "worktrees"), nestedEntries)
				for _, w := range worktrees {
					dirs = append(dirs, path.Join(name, "worktrees", w.Name))
				}
				queue = append(queue, place{path.Join(name, "modules"), at.depth + 1})
			case at.depth < nestedDepth:
				queue = append(queue, place{name, at.depth + 1})
			}
		}
	}
	return dirs, pointers
}

// isBare knows a repository without a working tree by what git knows it by.
func isBare(entries []fuse.HostEntry) bool {
	has := func(name string, kind uint32) bool {
		return slices.ContainsFunc(entries, func(e fuse.HostEntry) bool { return e.Name == name && e.Type == kind })
	}
	return has("HEAD", unix.S_IFREG) && has("objects", unix.S_IFDIR) && has("refs", unix.S_IFDIR)
}

// obeyed are what git runs or obeys in a repository's directory.
func obeyed() []string {
	return []string{"hooks", "config", "config.worktree", "commondir", "info/attributes"}
}
