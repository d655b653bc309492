package review

import (
	"context"
	"errors"
	"fmt"
	"os"

	"coracle/images/layer"

	"golang.org/x/sys/unix"
)

// errMoved: between the look and the act somebody else was there.
var errMoved = errors.New("the host has changed it at this moment; nothing of it was replaced")

// apply brings one change over. All is done in the parent directory, which is opened
// anew each time from the overlay's root, without following a link.
func (a *applier) apply(ctx context.Context, ch Change) error {
	r, err := a.root(ch.overlay)
	if err != nil {
		return err
	}
	if ch.Was != nil && ch.Now != nil && ch.Was.Type == Directory && ch.Now.Type == Directory {
		a.later(ch, ch.expected)
		return nil
	}
	dir, base := split(ch.Path)
	parent, err := beneath(r.host, dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	act := func() error { return a.act(ctx, r, parent, base, ch) }
	err = act()
	if errors.Is(err, unix.EACCES) && a.unlock(ch, parent, dir) {
		err = act()
	}
	return err
}

func (a *applier) act(ctx context.Context, r pair, parent int, base string, ch Change) error {
	switch {
	case ch.Kind == Deleted:
		return a.remove(ctx, parent, base, ch)
	case ch.Kind == Changed && !ch.Content && !ch.Attrs && ch.expected.links < 2: // else other names of it would change, too
		return a.chmod(parent, base, ch)
	}
	if err := a.build(r, parent, ch); err != nil {
		_ = layer.RemoveAll(parent, a.temp) // the reason is what counts
		return err
	}
	if err := a.place(ctx, parent, base, ch); err != nil {
		_ = layer.RemoveAll(parent, a.temp)
		return err
	}
	if ch.Now.Type == Directory {
		a.later(ch, file{})
	}
	return nil
}

// build makes the new file under the temporary name.
func (a *applier) build(r pair, parent int, ch Change) error {
	switch ch.Now.Type {
	case Directory:
		return unix.Mkdirat(parent, a.temp, 0o700)
	case Link:
		if err := unix.Symlinkat(ch.Now.Target, parent, a.temp); err != nil {
			return err
		}
		return unix.UtimesNanoAt(parent, a.temp, times(ch.have), unix.AT_SYMLINK_NOFOLLOW)
	}
	src, done, err := openInUpper(r.upper, ch.Path, &ch.have)
	if err != nil {
		return fmt.Errorf("read the sandbox's: %w", err)
	}
	defer done()
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(parent, a.temp, flags, 0o600)
	if err != nil {
		return err
	}
	err = copyContent(fd, src, ch.have.st.Size)
	if err == nil {
		err = a.attributes(fd, src, ch)
	}
	if err == nil && ch.expected.is(File) {
		_ = unix.Fchown(fd, -1, int(ch.expected.st.Gid)) // only groups of the caller's
	}
	if err == nil {
		err = unix.Fchmod(fd, a.fileMode(ch, true))
	}
	if err == nil {
		err = setTimes(fd, ch.have)
	}
	return errors.Join(err, unix.Close(fd)) // some file systems say only here that they are full
}

// fileMode is what a file's permissions become. Set-id bits that the host's own file
// has stay with it as long as its content does.
func (a *applier) fileMode(ch Change, content bool) uint32 {
	allowed := uint32(0o1777)
	if !content && ch.expected.there {
		allowed |= ch.expected.perm()
	}
	if a.o.KeepSetID {
		allowed = 0o7777
	}
	if lost := ch.have.perm() &^ allowed; lost != 0 {
		a.note("%s: without its setuid and setgid bits (--keep-setid brings them)", ch.Path)
	}
	return ch.have.perm() & allowed
}

// chmod changes the permissions of the very file that was looked at.
func (a *applier) chmod(parent int, base string, ch Change) error {
	fd, err := openat(parent, base, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	f, err := look(fd, "")
	if err != nil {
		return err
	}
	if f.print() != ch.expected.print() {
		return errMoved
	}
	return chmodFD(fd, a.fileMode(ch, false))
}

// place gives the new file its name. Where the host has one it swaps the two, looks at
// what it has got, and swaps them back if that is not what was compared.
func (a *applier) place(ctx context.Context, parent int, base string, ch Change) error {
	if !ch.expected.there {
		err := unix.Renameat2(parent, a.temp, parent, base, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EINVAL) { // network file systems
			return a.placeSimply(ctx, parent, base, ch)
		}
		if errors.Is(err, unix.EEXIST) {
			return errMoved
		}
		return err
	}
	err := unix.Renameat2(parent, a.temp, parent, base, unix.RENAME_EXCHANGE)
	switch {
	case errors.Is(err, unix.EINVAL):
		return a.placeSimply(ctx, parent, base, ch)
	case errors.Is(err, unix.ENOENT):
		return errMoved
	case err != nil:
		return err
	}
	if err := a.got(ctx, parent, ch); err != nil {
		return errors.Join(err, unix.Renameat2(parent, a.temp, parent, base, unix.RENAME_EXCHANGE))
	}
	return layer.RemoveAll(parent, a.temp)
}

// placeSimply is for file systems without renameat2's flags: between the look and the
// rename there is a moment that is not guarded.
func (a *applier) placeSimply(ctx context.Context, parent int, base string, ch Change) error {
	f, err := look(parent, base)
	if err != nil {
		return err
	}
	if f.there != ch.expected.there || f.there && a.changed(ch, f) {
		return errMoved
	}
	if !f.is(Directory) && ch.Now.Type != Directory || !f.there {
		return unix.Renameat(parent, a.temp, parent, base)
	}
	if err := a.removeSimply(ctx, parent, base, ch); err != nil {
		return err
	}
	return unix.Renameat(parent, a.temp, parent, base)
}

func (a *applier) removeSimply(ctx context.Context, parent int, base string, ch Change) error {
	if ch.expected.is(Directory) {
		t, err := survey(ctx, parent, base, a.ours(ch))
		if err != nil {
			return err
		}
		if t.newest > a.since && !a.o.Force {
			return errMoved
		}
		a.goes(ch, t.linked...)
	}
	return layer.RemoveAll(parent, base)
}

// got checks that what now has the temporary name is the file that was compared.
func (a *applier) got(ctx context.Context, parent int, ch Change) error {
	f, err := look(parent, a.temp)
	if err != nil {
		return err
	}
	if f.typ() != ch.expected.typ() || f.st.Ino != ch.expected.st.Ino {
		return errMoved
	}
	if !f.is(Directory) {
		if f.print().moved(ch.expected.print()) {
			return errMoved
		}
		if f.links > 1 {
			a.goes(ch, f.st.Ino)
		}
		return nil
	}
	t, err := survey(ctx, parent, a.temp, a.ours(ch))
	if err != nil {
		return err
	}
	if t.newest > a.since && !a.o.Force {
		return fmt.Errorf("the host has changed %s in it at this moment", quote(t.name))
	}
	a.goes(ch, t.linked...)
	return nil
}

// changed is whether what the host has there is not what was compared, but for other names
// of it that went with this apply.
func (a *applier) changed(ch Change, f file) bool {
	if a.ours(ch)(f.st.Ino) {
		return f.print().moved(ch.expected.print())
	}
	return f.print() != ch.expected.print()
}

// inode is one of the file system that an overlay lies on.
type inode struct {
	overlay int
	number  uint64
}

// goes remembers inodes that lose a name: others may be among what is to come.
func (a *applier) goes(ch Change, numbers ...uint64) {
	if a.fewer == nil {
		a.fewer = map[inode]bool{}
	}
	for _, n := range numbers {
		a.fewer[inode{ch.overlay, n}] = true
	}
}

func (a *applier) ours(ch Change) func(uint64) bool {
	return func(n uint64) bool { return a.fewer[inode{ch.overlay, n}] }
}

// remove takes a name away: first to the temporary name, where it is looked at.
func (a *applier) remove(ctx context.Context, parent int, base string, ch Change) error {
	err := unix.Renameat2(parent, base, parent, a.temp, unix.RENAME_NOREPLACE)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EINVAL):
		f, err := look(parent, base)
		if err != nil {
			return err
		}
		if f.there && a.changed(ch, f) {
			return errMoved
		}
		return a.removeSimply(ctx, parent, base, ch)
	case err != nil:
		return err
	}
	if err := a.got(ctx, parent, ch); err != nil {
		return errors.Join(err, unix.Renameat2(parent, a.temp, parent, base, unix.RENAME_NOREPLACE))
	}
	return layer.RemoveAll(parent, a.temp)
}

