package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"coracle/internal/foreground"

	"golang.org/x/sys/unix"
)

// CopyOptions are one `coracle cp`. From and To are CONTAINER:PATH, a path of
// the host, or "-" for a tar stream.
type CopyOptions struct {
	From, To  string
	Archive   bool // what goes into a container belongs to its user, else to the same ids
	Follow    bool // -L: copy what a link names
	Overwrite bool

	Stdin, Stdout *os.File
}

// Copy copies files between the host and containers.
func (e *Engine) Copy(ctx context.Context, o CopyOptions) error {
	from, to := parseEnd(o.From), parseEnd(o.To)
	switch {
	case from.container == "" && to.container == "":
		return &Error{Err: errors.New("one of the two must be a container's: CONTAINER:PATH"), Help: "cp(1) copies on the host; ./NAME is a file whose name has a colon"}
	case from.stream && to.container == "", to.stream && from.container == "":
		return &Error{Err: errors.New("a tar stream goes to a container or comes from one")}
	}
	if to.stream && foreground.IsTerminal(o.Stdout) {
		return &Error{Err: errors.New("refusing to write a tar stream to a terminal"), Help: "coracle cp " + o.From + " - >FILE.tar"}
	}
	src, err := e.side(ctx, from, o)
	if err != nil {
		return err
	}
	defer src.close()
	if b, ok := src.(*boxSide); ok && !b.c.Running() {
		if c, err := e.find(to.container); err == nil && c.ID == b.c.ID {
			return &Error{Err: errors.New("both are in one container, which does not run"), Help: "copy by way of the host, or start it: coracle start " + c.Name}
		}
	}
	dst, err := e.side(ctx, to, o)
	if err != nil {
		return err
	}
	defer dst.close()
	notes, err := copyFiles(from, to, src, dst, o)
	for _, n := range notes {
		e.warn(n, "")
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// copyEnd is where something is copied from or to.
type copyEnd struct {
	container string
	path      string
	stream    bool
}

func (c copyEnd) String() string {
	if c.container != "" {
		return c.container + ":" + c.path
	}
	return c.path
}

// parseEnd reads an argument as docker does: a name with a colon is a
// container's, unless it begins like a path.
func parseEnd(arg string) copyEnd {
	name, rest, ok := strings.Cut(arg, ":")
	switch {
	case arg == "-":
		return copyEnd{path: arg, stream: true}
	case !ok || name == "" || strings.HasPrefix(arg, ".") || strings.ContainsRune(name, '/'):
		return copyEnd{path: arg}
	}
	return copyEnd{container: name, path: rest}
}

// side is one of the two: the host, or a container. Paths are as they were
// given, and absolute for a container.
type side interface {
	stat(name string, follow bool) (fileStat, error)
	pack(w *os.File, name string, o packOptions) (notes []string, err error)
	store(r *os.File, dir string, o storeOptions) (notes []string, err error)
	close()
}

func (e *Engine) side(ctx context.Context, at copyEnd, o CopyOptions) (side, error) {
	if at.container == "" {
		return hostSide{}, nil
	}
	v, err := e.openFiles(ctx, at.container, false)
	if err != nil {
		return nil, err
	}
	return &boxSide{v, o.Archive}, nil
}

// target is what a copy becomes: the name of its first entry, and the directory
// that it is put into.
type target struct {
	as, dir string
	through bool
}

func copyFiles(from, to copyEnd, src, dst side, o CopyOptions) ([]string, error) {
	if from.stream {
		st, err := dst.stat(to.path, true)
		if err == nil && !st.isDir() {
			err = unix.ENOTDIR
		}
		if err != nil {
			return nil, fmt.Errorf("copy to %s: %w", to, err)
		}
		notes, err := dst.store(o.Stdin, to.path, storeOptions{Overwrite: o.Overwrite})
		return notes, wrapCopy("copy to", to, err)
	}
	content := strings.HasSuffix(from.path, "/.") || from.path == "."
	follow := o.Follow || strings.HasSuffix(from.path, "/") || content
	st, err := src.stat(from.path, follow)
	if err == nil && !st.isDir() && (content || strings.HasSuffix(from.path, "/")) {
		err = unix.ENOTDIR
	}
	if err != nil {
		return nil, wrapCopy("copy", from, err)
	}
	base := baseOf(from)
	if content || base == "/" {
		base = "."
	}
	if to.stream {
		notes, err := src.pack(o.Stdout, from.path, packOptions{As: base, Follow: follow})
		return notes, wrapCopy("copy", from, err)
	}
	t, err := aim(st, base, to, dst, o)
	if err != nil {
		return nil, wrapCopy("copy to", to, err)
	}
	return pipeline(from, to, src, dst, packOptions{As: t.as, Follow: follow}, t, o)
}

func wrapCopy(what string, at copyEnd, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, at, err)
}

// baseOf is the name that a source has.
func baseOf(at copyEnd) string {
	if at.container == "" {
		if abs, err := filepath.Abs(at.path); err == nil {
			return filepath.Base(abs)
		}
	}
	return path.Base(path.Clean("/" + at.path))
}

// aim says what a copy becomes, by docker's rules.
func aim(src fileStat, base string, to copyEnd, dst side, o CopyOptions) (target, error) {
	there, err := dst.stat(to.path, true)
	switch {
	case err == nil && there.isDir():
		return target{as: base, dir: to.path}, nil
	case err == nil && src.isDir() && !o.Overwrite:
		return target{}, errors.New("a directory cannot take the place of another file (--overwrite lets it)")
	case err != nil && !errors.Is(err, unix.ENOENT):
		return target{}, err
	case strings.HasSuffix(to.path, "/") && !src.isDir():
		return target{}, unix.ENOENT
	}
	dir, as := path.Split(strings.TrimRight(to.path, "/"))
	if dir == "" {
		dir = "."
	}
	if as == "" || as == "." || as == ".." {
		return target{}, unix.ENOENT
	}
	up, err := dst.stat(dir, true)
	if err == nil && !up.isDir() {
		err = unix.ENOTDIR
	}
	if err != nil {
		return target{}, fmt.Errorf("its directory: %w", err)
	}
	self, err := dst.stat(strings.TrimRight(to.path, "/"), false)
	return target{as: as, dir: dir, through: err == nil && self.isLink() && there.Mode&unix.S_IFMT == unix.S_IFREG}, nil
}

// pipeline copies through a pipe of tar.
func pipeline(from, to copyEnd, src, dst side, p packOptions, t target, o CopyOptions) ([]string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	_, _ = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, dataBuffer) // a user may be over the limit of the small ones
	var stored []string
	done := make(chan error, 1)
	go func() {
		var err error
		stored, err = dst.store(r, t.dir, storeOptions{Overwrite: o.Overwrite, Through: t.through})
		r.Close()
		done <- err
	}()
	notes, err := src.pack(w, from.path, p)
	w.Close()
	storeErr := <-done
	notes = append(notes, stored...)
	if storeErr != nil && (err == nil || errors.Is(err, unix.EPIPE)) {
		return notes, wrapCopy("copy to", to, storeErr)
	}
	return notes, wrapCopy("copy", from, err)
}

