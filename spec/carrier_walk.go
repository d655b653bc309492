package spec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"github.com/cyphar/filepath-securejoin/pathrs-lite/procfs"
	"golang.org/x/sys/unix"
)

// carryWalk answers the questions that come over the socket at carrierSource
// (see child.askWalker) until it ends: it opens names below the root at
// carrierTarget as openat2(2) with RESOLVE_IN_ROOT would, and hands over the
// descriptor.
const carryWalk = "walk"

func serveWalks() error {
	root := os.NewFile(carrierTarget, "root")
	buf := make([]byte, walkAsked+unix.PathMax)
	for {
		n, err := unix.Read(carrierSource, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read a question: %w", err)
		case n == 0:
			return nil // the child has what it needs, or is gone
		case n < walkAsked:
			return fmt.Errorf("a question of %d bytes", n)
		}
		flags, resolve := binary.NativeEndian.Uint64(buf), binary.NativeEndian.Uint64(buf[8:])
		f, err := walk(root, string(buf[walkAsked:n]), flags, resolve)
		if err == nil {
			err = answerWalk(0, unix.UnixRights(int(f.Fd())))
			f.Close()
		} else if errno, ok := errors.AsType[syscall.Errno](err); ok {
			err = answerWalk(errno, nil)
		}
		if err != nil {
			return err
		}
	}
}

func answerWalk(errno syscall.Errno, rights []byte) error {
	b := binary.NativeEndian.AppendUint64(nil, uint64(errno))
	if err := unix.Sendmsg(carrierSource, b, rights, nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("answer a question: %w", err)
	}
	return nil
}

// walk opens name below root. An error that is no errno (the path changed under
// the walk, /proc is no procfs) ends the start.
func walk(root *os.File, name string, flags, resolve uint64) (*os.File, error) {
	if resolve&unix.RESOLVE_NO_SYMLINKS != 0 {
		return walkPlain(root, name, int(flags), resolve&unix.RESOLVE_NO_XDEV != 0) //nolint:gosec // open(2) flags
	}
	f, err := pathrs.OpenatInRoot(root, strings.TrimPrefix(name, "/")+dotIfEmpty(name))
	if err != nil {
		return nil, err
	}
	if flags&unix.O_PATH == 0 {
		defer f.Close()
		return pathrs.Reopen(f, int(flags)) //nolint:gosec // open(2) flags
	}
	if flags&unix.O_DIRECTORY != 0 {
		var st unix.Stat_t
		if err = unix.Fstat(int(f.Fd()), &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			err = unix.ENOTDIR
		}
		if err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

// walkPlain follows no link at all. With oneMount all that is below the first
// component is on the mount that this leads to.
func walkPlain(root *os.File, name string, flags int, oneMount bool) (*os.File, error) {
	parts := plainParts(name)
	last, at, first := len(parts)-1, root, uint64(0)
	for i, part := range parts {
		how := unix.O_PATH | unix.O_DIRECTORY
		if i == last {
			how = flags
		}
		fd, err := unix.Openat(int(at.Fd()), part, how|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if at != root {
			at.Close()
		}
		if err != nil {
			return nil, err
		}
		at = os.NewFile(uintptr(fd), part)
		if err := checkPlain(at, i, oneMount, &first); err != nil {
			at.Close()
			return nil, err
		}
	}
	return at, nil
}

func checkPlain(at *os.File, i int, oneMount bool, first *uint64) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(at.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK { // O_PATH opens it
		return unix.ELOOP
	}
	if !oneMount {
		return nil
	}
	id, err := mountIDOf(int(at.Fd()))
	switch {
	case err != nil:
		return err
	case i == 0:
		*first = id
	case id != *first:
		return unix.EXDEV
	}
	return nil
}

// mountIDOf asks the kernel, or procfs where it does not say (before 5.8).
func mountIDOf(fd int) (uint64, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err == nil && st.Mask&unix.STATX_MNT_ID != 0 {
		return st.Mnt_id, nil
	}
	proc, err := procfs.OpenProcRoot()
	if err != nil {
		return 0, err
	}
	defer proc.Close() //nolint:errcheck // it was only read
	info, err := proc.OpenSelf(fmt.Sprintf("fdinfo/%d", fd))
	if err != nil {
		return 0, err
	}
	defer info.Close()
	if info, err = pathrs.Reopen(info, unix.O_RDONLY); err != nil {
		return 0, err
	}
	defer info.Close()
	data, err := io.ReadAll(io.LimitReader(info, 4096))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if id, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return strconv.ParseUint(strings.TrimSpace(id), 10, 64)
		}
	}
	return 0, errors.New("procfs does not say which mount a descriptor is on")
}
