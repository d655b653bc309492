package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// objectLock is an flock on a file under ROOT/locks. It ends with the process.
// Locks of several objects are taken in the order of their names.
type objectLock struct {
	file *os.File
	path string
}

func (e *Engine) lockVolume(ctx context.Context, name string) (*objectLock, error) {
	return e.lockObject(ctx, "volume-"+name)
}

// lockObject waits for the lock of that name. It polls: a blocking flock could
// not be left when ctx ends.
func (e *Engine) lockObject(ctx context.Context, name string) (*objectLock, error) {
	path := filepath.Join(e.root, "locks", name)
	for wait := time.Millisecond; ; wait = min(wait*3/2, 50*time.Millisecond) {
		l, err := tryObjectLock(path)
		if l != nil || err != nil {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the lock %s: %w", path, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// tryObjectLock returns nil, nil when another holds it.
func tryObjectLock(path string) (*objectLock, error) {
	f, err := lockFile(path, unix.O_CREAT|unix.O_NOFOLLOW)
	if isNotFound(err) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		f, err = lockFile(path, unix.O_CREAT|unix.O_NOFOLLOW)
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if !sameFile(f, path) { // its last holder removed it while we opened it
		f.Close()
		return nil, nil
	}
	return &objectLock{f, path}, nil
}

// release removes the file while it is still locked, so that nothing is left;
// whoever waits sees that and makes a new one.
func (l *objectLock) release() {
	os.Remove(l.path)
	l.file.Close()
}
