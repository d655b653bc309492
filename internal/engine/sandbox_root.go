package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"coracle/fuse"
	"coracle/internal/sandbox"
)

// sandboxRoot is --root's image or directory.
type sandboxRoot struct {
	*rootSource
	release func() // lets go of the image
}

func (r sandboxRoot) Resolve(name string) string                 { return r.resolve(name) }
func (r sandboxRoot) Lstat(name string) (s fuse.Stat, err error) { return r.reader.Lstat(name) }
func (r sandboxRoot) Env() []string                              { return r.config.Env }
func (r sandboxRoot) Dir() string {
	if r.imageID == "" {
		return r.lowers[0]
	}
	return ""
}

func (r *sandboxRoot) close() {
	if r.rootSource != nil {
		r.rootSource.close()
	}
	if r.release != nil {
		r.release()
	}
}

// ownRoot says that the root is neither the host's nor empty.
func (s *boxed) ownRoot() bool {
	switch s.o.Options.Root {
	case "", sandbox.HostRoot, sandbox.NoRoot:
		return false
	}
	return true
}

// rootDir tells a directory from an image's name, as a shell tells a program's path from
// its name; rootfs:DIR is as for `coracle run`.
func rootDir(word string) (dir string, is bool) {
	if dir, is := strings.CutPrefix(word, "rootfs:"); is {
		return dir, true
	}
	return word, word == "." || word == ".." || filepath.IsAbs(word) || strings.HasPrefix(word, "./") || strings.HasPrefix(word, "../")
}

// findRoot opens the root; an image is pulled and unpacked where it is missing, as it
// is for a container, and stays while the sandbox runs.
func (s *boxed) findRoot(ctx context.Context) error {
	if !s.ownRoot() {
		return nil
	}
	word := s.o.Options.Root
	o := RunOptions{Image: word, Pull: s.o.Pull, Progress: s.o.Progress}
	dir, isDir := rootDir(word)
	if isDir {
		o.Image = "rootfs:" + dir
	}
	ids, err := s.e.defaultIDs(ctx)
	if err != nil {
		return err
	}
	if s.root.rootSource, err = s.e.openRoot(ctx, o, ids); err != nil {
		return explainRoot(word, isDir, err)
	}
	s.o.Options.Tree = s.root
	store, err := s.e.store() // made, where it is not: what this kernel's overlays can do is tried in it
	if err != nil || isDir {
		return err
	}
	img, err := store.Lookup(s.root.imageID.String())
	if err == nil {
		s.root.release, err = store.Hold(ctx, img)
	}
	if err == nil {
		err = s.root.stillThere()
	}
	return err
}

// explainRoot says what else a word could have been meant as.
func explainRoot(word string, isDir bool, err error) error {
	why := &Error{Op: "--root " + word, Err: err}
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		why.Help = h.Hint()
	}
	if isDir {
		why.Help = "host, none, an image, or a directory with a root file system"
	} else if st, serr := os.Stat(word); serr == nil && st.IsDir() {
		why.Help = "to use the directory of that name: --root ./" + word
	}
	return why
}

// mountRoot is how the root is mounted: an overlay whose upper is in memory.
func (s *boxed) mountRoot(ctx context.Context) (*fuse.Rootfs, error) {
	if s.root.rootSource == nil {
		return nil, nil
	}
	scratch := s.facts.Scratch
	root, err := fuse.Choose(ctx, fuse.Request{
		LayersDir: filepath.Join(s.e.root, "layers"), Lowers: s.root.lowers, Meta: s.root.meta, Cache: s.e.runRoot,
		Upper: filepath.Join(scratch, "upper"), Work: filepath.Join(scratch, "work"), Scratch: scratch, Disposable: true, Driver: fuse.DriverOverlay,
	})
	if err == nil && root.Scratch == nil {
		err = errors.New("this kernel takes no memory for an overlay's writes (Linux 6.6 does)")
	}
	if err != nil {
		return nil, &Error{Op: "--root " + s.o.Options.Root, Err: err, Help: "coracle run has other ways to mount an image"}
	}
	return &root, nil
}
