package fuse

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// ChooseHost plans the view of this host with its writes on a tmpfs over
// Request.Scratch (Upper, Work and Lowers are not looked at).
func ChooseHost(ctx context.Context, r Request) (Rootfs, error) {
	if r.Scratch == "" {
		return Rootfs{}, fmt.Errorf("%w: the view of the host needs a scratch directory", ErrBadRequest)
	}
	f, err := Probe(ctx, ProbeRequest{Dir: r.LayersDir, Cache: r.Cache})
	if err != nil {
		return Rootfs{}, err
	}
	info, err := readPlain("/proc/self/mountinfo", 0, 1<<24)
	if err != nil {
		return Rootfs{}, fmt.Errorf("plan the view of the host: %w", err)
	}
	// Uppers are on a tmpfs; without that, what the host has is read-only.
	f.HostLower = f.HostLower && f.TmpfsUpper
	plan, err := HostView(HostInput{Mountinfo: info, FS: RealHost(), Facts: f})
	if err != nil {
		return Rootfs{}, err
	}
	root := Rootfs{Kind: HostRoot, Driver: DriverOverlay, Host: &plan, Scratch: scratchTmpfs(r.Scratch, r.ScratchSize)}
	if !f.HostLower {
		root.Driver = "bind"
		root.Notice = "the host's directories are read-only: the kernel cannot lay an overlay over them here"
		root.Hint = "Linux 6.6 or later, not inside two other overlays"
	}
	return root, nil
}

// RealHost is the HostFS of this machine, by plain system calls: it is on the
// way of every start of `coracle run host`.
func RealHost() HostFS { return realHost{} }

type realHost struct{}

func (realHost) Lstat(name string) (Stat, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(unix.AT_FDCWD, name, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT); err != nil {
		return Stat{}, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return Stat{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Size: st.Size, Rdev: uint64(st.Rdev)}, nil
}

func (realHost) Readlink(name string) (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlink(name, buf[:])
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return string(buf[:n]), nil
}

func (realHost) ReadFile(name string, limit int64) ([]byte, error) {
	return readPlain(name, unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, limit)
}

// readPlain is os.ReadFile by three or four system calls in place of ten.
func readPlain(name string, flags int, limit int64) ([]byte, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	data := make([]byte, 0, 8<<10)
	for int64(len(data)) <= limit {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := unix.Read(fd, data[len(data):cap(data)])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: name, Err: err}
		}
		if n == 0 {
			return data, nil
		}
		data = data[:len(data)+n]
	}
	return nil, &fs.PathError{Op: "read", Path: name, Err: ErrTooBig}
}

// Empty looks inside only where the number of links does not tell: a directory
// with more than two has others in it, and a large one is dear to read.
func (h realHost) Empty(name string) (bool, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil && st.Nlink > 2 {
		return false, nil
	}
	entries, err := readEntries(fd, name, 1)
	return len(entries) == 0, err
}

// ReadDir reads names and types in one go, without a stat for each.
func (realHost) ReadDir(name string, limit int) ([]HostEntry, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	return readEntries(fd, name, limit)
}

func readEntries(fd int, name string, limit int) ([]HostEntry, error) {
	var out []HostEntry
	buf := make([]byte, min(1<<10+limit*64, 1<<15)) // a name of its full length fits in any case
	for len(out) < limit {
		n, err := unix.Getdents(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: name, Err: err}
		}
		if n == 0 {
			break
		}
		out = appendEntries(out, buf[:n])
	}
	return out, nil
}

// appendEntries reads struct linux_dirent64: ino, off, reclen, type, name.
func appendEntries(out []HostEntry, buf []byte) []HostEntry {
	const reclenAt, typeAt, nameAt = 16, 18, 19
	for len(buf) > nameAt {
		n := int(binary.NativeEndian.Uint16(buf[reclenAt:]))
		if n < nameAt || n > len(buf) {
			break
		}
		name, _, _ := strings.Cut(string(buf[nameAt:n]), "\x00")
		if name != "." && name != ".." {
			out = append(out, HostEntry{Name: name, Type: uint32(buf[typeAt]) << 12}) // DT_* are S_IFMT >> 12
		}
		buf = buf[n:]
	}
	return out
}
