package fuse

import (
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// queue holds the directories that are still to be made, the last found first:
// so few are open at a time, not more for each worker than a path is deep.
type queue struct {
	mu    sync.Mutex
	more  sync.Cond // there is something to do, or nothing any more
	stack []subdir
	busy  int  // workers that may still find something
	over  bool // something has failed
}

type subdir struct {
	parent *dirPair
	name   string
}

// all makes the tree below top, which it closes. Each processor has a worker;
// any of them may take any directory, since one big directory at the top is
// what images look like.
func (b *builder) all(top *dirPair) error {
	b.todo.more.L = &b.todo.mu
	root, err := unix.FcntlInt(uintptr(b.root), unix.F_DUPFD_CLOEXEC, 0) // hard links need it to the end
	if err != nil {
		top.close()
		return err
	}
	defer unix.Close(root)
	b.root = root
	subs, err := b.dir(top)
	b.todo.add(top, subs)
	if err != nil {
		return err
	}
	var workers sync.WaitGroup
	for range runtime.NumCPU() {
		workers.Go(b.work)
	}
	workers.Wait()
	return nil
}

func (b *builder) work() {
	for {
		next, ok := b.todo.take()
		if !ok {
			return
		}
		d, err := next.parent.open(next.name)
		b.todo.release(next.parent)
		var subs []string
		if err == nil {
			subs, err = b.dir(d)
			b.todo.add(d, subs)
		}
		b.fail(err)
		b.todo.done(err != nil)
	}
}

// add hands over a directory with its subdirectories.
func (q *queue) add(d *dirPair, subs []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(subs) == 0 || q.over {
		d.close()
		return
	}
	d.left = len(subs)
	for _, name := range slices.Backward(subs) {
		q.stack = append(q.stack, subdir{d, name})
	}
	q.more.Broadcast()
}

// take waits for something to do. It is false when there will be nothing.
func (q *queue) take() (subdir, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.over && len(q.stack) == 0 && q.busy > 0 {
		q.more.Wait()
	}
	if q.over || len(q.stack) == 0 {
		return subdir{}, false
	}
	last := len(q.stack) - 1
	next := q.stack[last]
	q.stack = q.stack[:last]
	q.busy++
	return next, true
}

// release closes a directory with the last subdirectory that was opened.
func (q *queue) release(d *dirPair) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if d.left--; d.left == 0 {
		d.close()
	}
}

// done ends what take began; after a failure it ends everything.
func (q *queue) done(failed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy--
	if failed {
		q.over = true
		for _, s := range q.stack {
			if s.parent.left--; s.parent.left == 0 {
				s.parent.close()
			}
		}
		q.stack = nil
	}
	q.more.Broadcast()
}
