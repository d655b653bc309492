package engine

import (
	"fmt"

	"coracle/fuse"
	"coracle/internal/sandbox"

	"golang.org/x/sys/unix"
)

// inMemory says that all writes go to one tmpfs, the layers included: because nobody
// wants the changes, because there are bounds for them, or because the store's file system can
// hold no layer.
func (s *boxed) inMemory() bool {
	return s.bounded() || s.noUpper || s.o.OnExit == onExitDiscard && len(s.plan.Layers) > 0
}

func (s *boxed) bounded() bool {
	l := s.o.Options.Limits
	return l.Disk > 0 || l.Inodes > 0
}

// findUpper notes it where the store can hold no layer.
func (s *boxed) findUpper() {
	if len(s.plan.Layers) == 0 || s.o.OnExit == onExitDiscard {
		return
	}
	kind := fuse.NoUpper(s.e.root)
	if s.noUpper = kind != ""; s.noUpper && !s.bounded() {
		s.plan.Notes = append(s.plan.Notes, sandbox.Note{
			Text: fmt.Sprintf("what the command writes is in memory until it ends: the store %s is on %s, which cannot hold an overlay's changes", s.e.root, kind),
			Hint: "have it on a local disk: coracle --root DIR sandbox …, or root = 'DIR' in the configuration; --disk bounds it",
		})
	}
}

// diskFull says whether there was no room left when the command ended: the kernel tells
// nobody to whom it has said ENOSPC.
func (s *boxed) diskFull() bool {
	var st unix.Statfs_t
	if s.disk == nil || unix.Fstatfs(int(s.disk.Fd()), &st) != nil {
		return false
	}
	return st.Blocks > 0 && st.Bfree == 0 || st.Files > 0 && st.Ffree == 0 // what is not bounded has none of either
}
