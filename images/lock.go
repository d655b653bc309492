package images

import (
	"context"
	"coracle/internal/plainfile"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Lock is an flock on a file under ROOT/locks. It ends with the process. Locks of
// several objects are taken in the order of their names.
type Lock struct {
	file *os.File
	path string
}

func (s *Store) acquire(ctx context.Context, name string) (*Lock, error) {
	l, err := Acquire(ctx, filepath.Join(s.root, "locks", name))
	if err != nil {
		err = explainWrite(err, s.root)
	}
	return l, err
}

// Acquire waits for the lock of that path, in a directory that is there. It polls:
// a blocking flock could not be left when ctx ends.
func Acquire(ctx context.Context, path string) (*Lock, error) {
	for wait := time.Millisecond; ; wait = min(wait*3/2, 50*time.Millisecond) {
		l, err := TryLock(path)
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

// TryLock returns nil, nil when another holds it.
func TryLock(path string) (*Lock, error) {
	f, err := plainfile.Lock(path, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("take a lock: %w", err) // with the path
	}
	// The last holder removed the file: what was locked may no longer be
	// what others find under that name.
	if !plainfile.Named(f, path) {
		f.Close()
		return nil, nil
	}
	return &Lock{f, path}, nil
}

// Release removes the file while it is still locked, so that nothing is left
// behind; whoever waits sees that and makes a new one.
func (l *Lock) Release() {
	os.Remove(l.path)
	l.file.Close()
}