// hostSide are the caller's own files.
type hostSide struct{}

func (hostSide) close() {}

func (hostSide) stat(name string, follow bool) (fileStat, error) {
	var st unix.Stat_t
	call := unix.Lstat
	if follow {
		call = unix.Stat
	}
	err := call(name, &st)
	return fileStat{Mode: st.Mode}, err
}

func (hostSide) pack(w *os.File, name string, o packOptions) ([]string, error) {
	flags := unix.O_PATH
	if !o.Follow {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := openat(unix.AT_FDCWD, name, flags)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	p := newPacker(w, o)
	err = p.packFD(fd)
	return p.notes, err
}

// store takes what a container says, which may be anything: nothing is made
// outside of the directory, no link below it is followed, nothing is set-id.
func (hostSide) store(r *os.File, dir string, o storeOptions) ([]string, error) {
	fd, err := openat(unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	o.Host, o.Through = true, false
	u := newUnpacker(o)
	u.root = fd
	err = u.unpack(r)
	return u.notes, err
}

// boxSide is a container.
type boxSide struct {
	*filesView
	archive bool
}

func (b *boxSide) stat(name string, follow bool) (fileStat, error) {
	if err := b.mountedOver(name); err != nil {
		return fileStat{}, err
	}
	reply, err := b.call(filesRequest{Op: "stat", Path: cleanPath(name), Pack: packOptions{Follow: follow}})
	return reply.Stat, err
}

func (b *boxSide) pack(w *os.File, name string, o packOptions) ([]string, error) {
	reply, err := b.call(filesRequest{Op: "out", Path: cleanPath(name), Pack: o}, w)
	return reply.Notes, err
}

func (b *boxSide) store(r *os.File, dir string, o storeOptions) ([]string, error) {
	o.Chown = b.archive
	if p := b.spec.Process; p != nil {
		o.UID, o.GID = int(p.User.UID), int(p.User.GID)
	}
	reply, err := b.call(filesRequest{Op: "in", Path: cleanPath(dir), Store: o}, r)
	return reply.Notes, err
}

// mountedOver refuses paths in volumes of a container that does not run: there
// they are not mounted, and what is below is not what is meant.
func (b *boxSide) mountedOver(name string) error {
	if b.c.Running() {
		return nil
	}
	at := path.Clean("/" + name)
	for _, m := range b.spec.Mounts {
		dest := path.Clean("/" + m.Destination)
		if at == dest || strings.HasPrefix(at, strings.TrimSuffix(dest, "/")+"/") {
			return &Error{Err: fmt.Errorf("%s is mounted on %s only while the container runs", mountName(m.Type, m.Source), dest), Help: "coracle start " + b.c.Name}
		}
	}
	return nil
}

func mountName(kind, source string) string {
	if filepath.IsAbs(source) {
		return source
	}
	return "a " + kind
}
