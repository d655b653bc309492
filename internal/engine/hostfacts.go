package engine

import (
	"fmt"
	"os"
	"time"

	"coracle/internal/nofile"
	"coracle/spec"

	"golang.org/x/sys/unix"
)

// hostFacts is the machine as spec.Generate asks for it.
type hostFacts struct{}

func (hostFacts) Getenv() []string                     { return os.Environ() }
func (hostFacts) Getwd() (string, error)               { return os.Getwd() }
func (hostFacts) ReadFile(path string) ([]byte, error) { return os.ReadFile(path) }
func (hostFacts) Now() time.Time                       { return time.Now() }

func (hostFacts) Hostname() string {
	h, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return h
}

func (hostFacts) Lstat(path string) (spec.FileInfo, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return spec.FileInfo{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	return fileInfo(&st), nil
}

func (hostFacts) Stat(path string) (spec.FileInfo, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return spec.FileInfo{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return fileInfo(&st), nil
}

func fileInfo(st *unix.Stat_t) spec.FileInfo {
	return spec.FileInfo{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Major: unix.Major(uint64(st.Rdev)), Minor: unix.Minor(uint64(st.Rdev))}
}

func (hostFacts) ReadDir(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// CgroupV2 says whether /sys/fs/cgroup itself is the v2 hierarchy.
func (hostFacts) CgroupV2() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

// Rlimit is the caller's limit, not the one that Go raised for itself.
func (hostFacts) Rlimit(name string) (soft, hard uint64, err error) {
	n, ok := spec.RlimitNumber(name)
	if !ok {
		return 0, 0, fmt.Errorf("limit %s is unknown", name)
	}
	if n == unix.RLIMIT_NOFILE {
		if soft, hard, ok := nofile.Original(); ok {
			return soft, hard, nil
		}
	}
	var r unix.Rlimit
	if err := unix.Prlimit(0, n, nil, &r); err != nil {
		return 0, 0, fmt.Errorf("read %s: %w", name, err)
	}
	return r.Cur, r.Max, nil
}
