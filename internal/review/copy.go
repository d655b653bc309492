package review

import (
	"errors"
	"strings"

	"coracle/internal/plainfile"
	"coracle/internal/say"

	"golang.org/x/sys/unix"
)

// openInUpper opens a file of the sandbox's, whatever permissions it and the directories
// on the way have been given; done puts them back.
func openInUpper(root int, path string, f *file) (fd int, done func(), err error) {
	var undo []func()
	done = func() {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
	}
	at := root
	parts := strings.Split(path, "/")
	for i, part := range parts {
		next, flags := *f, listable
		if i < len(parts)-1 {
			if next, err = look(at, part); err == nil && !next.is(Directory) {
				err = unix.ENOTDIR
			}
		} else if !f.is(Directory) {
			flags = readable
		}
		var close func()
		if err == nil {
			at, close, err = openOwn(at, part, &next, flags)
		}
		if err != nil {
			done()
			return -1, nil, err
		}
		undo = append(undo, close)
	}
	return at, done, nil
}

// copyContent copies a file: as a clone where the file system can, else what is no hole.
func copyContent(dst, src int, size int64) error {
	if size == 0 || unix.IoctlFileClone(dst, src) == nil {
		return nil
	}
	if err := unix.Ftruncate(dst, size); err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for at := int64(0); at < size; {
		start, err := unix.Seek(src, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // a hole to the end
		}
		end := size
		if err != nil {
			start = at // not every file system knows its holes
		} else if end, err = unix.Seek(src, start, unix.SEEK_HOLE); err != nil {
			end = size
		}
		if err := copyRange(dst, src, start, min(end, size), buf); err != nil {
			return err
		}
		at = max(end, at+1)
	}
	return nil
}

func copyRange(dst, src int, at, end int64, buf []byte) error {
	for at < end {
		n, err := plainfile.Retry(func() (int, error) { return unix.Pread(src, buf[:min(int64(len(buf)), end-at)], at) })
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.New("the sandbox's file has become shorter")
		}
		for b := buf[:n]; len(b) > 0; {
			m, err := plainfile.Retry(func() (int, error) { return unix.Pwrite(dst, b, at) })
			if err != nil {
				return err
			}
			b, at = b[m:], at+int64(m)
		}
	}
	return nil
}

// attributes brings a file's user attributes over; all others stay behind: ACLs,
// capabilities and labels are the host's to give.
func (a *applier) attributes(dst, src int, ch Change) error {
	want, err := userXattrs(src)
	if err != nil {
		return err
	}
	have, err := userXattrs(dst)
	if err != nil {
		return err
	}
	for name := range have {
		if _, keep := want[name]; !keep {
			if err := unix.Fremovexattr(dst, name); err != nil {
				return err
			}
		}
	}
	for name, value := range want {
		if have[name] == value && value != "" {
			continue
		}
		err := unix.Fsetxattr(dst, name, []byte(value), 0)
		if errors.Is(err, unix.ENOTSUP) {
			a.note("%s: without its attribute %s, which the file system cannot have", ch.Path, name)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func times(f file) []unix.Timespec { return []unix.Timespec{f.st.Mtim, f.st.Mtim} }

func setTimes(fd int, f file) error {
	return unix.UtimesNanoAt(unix.AT_FDCWD, fdPath(fd), times(f), 0)
}

// quote makes a name fit for a message.
func quote(name string) string { return say.Visible(name) }
