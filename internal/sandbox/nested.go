package sandbox

import (
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// How far below a writable directory repositories are looked for: deep enough for
// those that people have, and bounded, for a directory can be a whole disk.
const (
	nestedDepth   = 4
	nestedDirs    = 256
	nestedEntries = 4096
)

// nestedRepositories are what git runs or obeys in repositories below dir, submodules
// included, as paths relative to it; the one in dir itself is in executedLater.
func (p *planner) nestedRepositories(dir string) []string {
	type place struct {
		name  string // relative
		depth int
	}
	var out []string
	git := func(repo string) {
		for _, name := range []string{"hooks", "config", "info/attributes"} {
			out = append(out, path.Join(repo, name))
		}
	}
	queue := []place{{"", 0}}
	for n := 0; n < len(queue) && n < nestedDirs; n++ {
		at := queue[n]
		entries, err := p.host.ReadDir(path.Join(dir, at.name), nestedEntries)
		if err != nil {
			continue
		}
		for _, e := range entries {
			name := path.Join(at.name, e.Name)
			switch {
			case e.Type != unix.S_IFDIR || e.Name == "node_modules":
			case e.Name == ".git":
				if at.name != "" {
					git(name)
				}
				modules, _ := p.host.ReadDir(path.Join(dir, name, "modules"), nestedEntries)
				for _, m := range modules {
					git(path.Join(name, "modules", m.Name))
				}
			case at.depth < nestedDepth:
				queue = append(queue, place{name, at.depth + 1})
			}
		}
	}
	return slices.DeleteFunc(out, func(name string) bool {
		_, err := p.host.Stat(path.Join(dir, name))
		return err != nil
	})
}
