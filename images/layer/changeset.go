package layer

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ChangesetOptions say how changes become an archive.
type ChangesetOptions struct {
	Leave
	// Time, if set, is that of all files; with Clamp only of those that are younger.
	Time  *time.Time
	Clamp bool
	// Whole: an entry for the root itself, whose mode and owner count.
	Whole bool
}

// ChangesetResult says what an archive has.
type ChangesetResult struct {
	Entries int64
	Notes   []string // what was left out, and why: the first of them
}

// WriteChangeset writes what is in one tree and not in another as a layer
// (image-spec layer.md#change-types): what was added or changed, with the
// directories that it is in, and a whiteout for each name that is gone. The same
// trees give the same bytes. Holes are written as zeros: image-spec wants no
// sparse entries.
func WriteChangeset(ctx context.Context, w io.Writer, was, is Tree, o ChangesetOptions) (ChangesetResult, error) {
	for i, p := range o.Trees {
		o.Trees[i] = clean(p)
	}
	for i, p := range o.Alone {
		o.Alone[i] = clean(p)
	}
	links := map[[2]uint64]bool{}
	survey := &comparer{ctx: ctx, leave: o.Leave, links: links, survey: true}
	if err := survey.run(was, is); err != nil {
		return ChangesetResult{}, err
	}
	cw := &changesetWriter{o: o, w: bufio.NewWriterSize(w, 256<<10), data: make([]byte, 256<<10), names: map[[2]uint64]string{}}
	if err := cw.root(was, is); err != nil {
		return cw.res, err
	}
	c := &comparer{ctx: ctx, leave: o.Leave, links: links, each: cw.change}
	if err := c.run(was, is); err != nil {
		return cw.res, err
	}
	_, err := cw.w.Write(make([]byte, 2*blockSize))
	return cw.res, errors.Join(err, cw.w.Flush())
}

// changesetWriter writes entries by hand: archive/tar makes the headers, and the data
// goes past it in large pieces.
type changesetWriter struct {
	o     ChangesetOptions
	w     *bufio.Writer
	head  bytes.Buffer
	data  []byte
	names map[[2]uint64]string // of files with several, that are in the archive
	res   ChangesetResult
}

func (w *changesetWriter) note(format string, args ...any) {
	if len(w.res.Notes) < maxSkips {
		w.res.Notes = append(w.res.Notes, fmt.Sprintf(format, args...))
	}
}

// root writes the entry of the root where its mode, owner or attributes are new. Its
// time alone is no change: every container's upper directory has one of its own.
func (w *changesetWriter) root(was, is Tree) error {
	if len(is.Layers) == 0 {
		return nil
	}
	n, err := rootNode(is)
	if err != nil {
		return err
	}
	defer n.close()
	if !w.o.Whole && len(was.Layers) > 0 {
		o, err := rootNode(was)
		if err != nil {
			return err
		}
		defer o.close()
		same, err := sameXattrs(o.dir.fds[0], n.dir.fds[0])
		if err != nil || same && o.owner == n.owner {
			return err
		}
	}
	return w.entry(n, ".")
}

func rootNode(t Tree) (node, error) {
	s, err := openSide(t)
	if err != nil {
		return node{}, err
	}
	d, err := s.root()
	if err != nil {
		return node{}, err
	}
	n := node{found: found{dir: d}, base: "."}
	if err := unix.Fstat(d.fds[0], &n.st); err != nil {
		n.close()
		return n, err
	}
	n.owner = Stat{UID: n.st.Uid, GID: n.st.Gid, Mode: n.st.Mode}
	if s.record != nil {
		err = s.recorded(&n, ".")
	}
	return n, err
}

func (w *changesetWriter) change(c Change) error {
	up, base := path.Split(c.Path)
	if strings.HasPrefix(base, whiteoutPrefix) {
		w.note("/%s: a layer cannot have a file of that name, which would delete another", c.Path)
		return nil
	}
	if strings.Contains("/"+up, "/"+whiteoutPrefix) {
		return nil // its directory was left out
	}
	var err error
	if c.Kind == Deleted {
		err = w.header(&tar.Header{Typeflag: tar.TypeReg, Name: up + whiteoutPrefix + base, ModTime: w.time(unix.Timespec{}), Format: tar.FormatPAX})
	} else {
		err = w.entry(c.file, c.Path)
	}
	if err != nil {
		return fmt.Errorf("pack /%s: %w", c.Path, err)
	}
	return nil
}

func (w *changesetWriter) time(t unix.Timespec) time.Time {
	at := time.Unix(t.Unix())
	if w.o.Time != nil && (!w.o.Clamp || at.After(*w.o.Time)) {
		return *w.o.Time
	}
	return at
}

// entry writes what stands at a name.
func (w *changesetWriter) entry(n node, name string) error {
	h := &tar.Header{Name: name, Mode: int64(n.owner.Mode & 0o7777), Uid: int(n.owner.UID), Gid: int(n.owner.GID),
		ModTime: w.time(n.st.Mtim), Linkname: n.link, Format: tar.FormatPAX}
	switch n.typ() {
	case unix.S_IFREG:
		h.Typeflag = tar.TypeReg
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case unix.S_IFLNK:
		h.Typeflag, h.Mode = tar.TypeSymlink, 0o777
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(n.owner.Major), int64(n.owner.Minor)
		if n.typ() == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
	default:
		w.note("/%s: a socket is left out", name)
		return nil
	}
	if n.st.Nlink > 1 && !n.isDir() {
		if first, ok := w.names[inodeOf(&n.st)]; ok {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return w.header(h)
		}
		w.names[inodeOf(&n.st)] = name
	}
	if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeDir {
		return w.header(h)
	}
	return w.content(n, h)
}

// content writes what can be opened.
func (w *changesetWriter) content(n node, h *tar.Header) error {
	fd, err := n.open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	attrs, err := readXattrs(fd)
	if err != nil {
		return err
	}
	for k, v := range attrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+k] = v
	}
	if h.Typeflag == tar.TypeDir {
		return w.header(h)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("it became something else while it was read")
	}
	h.Size = st.Size
	if err := w.header(h); err != nil {
		return err
	}
	return w.copy(fd, st.Size)
}

func (w *changesetWriter) copy(fd int, size int64) error {
	for at := int64(0); at < size; {
		n := min(size-at, int64(len(w.data)))
		start, err := unix.Seek(fd, at, unix.SEEK_DATA)
		hole := int64(0)
		switch {
		case errors.Is(err, unix.ENXIO):
			hole = size - at
		case err == nil && start > at:
			hole = min(start, size) - at
		}
		if hole > 0 {
			if err := w.zeros(hole); err != nil {
				return err
			}
			at += hole
			continue
		}
		k, err := preadFull(fd, w.data[:n], at)
		if err != nil {
			return err
		}
		if int64(k) < n {
			return errors.New("it became shorter while it was read")
		}
		if _, err := w.w.Write(w.data[:n]); err != nil {
			return err
		}
		at += n
	}
	return w.zeros(-size & (blockSize - 1))
}

func (w *changesetWriter) zeros(n int64) error {
	var none [8192]byte
	for n > 0 {
		k := min(n, int64(len(none)))
		if _, err := w.w.Write(none[:k]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// header writes an entry's head. A Writer of its own for each: it would want the
// data as well.
func (w *changesetWriter) header(h *tar.Header) error {
	w.head.Reset()
	if err := tar.NewWriter(&w.head).WriteHeader(h); err != nil {
		return err
	}
	w.res.Entries++
	_, err := w.w.Write(w.head.Bytes())
	return err
}
