package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"coracle/images/layer"

	"golang.org/x/sys/unix"
)

// batch is a number of layers that get their names together. Unpacked files
// are not written to the disk one by one: one syncfs for all of them stands
// between the unpacking and the first name, so that after a power loss what
// has a name has its content, too. If the names are lost the blobs are there.
type batch struct {
	s     *Store
	stage layer.Stage
	root  *os.File // opened first: syncfs reports what failed since
	fresh []*fresh
	early writeback
}

// fresh is a layer in the making. Its lock is held until the batch ends.
type fresh struct {
	lock       *Lock
	tmp, final string // directories relative to the root; tmp is "" when there is nothing to remove
}

func (s *Store) newBatch(st layer.Stage) (*batch, error) {
	root, err := os.Open(s.root)
	if err != nil {
		return nil, err
	}
	return &batch{s: s, stage: st, root: root}, nil
}

// publish makes the layers durable and gives them their names, lowest first.
func (b *batch) publish() error {
	some := false
	for _, f := range b.fresh {
		some = some || f.tmp != ""
	}
	if !some {
		return nil
	}
	err := b.early.wait()
	if err == nil {
		err = unix.Syncfs(int(b.root.Fd()))
	}
	if err != nil {
		return explainWrite(&fs.PathError{Op: "syncfs", Path: b.s.root, Err: err}, b.s.root)
	}
	for _, f := range b.fresh {
		if f.tmp == "" {
			continue
		}
		if err := b.s.name(f); err != nil {
			return explainWrite(fmt.Errorf("name the layer: %w", err), b.s.root)
		}
		f.tmp = ""
	}
	return nil
}

func (s *Store) name(f *fresh) (err error) {
	tmp, final := filepath.Join(s.root, f.tmp), filepath.Join(s.root, f.final)
	for range 10 {
		if err = os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
			return err
		}
		spread(filepath.Dir(final)) // trees for other maps will come beside it
		if err = os.Rename(tmp, final); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// a garbage collection saw the parent empty
	}
	return err
}

// end removes what got no name, and lets others at the layers. The request
// may be over by then; the temporary directories have to go nevertheless.
func (b *batch) end(ctx context.Context) {
	for _, f := range b.fresh {
		if f.tmp != "" {
			b.stage.Remove(context.WithoutCancel(ctx), f.tmp) //nolint:errcheck // the next one to unpack it removes it
			b.s.dropParent(f.tmp)
		}
		f.lock.Release()
	}
	b.early.wait() //nolint:errcheck // who has not asked in publish has no use for it
	b.root.Close()
}

// dropParent removes the directory that a temporary one was in, if that is empty.
func (s *Store) dropParent(tmp string) { os.Remove(filepath.Dir(filepath.Join(s.root, tmp))) }
