package review

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"coracle/internal/say"
)

// shown is how many created and how many changed files a summary names. Deletions and
// what other programs run are never cut short.
const shown = 20

// Summary says in a few lines what a sandbox has changed, and what to type.
func Summary(w io.Writer, s *Sandbox, all []Change) {
	if len(all) == 0 {
		fmt.Fprintf(w, "sandbox %s: no changes\n", s.ID)
		return
	}
	for _, o := range s.Overlays {
		summarize(w, s.ID, o.Path, all)
	}
	id := s.ID
	fmt.Fprintf(w, "keep them: coracle apply %s; look: coracle review %s --diff; drop them: coracle discard %s\n", id, id, id)
}

func summarize(w io.Writer, id, root string, all []Change) {
	var own []Change
	counts := map[Kind]int{}
	for _, c := range all {
		if c.Root == root {
			own = append(own, c)
			counts[c.Kind]++
		}
	}
	if len(own) == 0 {
		return
	}
	var parts []string
	for _, k := range []Kind{Created, Changed, Deleted} {
		if counts[k] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[k], k))
		}
	}
	fmt.Fprintf(w, "sandbox %s: %s in %s\n", id, strings.Join(parts, ", "), say.Visible(root))
	left := map[Kind]int{Created: shown, Changed: shown}
	for _, c := range own {
		if c.Kind != Deleted && !c.Risky() && c.Conflict == "" && c.Refused == "" {
			if left[c.Kind]--; left[c.Kind] < 0 {
				continue
			}
		}
		fmt.Fprintln(w, " ", c.Line())
	}
	for _, k := range []Kind{Created, Changed} {
		if left[k] < 0 {
			fmt.Fprintf(w, "  … and %d more %s\n", -left[k], k)
		}
	}
}

// Line describes a change in one line that is harmless on a terminal.
func (c *Change) Line() string {
	sign := map[Kind]string{Created: "+", Changed: "~", Deleted: "-"}[c.Kind]
	name := say.Visible(c.Path)
	if c.side().Type == Directory {
		name += "/"
	}
	var notes []string
	if what := c.what(); what != "" {
		notes = append(notes, what)
	}
	for _, f := range c.Flags {
		notes = append(notes, f.Why)
	}
	if c.Refused != "" {
		notes = append(notes, "not brought over: "+say.Visible(c.Refused))
	}
	if c.Conflict != "" {
		notes = append(notes, "CONFLICT: "+say.Visible(c.Conflict))
	}
	if c.Risky() {
		sign += "!"
	} else {
		sign += " "
	}
	if len(notes) == 0 {
		return sign + " " + name
	}
	return sign + " " + name + "  (" + strings.Join(notes, "; ") + ")"
}

// side is the one that there is to be told of.
func (c *Change) side() *Side {
	if c.Now != nil {
		return c.Now
	}
	return c.Was
}

// what says what is special about a change.
func (c *Change) what() string {
	switch {
	case c.Kind == Deleted && c.Was.Type == Directory:
		return "with " + files(c.Files)
	case c.Kind == Deleted:
		return ""
	case c.Was != nil && c.Was.Type != c.Now.Type && c.Was.Type == Directory:
		return fmt.Sprintf("a %s in the place of a directory with %s", c.Now.Type, files(c.Files))
	case c.Was != nil && c.Was.Type != c.Now.Type:
		return fmt.Sprintf("a %s in the place of a %s", c.Now.Type, c.Was.Type)
	case c.Now.Type == Link:
		return "link to " + say.Visible(c.Now.Target)
	case c.Now.Type != File && c.Now.Type != Directory:
		return string(c.Now.Type)
	case c.Kind == Created && c.Now.Type == File && c.Now.Mode&0o111 != 0:
		return "executable"
	case c.Kind == Changed:
		return c.otherThan()
	}
	return ""
}

func (c *Change) otherThan() string {
	var parts []string
	if c.Content && c.Now.Type == File && c.Now.Size != c.Was.Size {
		parts = append(parts, fmt.Sprintf("%d to %d bytes", c.Was.Size, c.Now.Size))
	}
	if c.Now.Mode != c.Was.Mode {
		parts = append(parts, fmt.Sprintf("mode %04o to %04o", uint32(c.Was.Mode), uint32(c.Now.Mode)))
	}
	if c.Attrs {
		parts = append(parts, "attributes")
	}
	return strings.Join(parts, ", ")
}

func files(n int) string {
	if n == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}

// Full is the change's path on the host.
func (c *Change) Full() string { return filepath.Join(c.Root, c.Path) }
