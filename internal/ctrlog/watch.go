package ctrlog

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A follower looks after this many milliseconds in any case: network file
// systems tell inotify nothing of what other machines write. Where there is no
// inotify to be had (a user may have 128), it looks more often.
const (
	lookMillis = 1000
	pollMillis = 50
)

// watcher waits for something to happen in directories.
type watcher struct {
	fd, wake int // inotify, < 0 for none; an eventfd that ends the wait
	wait     int // milliseconds
	mu       sync.Mutex
	closed   bool
}

func newWatcher() (*watcher, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	w := &watcher{fd: -1, wake: wake, wait: pollMillis}
	if fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err == nil {
		w.fd, w.wait = fd, lookMillis
	}
	return w, nil
}

// add watches the directory that a log is in: for writing, and for rotation.
func (w *watcher) add(path string) {
	if w.fd < 0 {
		return
	}
	_, err := unix.InotifyAddWatch(w.fd, filepath.Dir(path), unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR)
	if err != nil {
		w.wait = pollMillis
	}
}

// until wakes the waiting one when the channel is closed, or ctx is done.
func (w *watcher) until(ctx context.Context, over <-chan struct{}) {
	go func() {
		select {
		case <-ctx.Done():
		case <-over:
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.closed {
			_, _ = unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		}
	}()
}

// next waits until something has happened since the last call, perhaps, but
// not longer than to the deadline, if there is one.
func (w *watcher) next(deadline time.Time) error {
	wait := w.wait
	if !deadline.IsZero() {
		wait = int(min(max(deadline.Sub(now()).Milliseconds()+1, 1), int64(wait)))
	}
	fds := []unix.PollFd{{Fd: int32(w.wake), Events: unix.POLLIN}, {Fd: int32(w.fd), Events: unix.POLLIN}}
	if _, err := unix.Poll(fds, wait); err != nil && !errors.Is(err, unix.EINTR) {
		return err
	}
	// What happened is not of interest: the files are looked at after this.
	var buf [4096]byte
	for _, fd := range []int{w.wake, w.fd} {
		for range 16 {
			if n, err := unix.Read(fd, buf[:]); n < len(buf)/2 || err != nil {
				break
			}
		}
	}
	return nil
}

func (w *watcher) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	unix.Close(w.wake)
	if w.fd >= 0 {
		unix.Close(w.fd)
	}
}
