package spec

import (
	"os"
	"path"
	"strings"
)

// maxLinks is how many symbolic links the kernel follows in one path.
const maxLinks = 40

// insideOf resolves symbolic links below a directory as if it were the root
// (Extra.Resolve). The answer is a name to make, never to be trusted: who uses it
// walks it again inside the root. What cannot be read is taken as written.
func insideOf(root string) func(dest string) string {
	return func(dest string) string {
		done, rest, links := "/", dest, 0
		for rest != "" {
			var name string
			name, rest, _ = strings.Cut(strings.TrimLeft(rest, "/"), "/")
			next := path.Join(done, name) // "..": never above "/"
			if name == "" || name == "." || name == ".." {
				done = next
				continue
			}
			to, err := os.Readlink(path.Join(root, next))
			if err != nil {
				done = next
				continue
			}
			if links++; links > maxLinks {
				return dest
			}
			if path.IsAbs(to) {
				done = "/"
			}
			rest = to + "/" + rest
		}
		return done
	}
}
