package images

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// files is a directory or an archive that is read as one.
type files interface {
	// open gives a regular file; fs.ErrNotExist when there is none.
	open(name string) (io.ReadCloser, int64, error)
	close() error
}

// readFile reads a small file of untrusted files.
func readFile(f files, name string, most int64) ([]byte, error) {
	r, size, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if size > most {
		return nil, fail(ErrTooLarge, "%s has %d bytes, more than %d", quote(name), size, most)
	}
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(data)) != size {
		err = fail(ErrCorrupt, "%s ends too early", quote(name))
	}
	return data, err
}

// dirFiles are the files below a directory; links do not lead out of it.
type dirFiles struct{ root *os.Root }

func openDir(name string) (files, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, sourceMissing(err)
	}
	return dirFiles{root}, nil
}

func sourceMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fail(ErrNotFound, "open the image").because(err)
	}
	return err
}

func (d dirFiles) open(name string) (io.ReadCloser, int64, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fail(ErrCorrupt, "%s is not a regular file", quote(name))
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

func (d dirFiles) close() error { return d.root.Close() }

// tarFiles are the members of an archive, found once and then read in place.
type tarFiles struct {
	file    *os.File
	temp    *tempFile // the archive uncompressed, where it was compressed
	members map[string]member
}

type member struct{ offset, size int64 }

const maxMembers = 100_000

// openTar indexes an archive, compressed or not.
func (s *Store) openTar(ctx context.Context, name string) (files, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, sourceMissing(err)
	}
	return s.indexTar(ctx, f)
}

// uncompress makes an archive that cannot be read in place one that can: a
// compressed one, or a pipe.
func (t *tarFiles) uncompress(ctx context.Context, s *Store) error {
	st, err := t.file.Stat()
	if err != nil {
		return err
	}
	if st.IsDir() {
		return fail(ErrCorrupt, "%s is a directory, not an archive", quote(t.file.Name())).hint("use oci:%[1]s or dir:%[1]s for a directory", t.file.Name())
	}
	in := &countingReader{r: t.file}
	r, kind, err := decompress(in)
	if err != nil {
		return err
	}
	defer r.Close()
	if kind == plain && st.Mode().IsRegular() {
		_, err := t.file.Seek(0, io.SeekStart)
		return err
	}
	if t.temp, err = s.newTemp(); err != nil {
		return err
	}
	if _, err := copyContext(ctx, &boundedWriter{w: t.temp, in: in, limits: s.opts.Limits}, r); err != nil {
		return explainWrite(fmt.Errorf("uncompress %s: %w", quote(t.file.Name()), err), s.root)
	}
	t.file.Close()
	t.file = t.temp.File
	_, err = t.file.Seek(0, io.SeekStart)
	return err
}

// countingReader counts what is read.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// boundedWriter takes what an archive uncompresses to, as far as one layer may become:
// most of what a bomb is.
type boundedWriter struct {
	w      io.Writer
	n      int64
	in     *countingReader
	limits LayerLimits
}

func (b *boundedWriter) Write(p []byte) (int, error) {
	b.n += int64(len(p))
	if err := b.limits.Check(b.n, b.in.n); err != nil {
		return 0, err
	}
	return b.w.Write(p)
}

// scan notes where each member's content begins. archive/tar reads only whole
// header blocks, so the descriptor then stands at the content.
func (t *tarFiles) scan(ctx context.Context) error {
	links := map[string]string{}
	for r := tar.NewReader(t.file); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil && len(t.members)+len(links) == 0 {
			return fail(ErrCorrupt, "%s is no tar archive", quote(t.file.Name())).because(err)
		}
		if err != nil {
			return fail(ErrCorrupt, "read the archive %s", quote(t.file.Name())).because(err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		name := path.Clean("/" + h.Name)[1:]
		if _, twice := t.members[name]; twice || links[name] != "" {
			return fail(ErrCorrupt, "the archive has %s twice", quote(name))
		}
		if len(t.members)+len(links) > maxMembers {
			return fail(ErrTooLarge, "the archive has more than %d members", maxMembers)
		}
		switch h.Typeflag {
		case tar.TypeReg:
			at, err := t.file.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			t.members[name] = member{at, h.Size}
		case tar.TypeSymlink:
			links[name] = path.Join("/", path.Dir("/"+name), h.Linkname)[1:]
		case tar.TypeLink:
			links[name] = path.Clean("/" + h.Linkname)[1:]
		}
	}
	t.follow(links)
	return nil
}

// follow resolves links among the members: old docker save wrote equal layers
// once and linked to them.
func (t *tarFiles) follow(links map[string]string) {
	for name := range links {
		to := links[name]
		for hops := 0; links[to] != "" && hops < 10; hops++ { // what leads nowhere is not there
			to = links[to]
		}
		if m, ok := t.members[to]; ok {
			t.members[name] = m
		}
	}
}

func (t *tarFiles) open(name string) (io.ReadCloser, int64, error) {
	m, ok := t.members[path.Clean("/" + name)[1:]]
	if !ok {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return io.NopCloser(io.NewSectionReader(t.file, m.offset, m.size)), m.size, nil
}

func (t *tarFiles) close() error {
	if t.temp != nil {
		t.temp.discard()
		return nil
	}
	return t.file.Close()
}
