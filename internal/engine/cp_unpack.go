package engine

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"coracle/images/layer"
	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

// storeOptions say how a tar stream becomes files.
type storeOptions struct {
	Chown     bool // all belongs to UID and GID, else to whom the stream says
	UID, GID  int
	Overwrite bool // a directory may take the place of another file, and the other way round
	// Host: the stream may be hostile and the directory is the caller's: no link
	// is followed below it, owners stay the caller's, and nothing is set-id.
	Host bool
	// Through: the only file is written through the link that is in its place.
	Through bool
}

// unpacker makes files of a tar stream, at and below one directory.
type unpacker struct {
	o    storeOptions
	root int    // what nothing leads out of
	base string // the directory, from root on

	data      []byte
	parent    int // the last directory that something was made in, -1 for none
	parentDir string
	dirs      []madeDir
	notes     []string
	seen      int // entries of the archive,
	left      int // and those that cannot be made
	unmapped  bool
}

// madeDir is a directory that gets its mode and times when all in it is there.
type madeDir struct {
	name string
	mode uint32
	time time.Time
}

func newUnpacker(o storeOptions) *unpacker {
	return &unpacker{o: o, parent: -1, data: make([]byte, dataBuffer)}
}

func (u *unpacker) unpack(f io.Reader) error {
	in := bufio.NewReaderSize(f, packBuffer)
	defer u.forget()
	r := tar.NewReader(in)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil && u.seen == 0 {
			return fmt.Errorf("read the archive: it is no tar stream, or cut off: %w", err)
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		u.seen++
		if err := u.entry(h, r); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	if u.left > 0 && u.left == u.seen { // what was named itself: nothing was copied
		u.notes = nil
		return errors.New("a device cannot be copied: nobody can make one in a user namespace")
	}
	u.forget()
	for i := len(u.dirs) - 1; i >= 0; i-- {
		if err := u.finishDir(u.dirs[i]); err != nil {
			return fmt.Errorf("%s: %w", u.dirs[i].name, err)
		}
	}
	_, err := io.Copy(io.Discard, in) // who writes it is to get rid of all
	return err
}

func (u *unpacker) note(s string) {
	if len(u.notes) < 20 {
		u.notes = append(u.notes, s)
	}
}

// memberName is an entry's name below the directory, "." for that itself.
func memberName(name string) (string, error) {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", errors.New("the archive's name leads out of the directory")
		}
	}
	if strings.ContainsRune(name, 0) {
		return "", unix.EINVAL
	}
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		name = "."
	}
	return name, nil
}

func (u *unpacker) entry(h *tar.Header, r io.Reader) error {
	name, err := memberName(h.Name)
	if err != nil {
		return err
	}
	if name == "." { // the directory itself is there
		return nil
	}
	dir, base := path.Split(name)
	parent, err := u.dir(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.makeDir(parent, base, name, h)
	case tar.TypeReg, tar.TypeGNUSparse:
		return u.makeFile(parent, base, h, r)
	case tar.TypeLink:
		return u.makeLink(parent, base, h)
	case tar.TypeSymlink:
		err = u.place(parent, base, func() error { return unix.Symlinkat(h.Linkname, parent, base) })
	case tar.TypeFifo:
		// Its mode at once: chmod(2) by name would follow a link put there meanwhile.
		err = u.place(parent, base, func() error { return unix.Mknodat(parent, base, unix.S_IFIFO|u.mode(h)&0o777, 0) })
	case tar.TypeChar, tar.TypeBlock:
		u.left++
		u.note(h.Name + ": a device is left out: nobody can make one in a user namespace")
		return nil
	default:
		u.note(fmt.Sprintf("%s: an entry of the kind %q is left out", h.Name, h.Typeflag))
		return nil
	}
	if err != nil {
		return err
	}
	return u.finishAt(parent, base, h)
}

// dir opens a directory below the base, and makes it where it is missing. Links
// on the way are followed inside the container's root, and on the host not at all.
func (u *unpacker) dir(name string) (int, error) {
	if u.parent >= 0 && u.parentDir == name {
		return u.parent, nil
	}
	fd, err := u.openDir(name)
	if errors.Is(err, unix.ENOENT) && name != "" {
		up, base := path.Split(name)
		var parent int
		if parent, err = u.dir(strings.TrimSuffix(up, "/")); err != nil {
			return -1, err
		}
		if err = unix.Mkdirat(parent, base, 0o755); err != nil && err != unix.EEXIST {
			return -1, err
		}
		if u.o.Chown {
			_ = unix.Fchownat(parent, base, u.o.UID, u.o.GID, unix.AT_SYMLINK_NOFOLLOW)
		}
		fd, err = u.openDir(name)
	}
	if err != nil {
		return -1, err
	}
	u.forget()
	u.parent, u.parentDir = fd, name
	return fd, nil
}

