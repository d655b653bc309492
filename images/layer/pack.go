package layer

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Pack writes what is below the directory dirfd as a tar archive, in no
// particular order, with the owners, attributes and hard links that this process
// sees. Where a file's owner could not be had (Stat), the archive has the one
// that was meant. Sockets are left out. Names are relative; the first entry is
// the directory itself.
func Pack(ctx context.Context, dirfd int, w io.Writer) error {
	dir, err := openAgain(dirfd)
	if err != nil {
		return err
	}
	p := packer{ctx: ctx, w: tar.NewWriter(w), links: make(map[[2]uint64]string)}
	if err := errors.Join(p.dir(dir, "."), dir.Close()); err != nil {
		return err
	}
	if err := p.w.Close(); err != nil {
		return fmt.Errorf("end the archive: %w", err)
	}
	return nil
}

func openAgain(dirfd int) (*os.File, error) {
	fd, err := openat(dirfd, ".", openDir, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "."), nil
}

type packer struct {
	ctx   context.Context // of one archive: the walk is recursive
	w     *tar.Writer
	links map[[2]uint64]string // files with several names, by device and inode
}

// dir packs a directory and what is in it.
func (p *packer) dir(d *os.File, name string) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &st); err != nil {
		return fmt.Errorf("pack %s: %w", quote(name), err)
	}
	h, err := packHeader(name+"/", &st, int(d.Fd()))
	if err == nil {
		err = p.w.WriteHeader(h)
	}
	if err != nil {
		return fmt.Errorf("pack %s: %w", quote(name), err)
	}
	for {
		names, err := d.Readdirnames(1024)
		for _, n := range names {
			if err := p.entry(int(d.Fd()), n, path.Join(name, n)); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("pack %s: list it: %w", quote(name), err)
		}
	}
}

func (p *packer) entry(dirfd int, base, name string) error {
	var st unix.Stat_t
	err := unix.Fstatat(dirfd, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil // gone since it was listed
	case err != nil:
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		var fd int
		if fd, err = openat(dirfd, base, openDir, 0); err == nil {
			d := os.NewFile(uintptr(fd), base)
			defer d.Close()
			return p.dir(d, name)
		}
	case p.linked(&st, name):
		var h *tar.Header
		if h, err = packHeader(name, &st, -1); err == nil {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, p.links[inodeOf(&st)], 0
			err = p.w.WriteHeader(h)
		}
	case st.Mode&unix.S_IFMT == unix.S_IFREG:
		err = p.file(dirfd, base, name)
	default:
		err = p.special(dirfd, base, name, &st)
	}
	if err != nil {
		return fmt.Errorf("pack %s: %w", quote(name), err)
	}
	return nil
}

func inodeOf(st *unix.Stat_t) [2]uint64 {
	return [2]uint64{uint64(st.Dev), st.Ino} //nolint:unconvert // another type on arm64
}

// linked says whether the archive has the file under another name already.
func (p *packer) linked(st *unix.Stat_t, name string) bool {
	if st.Nlink < 2 || st.Mode&unix.S_IFMT == unix.S_IFSOCK {
		return false
	}
	if _, ok := p.links[inodeOf(st)]; ok {
		return true
	}
	p.links[inodeOf(st)] = name
	return false
}

func (p *packer) file(dirfd int, base, name string) error {
	fd, err := openat(dirfd, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("it has become something else")
	}
	h, err := packHeader(name, &st, fd)
	if err != nil {
		return err
	}
	if err := p.w.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(p.w, io.LimitReader(f, h.Size))
	if err == nil && n < h.Size {
		err = fmt.Errorf("it has become shorter while it was read")
	}
	return err
}

// special packs what is neither a file nor a directory.
func (p *packer) special(dirfd int, base, name string, st *unix.Stat_t) error {
	h, err := packHeader(name, st, -1)
	if err != nil || h == nil {
		return err
	}
	if h.Typeflag == tar.TypeSymlink {
		if h.Linkname, err = readlinkat(dirfd, base); err != nil {
			return err
		}
	}
	return p.w.WriteHeader(h)
}

// packHeader is the entry of a file; fd reads its attributes, -1 for what has
// none. It is nil for a socket.
func packHeader(name string, st *unix.Stat_t, fd int) (*tar.Header, error) {
	h := &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()), Format: tar.FormatPAX,
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
	case unix.S_IFDIR:
		h.Typeflag = tar.TypeDir
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR:
		h.Typeflag = tar.TypeChar
	case unix.S_IFBLK:
		h.Typeflag = tar.TypeBlock
	default:
		return nil, nil
	}
	if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
		h.Devmajor, h.Devminor = int64(unix.Major(uint64(st.Rdev))), int64(unix.Minor(uint64(st.Rdev))) //nolint:unconvert // likewise
	}
	if fd < 0 {
		return h, nil
	}
	return h, packXattrs(h, fd)
}

// packXattrs takes what copyXattrs would, and turns a recorded owner into the
// entry's.
func packXattrs(h *tar.Header, fd int) error {
	n, err := unix.Flistxattr(fd, nil)
	if n <= 0 {
		if errors.Is(err, unix.ENOTSUP) {
			err = nil
		}
		return err
	}
	list := make([]byte, n)
	if n, err = unix.Flistxattr(fd, list); err != nil {
		return err
	}
	value := make([]byte, 64<<10) // XATTR_SIZE_MAX
	for key := range strings.SplitSeq(strings.TrimRight(string(list[:n]), "\x00"), "\x00") {
		if key != XattrStat && forbiddenXattr(key) != "" {
			continue
		}
		n, err := unix.Fgetxattr(fd, key, value)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read xattr %s: %w", quote(key), err)
		}
		if key == XattrStat {
			if s, err := ParseStat(string(value[:n])); err == nil {
				h.Uid, h.Gid, h.Mode = int(s.UID), int(s.GID), int64(s.Mode&0o7777)
			}
			continue
		}
		if h.PAXRecords == nil {
			h.PAXRecords = make(map[string]string)
		}
		h.PAXRecords["SCHILY.xattr."+key] = string(value[:n])
	}
	return nil
}
