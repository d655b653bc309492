package review

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"coracle/images/layer"
	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

// BeginInMemory is Begin for one whose layers are on a tmpfs while it runs: nothing of it
// is on the disk before Carry, and nothing is left of one that is killed until then.
func BeginInMemory(root string, command []string, cwd string, dirs []string) (*Sandbox, error) {
	return planned(root, command, cwd, dirs)
}

// Carry brings the layers from the tmpfs, whose root is open as scratch and on which
// uppers names them, to UpperDir. It is for when nothing of the sandbox runs any more;
// End may follow. The record comes last: what a Carry that was killed has left is no
// sandbox, and goes with Sweep. Where it fails nothing is left. poor says that the
// store's file system takes no whiteouts (fuse.NoUpper).
func (s *Sandbox) Carry(ctx context.Context, scratch *os.File, uppers []string, poor bool) (err error) {
	defer func() {
		if err == nil {
			return
		}
		if s.lock != nil {
			_ = s.Discard()
		}
		err = fmt.Errorf("bring the sandbox's changes out of memory: %w", err)
	}()
	if err := s.make(); err != nil {
		return err
	}
	for i, upper := range uppers {
		if err := s.carryLayer(ctx, scratch, upper, i, poor); err != nil {
			return fmt.Errorf("%s: %w", s.Overlays[i].Path, err)
		}
	}
	return s.writeRecord()
}

func (s *Sandbox) carryLayer(ctx context.Context, scratch *os.File, upper string, i int, poor bool) error {
	src, err := openat(int(scratch.Fd()), upper, listable)
	if err != nil {
		return err
	}
	defer unix.Close(src)
	dst, err := openat(unix.AT_FDCWD, s.UpperDir(i), listable)
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	f, err := look(src, "")
	if err != nil {
		return err
	}
	c := carrier{ctx: ctx, poor: poor, root: dst, first: map[uint64]string{}, marks: marks{map[string]bool{}, map[string]bool{}}}
	if err := c.dir(src, dst, "."); err != nil {
		return err
	}
	if err := c.like(dst, src, ".", f); err != nil {
		return err
	}
	return s.writeMarks(i, c.marks)
}

// carrier copies one layer. What it copies from changes no more, and where it copies to
// is nobody else's; the content of both is a stranger's.
type carrier struct {
	ctx   context.Context // of one copy: the walk is recursive
	root  int
	first map[uint64]string // where a file with several names has its first one, by its inode
	marks marks             // what the file system does not take
	poor  bool              // it takes neither whiteouts nor an overlay's attributes, or for its own
}

func (c *carrier) dir(src, dst int, path string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	names, err := layer.ListDir(src)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.entry(src, dst, name, join(path, name)); err != nil {
			return fmt.Errorf("%s: %w", quote(name), err)
		}
	}
	return nil
}

func (c *carrier) entry(src, dst int, name, path string) error {
	f := file{there: true}
	if err := unix.Fstatat(src, name, &f.st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if f.st.Nlink > 1 && !f.is(Directory) {
		first, again := c.first[f.st.Ino]
		if !again {
			c.first[f.st.Ino] = path
		} else if err := unix.Linkat(c.root, first, dst, name, 0); err == nil || !errors.Is(err, unix.ENAMETOOLONG) && !errors.Is(err, unix.EMLINK) {
			if c.marks.whiteout[first] { // the kernel makes all of them names of one
				c.marks.whiteout[path] = true
			}
			return err
		}
	}
	switch f.st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return c.directory(src, dst, name, path, f)
	case unix.S_IFREG:
		return c.regular(src, dst, name, path, f)
	case unix.S_IFLNK:
		target, err := readlink(src, name)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(target, dst, name); err != nil {
			return err
		}
	default: // whiteouts, which whoever owns the directory may make; named pipes and sockets
		if err := c.special(src, dst, name, path, f); err != nil {
			return err
		}
		if err := unix.Fchmodat(dst, name, f.perm(), 0); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(dst, name, times(f), unix.AT_SYMLINK_NOFOLLOW)
}

func (c *carrier) special(src, dst int, name, path string, f file) error {
	whiteout := layer.IsWhiteout(src, name, &f.st)
	err := error(unix.EPERM)
	if !whiteout || !c.poor {
		err = unix.Mknodat(dst, name, f.st.Mode, int(f.st.Rdev))
	}
	if whiteout && notHeld(err) {
		c.marks.whiteout[path] = true
		err = unix.Mknodat(dst, name, unix.S_IFREG, 0)
	}
	return err
}

func (c *carrier) directory(src, dst int, name, path string, f file) error {
	if err := unix.Mkdirat(dst, name, 0o700); err != nil {
		return err
	}
	in, done, err := openOwn(src, name, &f, listable)
	if err != nil {
		return err
	}
	defer done()
	out, err := openat(dst, name, listable)
	if err != nil {
		return err
	}
	defer unix.Close(out)
	// What lies deeper no review looks at, see maxDepth.
	if strings.Count(path, "/") < maxDepth {
		if err := c.dir(in, out, path); err != nil {
			return err
		}
	}
	return c.like(out, in, path, f)
}

func (c *carrier) regular(src, dst int, name, path string, f file) error {
	in, done, err := openOwn(src, name, &f, readable)
	if err != nil {
		return err
	}
	defer done()
	out, err := plainfile.Retry(func() (int, error) {
		return unix.Openat(dst, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	})
	if err != nil {
		return err
	}
	defer unix.Close(out)
	if err := copyContent(out, in, f.st.Size); err != nil {
		return err
	}
	return c.like(out, in, path, f)
}

// like gives a copy the attributes, those of the overlay's own included, the mode and
// the time of what it was made from.
func (c *carrier) like(dst, src int, path string, f file) error {
	if err := c.allUserXattrs(dst, src, path); err != nil {
		return err
	}
	if err := unix.Fchmod(dst, f.perm()); err != nil {
		return err
	}
	return setTimes(dst, f)
}

// allUserXattrs copies them. Without some of the overlay's own the layer would be another
// one; of the rest a file system has what it can have.
func (c *carrier) allUserXattrs(dst, src int, path string) error {
	names := make([]byte, 64<<10) // as long as a list may be (xattr(7))
	n, err := unix.Flistxattr(src, names)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	value := make([]byte, 64<<10)
	for name := range bytes.SplitSeq(names[:n], []byte{0}) {
		name := string(name)
		if !strings.HasPrefix(name, "user.") {
			continue
		}
		m, err := unix.Fgetxattr(src, name, value)
		own := strings.HasPrefix(name, "user.overlay.")
		switch {
		case err != nil:
		case own && c.poor:
			err = unix.EPERM
		default:
			err = unix.Fsetxattr(dst, name, value[:m], 0)
		}
		switch {
		case err == nil, errors.Is(err, unix.ENOTSUP) && !own:
		case notHeld(err) && name == "user.overlay.opaque":
			c.marks.opaque[path] = true
		case notHeld(err) && slices.Contains([]string{"user.overlay.impure", "user.overlay.origin", "user.overlay.nlink", "user.overlay.uuid"}, name):
			// Of use only to an overlay that is mounted once more.
		default:
			return fmt.Errorf("its attribute %s: %w", quote(name), err)
		}
	}
	return nil
}
