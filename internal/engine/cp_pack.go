package engine

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

// packOptions say how a tree becomes a tar stream.
type packOptions struct {
	As     string // the first entry's name; "." for a directory's content
	Follow bool   // what the path itself names, if that is a link
	Whole  bool   // a root: with extended attributes and an entry of its own
}

// packer writes trees as tar, by descriptors: whatever somebody puts in the
// place of something meanwhile, no link is followed.
type packer struct {
	o     packOptions
	w     *bufio.Writer
	head  bytes.Buffer
	data  []byte
	links map[inode]string // names of files that have several
	notes []string
}

type inode struct{ dev, ino uint64 }

const (
	packBuffer = 256 << 10
	dataBuffer = 1 << 20
)

func newPacker(w io.Writer, o packOptions) *packer {
	return &packer{o: o, w: bufio.NewWriterSize(w, packBuffer), data: make([]byte, dataBuffer), links: make(map[inode]string)}
}

// pack writes what is at a path below root.
func (p *packer) pack(root int, name string) error {
	fd, err := openInside(root, name, p.o.Follow)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer unix.Close(fd)
	return p.packFD(fd)
}

// packFD writes what a descriptor (O_PATH) is of, and the stream's end.
func (p *packer) packFD(fd int) error {
	if err := p.entry(fd, p.o.As, 0); err != nil {
		return err
	}
	if _, err := p.w.Write(make([]byte, 1024)); err != nil {
		return err
	}
	return p.w.Flush()
}

func (p *packer) entry(fd int, name string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	h := &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid), Format: tar.FormatPAX,
		ModTime: time.Unix(st.Mtim.Unix()),
	}
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		id := inode{st.Dev, st.Ino} //nolint:unconvert // Dev is not of one type everywhere
		if first, seen := p.links[id]; seen {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return p.header(h)
		}
		p.links[id] = name
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return p.directory(fd, h, depth)
	case unix.S_IFREG:
		return p.file(fd, h, st.Size)
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = readlinkOf(fd); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	default:
		p.note(name + ": a socket is left out")
		return nil
	}
	return p.header(h)
}

func (p *packer) note(s string) {
	if len(p.notes) < 20 {
		p.notes = append(p.notes, s)
	}
}

// header writes an entry's head. A Writer of its own for each: it would want the
// data as well, which goes past it in large pieces.
func (p *packer) header(h *tar.Header) error {
	p.head.Reset()
	if err := tar.NewWriter(&p.head).WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	_, err := p.w.Write(p.head.Bytes())
	return err
}

func (p *packer) directory(fd int, h *tar.Header, depth int) error {
	prefix := h.Name + "/"
	if depth == 0 && h.Name == "." {
		prefix = ""
	}
	if depth > 0 || prefix != "" || p.o.Whole {
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		p.attributes(fd, h)
		if err := p.header(h); err != nil {
			return err
		}
	}
	if depth > 0 && pseudo(fd) {
		return nil
	}
	names, err := namesIn(fd)
	if err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	for _, name := range names {
		child, err := openat(fd, name, unix.O_PATH|unix.O_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			continue // gone meanwhile
		}
		if err != nil {
			return fmt.Errorf("%s%s: %w", prefix, name, err)
		}
		err = p.entry(child, prefix+name, depth+1)
		unix.Close(child)
		if err != nil {
			return err
		}
	}
	return nil
}

// pseudo says whether a directory is of a file system that holds nobody's files.
func pseudo(fd int) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return false
	}
	switch uint32(st.Type) {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEVPTS_SUPER_MAGIC, 0x19800202: // mqueue
		return true
	}
	return false
}

// file writes a file as large as it was when it was looked at.
func (p *packer) file(fd int, h *tar.Header, size int64) error {
	in, err := reopen(fd, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	defer unix.Close(in)
	h.Typeflag, h.Size = tar.TypeReg, size
	p.attributes(fd, h)
	if err := p.header(h); err != nil {
		return err
	}
	if size >= packBuffer {
		if err := p.w.Flush(); err != nil {
			return err
		}
	}
	for left := size; left > 0; {
		b := p.data[:min(left, dataBuffer)]
		n, err := plainfile.Retry(func() (int, error) { return unix.Read(in, b) })
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		if n == 0 {
			return fmt.Errorf("%s: it became shorter while it was read", h.Name)
		}
		if _, err := p.w.Write(b[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	_, err = p.w.Write(make([]byte, (512-size%512)%512))
	return err
}

// attributes adds extended attributes: those of programs and file capabilities,
// not those that the store keeps its own notes in.
func (p *packer) attributes(fd int, h *tar.Header) {
	if !p.o.Whole {
		return
	}
	file := "/proc/self/fd/" + strconv.Itoa(fd)
	list := make([]byte, 1<<16)
	n, err := unix.Listxattr(file, list)
	if err != nil || n == 0 {
		return
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		own := strings.HasPrefix(name, "user.overlay.") || strings.HasPrefix(name, "user.coracle.") || strings.HasPrefix(name, "user.fuseoverlayfs.")
		if own || name != "security.capability" && !strings.HasPrefix(name, "user.") {
			continue
		}
		value := make([]byte, 1<<16)
		if n, err := unix.Getxattr(file, name, value); err == nil {
			if h.PAXRecords == nil {
				h.PAXRecords = make(map[string]string)
			}
			h.PAXRecords["SCHILY.xattr."+name] = string(value[:n])
		}
	}
}

// openInside opens a path as if root were "/": no link leads out, be it swapped
// meanwhile (CVE-2018-15664).
func openInside(root int, name string, follow bool) (int, error) {
	flags := uint64(unix.O_PATH)
	if !follow && !strings.HasSuffix(name, "/") {
		flags |= unix.O_NOFOLLOW
	}
	return openat2(root, name, flags, unix.RESOLVE_IN_ROOT)
}

func openat2(dir int, name string, flags, resolve uint64) (int, error) {
	how := &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve | unix.RESOLVE_NO_MAGICLINKS}
	if name == "" {
		name = "."
	}
	fd, err := plainfile.Openat2(dir, name, how)
	if err == unix.ENOSYS {
		err = fmt.Errorf("safe look-ups in a container's root take openat2(2), from Linux 5.6: %w", err)
	}
	return fd, err
}

func openat(dir int, name string, flags int) (int, error) {
	return plainfile.Retry(func() (int, error) { return unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0) })
}

// reopen opens the very file that a descriptor is of.
func reopen(fd, flags int) (int, error) {
	return openat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), flags)
}

func readlinkOf(fd int) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	return string(buf[:max(n, 0)]), err
}

// namesIn lists a directory, sorted.
func namesIn(fd int) ([]string, error) {
	dir, err := openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(dir), ".")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// statInside says what is at a path below root.
func statInside(root int, name string, follow bool) (fileStat, error) {
	fd, err := openInside(root, name, follow)
	if err != nil {
		return fileStat{}, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fileStat{}, err
	}
	return fileStat{Mode: st.Mode}, nil
}

// cleanPath is a path of a container from its root on; a slash at its end stays.
func cleanPath(name string) string {
	clean := path.Clean("/" + name)
	if strings.HasSuffix(name, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}
