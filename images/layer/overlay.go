package layer

import "golang.org/x/sys/unix"

// What else reads upper directories of the kernel's overlay (internal/review) asks here.

// IsWhiteout tells whether name in a directory, of which st was just read, deletes
// that name of the lower.
func IsWhiteout(dirfd int, name string, st *unix.Stat_t) bool { return isWhiteoutStat(dirfd, name, st) }

// IsOpaque tells whether an open directory hides what the lower has there.
func IsOpaque(fd int) bool { return opaque(fd) == "y" }

// SameContent compares two open files of that size.
func SameContent(x, y int, size int64) (bool, error) { return sameContent(x, y, size) }

// Xattrs are an open file's attributes but for the overlay's and our own.
func Xattrs(fd int) (map[string]string, error) { return readXattrs(fd) }

// ListDir reads the names in an open directory.
func ListDir(fd int) ([]string, error) { return listDir(fd) }
