package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lock is an flock on a file under ROOT/locks. It ends with the process.
type lock struct {
	file *os.File
	path string
}

// acquire waits for the lock of that name. It polls: a blocking flock could
// not be left when ctx ends.
func (s *Store) acquire(ctx context.Context, name string) (*lock, error) {
	path := filepath.Join(s.root, "locks", name)
	for wait := time.Millisecond; ; wait = min(wait*3/2, 50*time.Millisecond) {
		l, err := tryLock(path)
		if err != nil {
			return nil, explainWrite(fmt.Errorf("lock %s: %w", path, err), s.root)
		}
		if l != nil {
			return l, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the lock %s: %w", name, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// tryLock returns nil, nil when another holds it.
func tryLock(path string) (*lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, err
	}
	// The last holder removed the file: what was locked may no longer be
	// what others find under that name.
	if !sameFile(f, path) {
		f.Close()
		return nil, nil
	}
	return &lock{f, path}, nil
}

func sameFile(f *os.File, path string) bool {
	var here, there unix.Stat_t
	return unix.Fstat(int(f.Fd()), &here) == nil && unix.Lstat(path, &there) == nil &&
		here.Ino == there.Ino && here.Dev == there.Dev
}

// release removes the file while it is still locked, so that nothing is left
// behind; whoever waits sees that and makes a new one.
func (l *lock) release() {
	os.Remove(l.path)
	l.file.Close()
}
