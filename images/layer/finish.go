package layer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// finisher mends one layer with what the layers below tell.
type finisher struct {
	ctx   context.Context
	t     *tree
	low   merged
	more  []string          // directories that mending has made
	from  map[string]string // what came up for a link: the first name it got
	hides map[string]bool   // what hidden has found: does it, or one above it, hide the layers below?
	alone bool              // the root is opaque: nothing comes from below
}

// Finish implements Stage.
func (l *local) Finish(ctx context.Context, r FinishRequest) error {
	up, base, err := splitStoreName(r.Dir)
	if err != nil {
		return err
	}
	top, err := l.openStore(up, false)
	if err != nil {
		return fmt.Errorf("finish layer %s: %w", quote(r.Dir), err)
	}
	defer unix.Close(top)
	fd, err := openat(top, base, openDir, 0)
	if err != nil {
		return fmt.Errorf("finish layer %s: %w", quote(r.Dir), err)
	}
	defer unix.Close(fd)
	if err := l.mend(ctx, top, fd, r.Lowers); err != nil {
		return markRefused(fmt.Errorf("finish layer %s: %w", quote(r.Dir), err))
	}
	return nil
}

// mend does what is pending, if anything is. Being done twice does no harm.
func (l *local) mend(ctx context.Context, top, fd int, lowers []string) error {
	pfd, err := openat(top, pendingFile, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	pending := os.NewFile(uintptr(pfd), pendingFile)
	defer pending.Close()
	f := &finisher{ctx: ctx, from: make(map[string]string), hides: make(map[string]bool)}
	defer f.low.close()
	for _, name := range lowers {
		if _, _, err := splitStoreName(name); err != nil {
			return err
		}
		lfd, err := l.openStore(name, false)
		if err != nil {
			return fmt.Errorf("open the layer below %s: %w", quote(name), err)
		}
		f.low.lowers = append(f.low.lowers, lfd)
	}
	if f.t, err = newTree(fd, f.implied, l.noOpen2); err != nil {
		return err
	}
	defer f.t.close()
	if err := f.run(pending, l.noMknod); err != nil {
		return err
	}
	return unix.Unlinkat(top, pendingFile, 0)
}

func (f *finisher) implied(name string) error {
	f.more = append(f.more, name)
	return nil
}

// run goes through the notes several times: which directories got an entry of
// their own later; links, which make directories; whiteouts, of which some go;
// and last, when nothing is made any more, the directories.
func (f *finisher) run(pending *os.File, noMknod bool) error {
	named := make(map[string]int)
	err := f.each(pending, func(i int, kind byte, name, _ string) error {
		if kind == 'x' {
			named[name] = i
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = f.each(pending, func(_ int, kind byte, name, target string) error {
		switch kind {
		case 'o':
			return f.hideAll(noMknod)
		case 'l':
			return f.link(name, target)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := f.dropWhiteouts(pending); err != nil {
		return err
	}
	err = f.each(pending, func(i int, kind byte, name, _ string) error {
		if last, ok := named[name]; kind != 'd' || ok && last > i {
			return nil
		}
		return f.inherit(name)
	})
	for _, name := range f.more {
		if err != nil {
			break
		}
		f.t.trim()
		err = f.inherit(name)
	}
	return err
}

// dropWhiteouts removes those that hide nothing. They would be seen: in a
// directory that it does not merge, the kernel lists whiteouts like files.
func (f *finisher) dropWhiteouts(pending *os.File) error {
	f.low.forget()
	f.low.strict = true
	defer func() {
		f.low.forget()
		f.low.strict = false
	}()
	return f.each(pending, func(_ int, kind byte, name, _ string) error {
		if kind != 'w' {
			return nil
		}
		up, base := splitName(name)
		d, err := f.t.dir(up, false)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, ErrBadEntry) || err == nil && !isWhiteout(d.fd, base) {
			return nil // a later entry took its place
		}
		if err != nil {
			return err
		}
		hides, err := f.hidesSomething(d, base)
		if err != nil || hides {
			return err
		}
		keep, err := modTime(d.fd)
		if err == nil {
			err = unix.Unlinkat(d.fd, base, 0)
		}
		if err != nil {
			return fmt.Errorf("whiteout of %s: %w", quote(name), err)
		}
		return futimens(d.fd, keep.Sec, keep.Nsec)
	})
}

func (f *finisher) hidesSomething(d *dir, base string) (bool, error) {
	if d.real == "." && f.alone {
		return true, nil // hideAll has made it
	}
	if f.hidden(d.real) || opaque(d.fd) == "y" {
		return false, nil
	}
	below, err := f.low.dir(d.real)
	if err == nil {
		var c found
		if c, err = below.child(base); c.dir != nil {
			c.dir.close()
		}
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return false, nil
	}
	return true, err
}

func (f *finisher) each(pending *os.File, do func(i int, kind byte, name, target string) error) error {
	if _, err := pending.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sc := bufio.NewScanner(pending)
	sc.Split(scanRecords)
	for i := 0; sc.Scan(); i++ {
		rec := sc.Text()
		if rec == "" {
			return errors.New("the notes for finishing it are damaged")
		}
		target := ""
		if rec[0] == 'l' && sc.Scan() {
			target = sc.Text()
		}
		if err := f.ctx.Err(); err != nil {
			return err
		}
		f.t.trim()
		if err := do(i, rec[0], rec[1:], target); err != nil {
			return err
		}
	}
	return sc.Err()
}

// inherit gives a directory that no entry names the metadata it has below.
func (f *finisher) inherit(name string) error {
	d, err := f.t.dir(name, false)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, ErrBadEntry) {
		return nil // a later entry took its place
	}
	if err != nil {
		return fmt.Errorf("%s: %w", quote(name), err)
	}
	if f.hidden(d.real) {
		return nil
	}
	below, err := f.low.dir(d.real)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || err == nil && len(below.fds) == 0 {
		return nil
	}
	if err == nil {
		err = copyMeta(below.fds[0], d.fd)
	}
	if err != nil {
		return fmt.Errorf("metadata of %s from the layers below: %w", quote(name), err)
	}
	return nil
}

// hidden tells whether a directory above name hides the layers below. It
// remembers: a chain of directories is asked for link by link.
func (f *finisher) hidden(name string) bool {
	if name == "." {
		return false
	}
	up, _ := splitName(name)
	if f.alone {
		return true
	}
	if h, ok := f.hides[up]; ok {
		return h
	}
	h := f.hidden(up)
	if !h {
		d, err := f.t.dir(up, false)
		h = err != nil || up != "." && opaque(d.fd) == "y"
	}
	if len(f.hides) > 4096 {
		clear(f.hides)
	}
	f.hides[up] = h
	return h
}

// hideAll is for a layer whose root is opaque. The kernel does not read that
// mark on a root, so each name below is hidden by itself.
func (f *finisher) hideAll(noMknod bool) error {
	root := f.t.root
	f.alone = true
	keep, err := modTime(root.fd)
	if err != nil {
		return err
	}
	if err := unix.Fremovexattr(root.fd, xattrOpaque); err != nil && !errors.Is(err, unix.ENODATA) {
		return err
	}
	below, err := f.low.root()
	if err != nil {
		return err
	}
	defer below.close()
	names, err := below.names()
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := makeWhiteout(root, n, noMknod); err != nil {
			return fmt.Errorf("whiteout of %s: %w", quote(n), err)
		}
	}
	return futimens(root.fd, keep.Sec, keep.Nsec)
}

// link makes a hard link whose target is in a layer below: the file comes up
// into this layer, at both names, as the overlay would do it.
func (f *finisher) link(name, target string) error {
	up, base := splitName(name)
	d, err := f.t.dir(up, true)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		return nil // a later entry took its place
	}
	keep, err := modTime(d.fd)
	if err != nil {
		return err
	}
	tup, tbase := splitName(target)
	err = f.linkHere(d, base, tup, tbase)
	if errors.Is(err, unix.ENOENT) {
		err = f.linkBelow(d, base, tup, tbase)
	}
	if errors.Is(err, unix.ENOENT) {
		err = fmt.Errorf("%w: there is no such file in this layer or below", ErrBadEntry)
	}
	if err != nil {
		return fmt.Errorf("hard link %s to %s: %w", quote(name), quote(target), err)
	}
	return futimens(d.fd, keep.Sec, keep.Nsec)
}

// linkHere is for when an earlier link has brought the file up.
func (f *finisher) linkHere(d *dir, base, tup, tbase string) error {
	if first, ok := f.from[joinName(tup, tbase)]; ok {
		tup, tbase = splitName(first)
	}
	td, err := f.t.dir(tup, false)
	if err != nil {
		return err
	}
	if isWhiteout(td.fd, tbase) {
		return unix.ENOENT
	}
	return unix.Linkat(td.fd, tbase, d.fd, base, 0)
}

func (f *finisher) linkBelow(d *dir, base, tup, tbase string) error {
	below, err := f.low.dir(tup)
	if err != nil {
		return err
	}
	src, err := below.child(tbase)
	if err != nil {
		return err
	}
	if src.dir != nil {
		src.dir.close()
		return fmt.Errorf("%w: it is a directory", ErrBadEntry)
	}
	if err := copyUp(src.dirfd, tbase, &src.st, d.fd, base); err != nil {
		return err
	}
	f.from[joinName(tup, tbase)] = joinName(d.real, base)
	if f.hidden(joinName(below.name, tbase)) {
		return nil
	}
	td, err := f.t.dir(below.name, true)
	if err != nil {
		return nil // this layer has something else there
	}
	keep, err := modTime(td.fd)
	if err != nil {
		return err
	}
	if err := unix.Linkat(d.fd, base, td.fd, tbase, 0); err != nil {
		if errors.Is(err, unix.EEXIST) {
			return nil // or deletes it
		}
		return err
	}
	return futimens(td.fd, keep.Sec, keep.Nsec)
}