func (u *unpacker) forget() {
	if u.parent >= 0 {
		unix.Close(u.parent)
		u.parent = -1
	}
}

func (u *unpacker) openDir(name string) (int, error) {
	if u.o.Host {
		return openat2(u.root, name, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
	}
	return openat2(u.root, path.Join(u.base, name), unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_IN_ROOT)
}

// place makes something at a name, in the place of what is there.
func (u *unpacker) place(parent int, base string, mk func() error) error {
	err := mk()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := u.clear(parent, base); err != nil {
		return err
	}
	return mk()
}

func (u *unpacker) clear(parent int, base string) error {
	err := unix.Unlinkat(parent, base, 0)
	if errors.Is(err, unix.EISDIR) {
		if !u.o.Overwrite {
			return errors.New("a directory is in its place (--overwrite replaces it)")
		}
		return layer.RemoveAll(parent, base)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func (u *unpacker) makeDir(parent int, base, name string, h *tar.Header) error {
	err := unix.Mkdirat(parent, base, 0o700)
	if errors.Is(err, unix.EEXIST) {
		if is, err := u.isDir(parent, base, name); err != nil || is {
			return err // one that is there stays as it is
		}
		if !u.o.Overwrite {
			return errors.New("another file is in the directory's place (--overwrite replaces it)")
		}
		if err = unix.Unlinkat(parent, base, 0); err == nil {
			err = unix.Mkdirat(parent, base, 0o700)
		}
	}
	if err != nil {
		return err
	}
	if err := u.owner(parent, base, h); err != nil {
		return err
	}
	u.dirs = append(u.dirs, madeDir{name, u.mode(h), h.ModTime})
	return nil
}

// isDir says whether a directory is there already. In a container a link to one
// is as good: /bin of many images.
func (u *unpacker) isDir(parent int, base, name string) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK && !u.o.Host {
		fd, err := u.openDir(name)
		if err != nil {
			return false, nil
		}
		unix.Close(fd)
		return true, nil
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

func (u *unpacker) makeFile(parent int, base string, h *tar.Header, r io.Reader) error {
	fd, err := u.create(parent, base)
	if err != nil {
		return err
	}
	err = u.fill(fd, r)
	if err == nil {
		err = u.owner(fd, "", h)
	}
	if err == nil {
		err = unix.Fchmod(fd, u.mode(h)) // after the owner, which clears set-id bits
	}
	if err == nil {
		err = setTimes(fd, "", h.ModTime, unix.AT_EMPTY_PATH)
	}
	return errors.Join(err, unix.Close(fd)) // some file systems say only here that they are full
}

// create makes an empty file in the place of what is there: what is open or
// executed meanwhile stays whole. A mount point cannot go, and is written to.
func (u *unpacker) create(parent int, base string) (fd int, err error) {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if u.o.Through {
		if fd, err = u.inPlace(parent, base); err == nil {
			return fd, nil
		}
	}
	err = u.place(parent, base, func() (err error) {
		fd, err = plainfile.Retry(func() (int, error) { return unix.Openat(parent, base, flags, 0o600) })
		return err
	})
	if errors.Is(err, unix.EBUSY) {
		return u.inPlace(parent, base)
	}
	return fd, err
}

// inPlace opens an existing file to be written anew.
func (u *unpacker) inPlace(parent int, base string) (int, error) {
	var fd int
	var err error
	if u.o.Through && !u.o.Host {
		fd, err = openInside(u.root, path.Join(u.base, base), true)
	} else {
		fd, err = openat(parent, base, unix.O_PATH|unix.O_NOFOLLOW)
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return -1, unix.EBUSY
	}
	return reopen(fd, unix.O_WRONLY|unix.O_TRUNC|unix.O_NONBLOCK)
}

func (u *unpacker) fill(fd int, r io.Reader) error {
	for {
		n, err := r.Read(u.data)
		for b := u.data[:n]; len(b) > 0; {
			m, werr := plainfile.Retry(func() (int, error) { return unix.Write(fd, b) })
			if werr != nil {
				return werr
			}
			b = b[m:]
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
	}
}

// makeLink links to what the stream has brought before, or to what is there, in
// the same directory.
func (u *unpacker) makeLink(parent int, base string, h *tar.Header) error {
	target, err := memberName(h.Linkname)
	if err != nil {
		return fmt.Errorf("hard link to %s: %w", h.Linkname, err)
	}
	dir, tbase := path.Split(target)
	from, err := u.openDir(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return fmt.Errorf("hard link to %s: %w", h.Linkname, err)
	}
	defer unix.Close(from)
	err = u.place(parent, base, func() error { return unix.Linkat(from, tbase, parent, base, 0) })
	if err != nil {
		return fmt.Errorf("hard link to %s: %w", h.Linkname, err)
	}
	return nil
}
