package images

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// earlySync is after how many bytes of blobs what has been made of them is written to the disk.
const earlySync = 64 << 20

// writeback writes to the disk what is being unpacked, while it is: the sync that stands
// before the first name, which nothing else can go on beside, then finds little left to do.
// It promises nothing.
type writeback struct {
	mu    sync.Mutex
	bytes int64 // of blobs, since the last sync began
	busy  bool
	err   error // of the first sync that failed: the kernel tells it once
	idle  sync.WaitGroup
}

// add is told how much more of the blobs has been unpacked.
func (w *writeback) add(n int64, root *os.File) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bytes += n; w.bytes < earlySync || w.busy || w.err != nil {
		return
	}
	w.bytes, w.busy = 0, true
	w.idle.Go(func() {
		err := unix.Syncfs(int(root.Fd()))
		w.mu.Lock()
		defer w.mu.Unlock()
		w.busy, w.err = false, err
	})
}

// wait returns when no sync is under way, with what the syncs have met.
func (w *writeback) wait() error {
	w.idle.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
