package spec

import (
	"io/fs"
	"path"
	"strings"

	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links the kernel follows in one path.
const maxLinks = 40

// manyNames of one directory are found out faster by a look at the directory.
const manyNames = 8

// list notes which names in a directory are no links, as far as the first few
// hundred say so.
func list(root, dir string, plain map[string]bool) {
	f, err := plainfile.Open(root+dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer f.Close()
	entries, _ := f.ReadDir(512)
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 {
			plain[strings.TrimSuffix(dir, "/")+"/"+e.Name()] = true
		}
	}
}

// insideOf resolves symbolic links below a directory as if it were the root
// (Extra.Resolve). The answer is a name to make, never to be trusted: who uses it
// walks it again inside the root. What cannot be read is taken as written.
func insideOf(root string) func(dest string) string {
	plain := make(map[string]bool) // no link, or not there: many mounts have few parents
	asked := make(map[string]int)  // how many names of a directory were looked at
	root = path.Clean(root)
	buf := make([]byte, unix.PathMax)
	return func(dest string) string {
		done, rest, links := "/", dest, 0
		for rest != "" {
			var name string
			name, rest, _ = strings.Cut(strings.TrimLeft(rest, "/"), "/")
			switch name {
			case "", ".":
				continue
			case "..": // never above "/"
				done = path.Dir(done)
				continue
			}
			next := strings.TrimSuffix(done, "/") + "/" + name
			if plain[next] {
				done = next
				continue
			}
			if asked[done]++; asked[done] == manyNames {
				list(root, done, plain)
				if plain[next] {
					done = next
					continue
				}
			}
			n, err := unix.Readlink(root+next, buf)
			if err != nil || n == len(buf) {
				plain[next], done = true, next
				continue
			}
			if links++; links > maxLinks {
				return dest
			}
			to := string(buf[:n])
			if path.IsAbs(to) {
				done = "/"
			}
			rest = to + "/" + rest
		}
		return done
	}
}
