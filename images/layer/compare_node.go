package layer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// node is what stands at a name of a tree. The zero node is nothing.
type node struct {
	found
	base   string
	owner  Stat // who it belongs to, recorded or not, and its mode
	link   string
	device bool // one that could not be made, and is only recorded
}

func (n node) isDir() bool { return n.dir != nil }

func (n node) close() {
	if n.dir != nil {
		n.dir.close()
	}
}

// open gives a descriptor of a file or a directory, to be closed by the caller.
func (n node) open() (int, error) {
	if n.dir != nil {
		return openat(n.dir.fds[0], ".", openDir, 0)
	}
	return openat(n.dirfd, n.base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

func (n node) typ() uint32 { return n.owner.Mode & unix.S_IFMT }

// node looks a name up.
func (s *side) node(d *mergedDir, name string) (node, error) {
	f, err := d.child(name)
	if errors.Is(err, unix.ENOENT) {
		if stat, ok := s.device(d, name); ok {
			n := node{base: name, owner: stat, device: true}
			n.st.Mode, n.st.Nlink, n.st.Mtim = stat.Mode, 1, unix.Timespec{}
			return n, nil
		}
	}
	if err != nil {
		return node{}, err
	}
	n := node{found: f, base: name, owner: Stat{UID: f.st.Uid, GID: f.st.Gid, Mode: f.st.Mode}}
	if t := n.typ(); t == unix.S_IFCHR || t == unix.S_IFBLK {
		rdev := uint64(f.st.Rdev) //nolint:unconvert // another type on arm64
		n.owner.Major, n.owner.Minor = unix.Major(rdev), unix.Minor(rdev)
	}
	if n.typ() == unix.S_IFLNK {
		if n.link, err = readlinkat(f.dirfd, name); err != nil {
			return n, err
		}
	}
	if s.record != nil {
		err = s.recorded(&n, joinName(d.name, name))
	}
	return n, err
}

// recorded puts the owner that was meant in the place of the one that could be had.
func (s *side) recorded(n *node, name string) error {
	if stat, ok := s.record[n.layer][name]; ok && stat.Mode&unix.S_IFMT == n.typ() {
		n.owner.UID, n.owner.GID = stat.UID, stat.GID
		return nil
	}
	if t := n.typ(); t != unix.S_IFREG && t != unix.S_IFDIR {
		return nil
	}
	fd, err := n.open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var b [128]byte
	k, err := unix.Fgetxattr(fd, XattrStat, b[:])
	if err != nil {
		return nil //nolint:nilerr // it has none
	}
	if stat, err := ParseStat(string(b[:k])); err == nil && stat.Mode&unix.S_IFMT == n.typ() {
		n.owner.UID, n.owner.GID = stat.UID, stat.GID
	}
	return nil
}

// readStats reads the file "stat" beside a layer's directory (see Stat).
func readStats(dir int) (map[string]Stat, error) {
	out := map[string]Stat{}
	fd, err := openat(dir, "../"+statFile, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) {
		return out, nil // nothing is recorded, or it is a directory that is no layer
	}
	if err != nil {
		return nil, fmt.Errorf("open the record of owners: %w", err)
	}
	f := os.NewFile(uintptr(fd), statFile)
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 1<<30))
	if err != nil {
		return nil, fmt.Errorf("read the record of owners: %w", err)
	}
	for line := range bytes.SplitSeq(data, []byte{0}) {
		text, name, ok := strings.Cut(string(line), " ")
		if stat, err := ParseStat(text); ok && err == nil {
			out[name] = stat
		}
	}
	return out, nil
}

// device is what is recorded of a device that could not be made, if no layer above
// hides it.
func (s *side) device(d *mergedDir, name string) (Stat, bool) {
	if s.record == nil {
		return Stat{}, false
	}
	for i, fd := range d.fds {
		if isWhiteout(fd, name) || d.marked && d.layers[i] == 0 && hasMark(fd, name) {
			return Stat{}, false
		}
		stat, ok := s.record[d.layers[i]][joinName(d.name, name)]
		if t := stat.Mode & unix.S_IFMT; ok && (t == unix.S_IFCHR || t == unix.S_IFBLK) {
			return stat, true
		}
	}
	return Stat{}, false
}

// devicesIn are the names in a directory that devices have which could not be made.
func (s *side) devicesIn(d *mergedDir) []string {
	var out []string
	for _, l := range d.layers {
		if l >= len(s.record) {
			continue
		}
		for name, stat := range s.record[l] {
			t := stat.Mode & unix.S_IFMT
			if up, base := path.Split(name); (t == unix.S_IFCHR || t == unix.S_IFBLK) && path.Clean(up) == d.name {
				out = append(out, base)
			}
		}
	}
	return out
}

