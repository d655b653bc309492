package fuse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// dying is a context that ends when it has been asked a number of times.
type dying struct {
	context.Context
	left *atomic.Int64
}

func (d dying) Err() error {
	if d.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// TestTreeStops: wherever a tree fails, all workers end, say so, and leave no
// descriptor open; and a whole tree has every directory once.
func TestTreeStops(t *testing.T) {
	src := t.TempDir()
	dirs := int64(1)
	for i := range 4 {
		for j := range 3 {
			must(t, os.MkdirAll(filepath.Join(src, fmt.Sprint(i), fmt.Sprint(j), "deep", "er"), 0o755))
			dirs += 3
		}
		dirs++
	}
	open := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(names)
	}
	before := open()
	for after := int64(0); after <= dirs; after++ {
		d := dying{t.Context(), new(atomic.Int64)}
		d.left.Store(after)
		s, err := BuildMeta(d, TreeRequest{Lowers: []string{src}, Dst: filepath.Join(t.TempDir(), "tree")})
		if after == dirs {
			if err != nil || s.Inodes != dirs {
				t.Errorf("whole: %d inodes, want %d: %v", s.Inodes, dirs, err)
			}
		} else if !errors.Is(err, context.Canceled) {
			t.Errorf("stopped at directory %d: %v", after, err)
		}
		if n := open(); n != before {
			t.Fatalf("stopped at directory %d of %d: %d descriptors are open, before %d", after, dirs, n, before)
		}
	}
}