// lateDir is a directory that gets its permissions when all in it is done.
type lateDir struct {
	ch    Change
	path  string
	mode  uint32
	inode uint64 // 0: one that the apply has made
	own   bool   // only the permissions, which were changed for the time being
}

func (a *applier) later(ch Change, host file) {
	l := lateDir{ch: ch, path: ch.Path, mode: ch.have.perm()}
	allowed := uint32(upperMode) // a directory's set-group-ID runs nothing
	if a.o.KeepSetID {
		allowed = 0o7777
	}
	if host.there {
		l.inode = host.st.Ino
		allowed |= host.perm()
	}
	l.mode &= allowed
	a.last = append(a.last, l)
}

// unlock makes a directory of the caller's own writable, in which the sandbox, too, had
// made itself room for the time being.
func (a *applier) unlock(ch Change, parent int, dir string) bool {
	f, err := look(parent, "")
	if err != nil || int(f.st.Uid) != os.Geteuid() || f.st.Mode&0o300 == 0o300 || chmodFD(parent, f.perm()|0o300) != nil {
		return false
	}
	for _, l := range a.last {
		if l.ch.overlay == ch.overlay && l.path == dir {
			return true // its permissions are set anyway
		}
	}
	a.last = append(a.last, lateDir{ch: ch, path: dir, mode: f.perm(), inode: f.st.Ino, own: true})
	return true
}

func (a *applier) lateDirs() error {
	var errs []error
	for i := len(a.last) - 1; i >= 0; i-- {
		if err := a.lateDir(a.last[i]); err != nil {
			errs = append(errs, fmt.Errorf("apply %s: %w", quote(a.last[i].path), err))
		}
	}
	a.last = nil
	return errors.Join(errs...)
}

func (a *applier) lateDir(l lateDir) error {
	r := a.roots[l.ch.overlay]
	fd, err := beneath(r.host, l.path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	f, err := look(fd, "")
	if err != nil {
		return err
	}
	if l.inode != 0 && f.st.Ino != l.inode {
		return errMoved
	}
	if l.own {
		return chmodFD(fd, l.mode)
	}
	if l.ch.Attrs || l.inode == 0 {
		if err := a.dirAttributes(r, fd, l); err != nil {
			return err
		}
	}
	if l.inode == 0 {
		l.mode |= f.perm() & unix.S_ISGID // of the directory that it is in
	}
	if err := chmodFD(fd, l.mode); err != nil || l.inode != 0 {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, fdPath(fd), times(l.ch.have), 0)
}

// dirAttributes brings the attributes of a directory over.
func (a *applier) dirAttributes(r pair, fd int, l lateDir) error {
	src, done, err := openInUpper(r.upper, l.path, &l.ch.have)
	if err != nil {
		return err
	}
	defer done()
	dst, err := openat(unix.AT_FDCWD, fdPath(fd), unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	return a.attributes(dst, src, l.ch)
}