// same says whether two files are.
func (c *comparer) same(a, b node) (bool, error) {
	if a.owner != b.owner || a.link != b.link || a.device != b.device {
		return false, nil
	}
	if inodeOf(&a.st) == inodeOf(&b.st) && !a.device {
		return true, nil
	}
	if b.device {
		return true, nil
	}
	if a.st.Mtim != b.st.Mtim {
		return false, nil
	}
	switch a.typ() {
	case unix.S_IFREG:
		return c.sameFile(a, b)
	case unix.S_IFDIR:
		x, err := a.open()
		if err != nil {
			return false, err
		}
		defer unix.Close(x)
		y, err := b.open()
		if err != nil {
			return false, err
		}
		defer unix.Close(y)
		return sameXattrs(x, y)
	}
	return true, nil
}

func (c *comparer) sameFile(a, b node) (bool, error) {
	if a.st.Size != b.st.Size {
		return false, nil
	}
	if c.survey && b.st.Nlink < 2 {
		return true, nil // nobody asks
	}
	x, err := a.open()
	if err != nil {
		return false, err
	}
	defer unix.Close(x)
	y, err := b.open()
	if err != nil {
		return false, err
	}
	defer unix.Close(y)
	if same, err := sameXattrs(x, y); !same || err != nil {
		return false, err
	}
	if _, err := unix.Fgetxattr(x, "user.overlay.metacopy", nil); err == nil {
		return false, nil // its data is elsewhere; the upper's is whole, so that it was written to
	}
	return sameContent(x, y, a.st.Size)
}

func sameContent(x, y int, size int64) (bool, error) {
	bufs := [2][]byte{make([]byte, 128<<10), make([]byte, 128<<10)}
	for at := int64(0); at < size; {
		n := min(size-at, int64(len(bufs[0])))
		for i, fd := range [2]int{x, y} {
			if k, err := preadFull(fd, bufs[i][:n], at); err != nil || int64(k) < n {
				return false, err
			}
		}
		if !bytes.Equal(bufs[0][:n], bufs[1][:n]) {
			return false, nil
		}
		at += n
	}
	return true, nil
}

func preadFull(fd int, b []byte, at int64) (int, error) {
	n := 0
	for n < len(b) {
		k, err := unix.Pread(fd, b[n:], at+int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || k == 0 {
			return n, err
		}
		n += k
	}
	return n, nil
}

func sameXattrs(x, y int) (bool, error) {
	a, err := readXattrs(x)
	if err != nil {
		return false, err
	}
	b, err := readXattrs(y)
	if err != nil || len(a) != len(b) {
		return false, err
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || w != v {
			return false, nil
		}
	}
	return true, nil
}

// readXattrs reads the attributes that belong into an archive.
func readXattrs(fd int) (map[string]string, error) {
	var small [1024]byte
	list := small[:]
	n, err := unix.Flistxattr(fd, list)
	if errors.Is(err, unix.ERANGE) {
		list = make([]byte, 64<<10) // XATTR_LIST_MAX
		n, err = unix.Flistxattr(fd, list)
	}
	if errors.Is(err, unix.ENOTSUP) || err == nil && n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list attributes: %w", err)
	}
	var out map[string]string
	for key := range strings.SplitSeq(strings.TrimRight(string(list[:n]), "\x00"), "\x00") {
		if forbiddenXattr(key) != "" {
			continue
		}
		value := make([]byte, 64<<10) // XATTR_SIZE_MAX
		k, err := unix.Fgetxattr(fd, key, value)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the attribute %s: %w", quote(key), err)
		}
		if out == nil {
			out = map[string]string{}
		}
		out[key] = string(value[:k])
	}
	return out, nil
}

// CopyRecord writes into the directory the file "stat" (see Stat) of a tree that was
// made of layers: what attributes of the files themselves do not say.
func CopyRecord(t Tree, into int) error {
	s, err := openSide(t)
	if err != nil {
		return err
	}
	defer s.forget()
	w := notes{dirfd: into, name: statFile}
	for i, records := range s.record {
		for _, name := range slices.Sorted(maps.Keys(records)) {
			up, base := splitName(name)
			d, err := s.dir(up)
			if err != nil {
				continue // a layer above has something else there
			}
			n, err := s.node(d, base)
			if err != nil || n.layer != i && !n.device {
				n.close()
				continue
			}
			if stat := records[name]; stat.Mode&unix.S_IFMT == n.typ() && stat.UID == n.owner.UID && stat.GID == n.owner.GID {
				if err := w.add(stat.String() + " " + name); err != nil {
					return errors.Join(err, w.close())
				}
			}
			n.close()
		}
	}
	return w.close()
}
