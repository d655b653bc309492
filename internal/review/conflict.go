package review

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"

	"coracle/images/layer"

	"golang.org/x/sys/unix"
)

// conflict says how the host's file has changed since the sandbox began. Two things
// tell it: the time of its inode's last change, which nobody can set, and what the host
// had when the sandbox ended. What the host removed while the sandbox ran shows as
// created: nothing tells that the host once had it.
func (c *scanner) conflict(path string, have, host file) string {
	was, known := c.wasPrint(path)
	switch {
	case host.there && host.mount != c.mount:
		return "another file system is mounted there"
	case !host.there && known:
		return "the host has removed it since"
	case !host.there:
		return ""
	case c.index != nil && !known:
		return "the host has made it since"
	case host.is(Directory) && !have.there && (!known || was.sameDirectory(host.print())):
		return "" // what is in it has been looked at
	case host.is(Directory) && known && !was.sameDirectory(host.print()):
		return "the host has changed it since"
	case host.is(Directory):
		return ""
	case known && was.changed(host.print()), (!known || host.links >= was.Links) && host.ctime() > c.since:
		return "the host has changed it since"
	}
	return ""
}

// elsewhere tells whether a file's content, or a directory's, lies where an attribute
// says. Sandboxes are mounted so that this is never made; it is not followed.
func elsewhere(fd int) bool {
	for _, name := range []string{"user.overlay.metacopy", "user.overlay.redirect"} {
		if _, err := unix.Fgetxattr(fd, name, nil); err == nil {
			return true
		}
	}
	return false
}

// userXattrs are the attributes that are compared and brought over.
func userXattrs(fd int) (map[string]string, error) {
	all, err := layer.Xattrs(fd)
	maps.DeleteFunc(all, func(name, _ string) bool { return !strings.HasPrefix(name, "user.") })
	return all, err
}

func otherAttrs(x, y int) (bool, error) {
	a, err := userXattrs(x)
	if err != nil {
		return false, err
	}
	b, err := userXattrs(y)
	return !maps.Equal(a, b), err
}

// leadsOut says why a link's target is not in the directory that the sandbox could
// change. It looks at the text alone: other links on the way are told for themselves.
func leadsOut(root, path, target string) string {
	to := target
	if !filepath.IsAbs(to) {
		to = filepath.Join(root, filepath.Dir(path), to)
	}
	rel, err := filepath.Rel(root, filepath.Clean(to))
	if err != nil || !filepath.IsLocal(rel) {
		return "it leads out of the directory"
	}
	return ""
}

// tally is what is in a tree of the host's.
type tally struct {
	files  int   // all but directories
	newest int64 // the last change of an inode
	name   string
	linked []uint64 // files that have other names, too: their inodes
	// ours says that an apply has changed an inode by taking another name of it away:
	// the time of its content tells then.
	ours func(inode uint64) bool
}

// survey counts what is in a directory that is to go, mount points being an error.
func survey(ctx context.Context, dir int, name string, ours func(uint64) bool) (tally, error) {
	t := tally{ours: ours}
	fd, err := beneath(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return t, err
	}
	defer unix.Close(fd)
	err = t.add(ctx, fd, ".", 0)
	return t, err
}

func (t *tally) add(ctx context.Context, fd int, path string, depth int) error {
	if depth > maxDepth {
		return errors.New("it lies too deep")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := layer.ListDir(fd)
	if err != nil {
		return err
	}
	self, err := look(fd, "")
	if err != nil {
		return err
	}
	for _, name := range names {
		f, err := look(fd, name)
		if err != nil {
			return err
		}
		if f.mount != self.mount {
			return fmt.Errorf("another file system is mounted at %s", join(path, name))
		}
		changed := f.ctime()
		if !f.is(Directory) && t.ours(f.st.Ino) {
			changed = f.mtime()
		}
		if changed > t.newest {
			t.newest, t.name = changed, join(path, name)
		}
		if !f.is(Directory) {
			if t.files++; f.links > 1 {
				t.linked = append(t.linked, f.st.Ino)
			}
			continue
		}
		sub, err := beneath(fd, name, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		err = t.add(ctx, sub, join(path, name), depth+1)
		unix.Close(sub)
		if err != nil {
			return err
		}
	}
	return nil
}
