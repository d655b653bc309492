package engine

import (
	"context"
	"os"
	"path/filepath"

	"coracle/images"
)

func (e *Engine) lockVolume(ctx context.Context, name string) (*images.Lock, error) {
	return e.lockObject(ctx, "volume-"+name)
}

// lockObject waits for the lock of that name, where the store's are, too.
func (e *Engine) lockObject(ctx context.Context, name string) (*images.Lock, error) {
	path := filepath.Join(e.root, "locks", name)
	l, err := images.Acquire(ctx, path)
	if isNotFound(err) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		l, err = images.Acquire(ctx, path)
	}
	return l, err
}
