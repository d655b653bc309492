package images

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// layoutSink writes an OCI image layout: a directory, which may have images
// already, or an archive.
type layoutSink struct {
	files layoutFiles
	name  string // of the image that comes next, "" for none
	full  string
	idx   *index
	mu    sync.Mutex
	have  map[string]bool
}

// layoutFiles are where a layout is written.
type layoutFiles interface {
	// put writes a file of a known size; none appears by halves.
	put(name string, size int64, write func(io.Writer) error) error
	has(name string, size int64) bool
}

func newLayoutSink(f layoutFiles) *layoutSink {
	return &layoutSink{files: f, idx: newIndex(), have: map[string]bool{}}
}

// blob: an archive takes one at a time, so all do.
func (l *layoutSink) blob(ctx context.Context, x part, seen func([]byte)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := blobName(x.desc)
	if l.have[name] || l.files.has(name, x.desc.Size) {
		return nil
	}
	l.have[name] = true
	return l.files.put(name, x.desc.Size, func(w io.Writer) error { return copySeen(ctx, w, x, seen) })
}

func (l *layoutSink) manifest(_ context.Context, raw []byte, d ocispec.Descriptor, top bool) error {
	name := blobName(d)
	if !l.have[name] && !l.files.has(name, d.Size) {
		l.have[name] = true
		if err := l.putBytes(name, raw); err != nil {
			return err
		}
	}
	if !top {
		return nil
	}
	d.Annotations = map[string]string{}
	if l.name != "" {
		d.Annotations[ocispec.AnnotationRefName] = l.name
		l.idx.Manifests = deleteNamed(l.idx.Manifests, l.name)
	}
	if l.full != "" {
		d.Annotations[annotationName] = l.full
	}
	l.idx.Manifests = append(l.idx.Manifests, d)
	return nil
}

// deleteNamed drops the entry of a name: a name stands for one image.
func deleteNamed(list []ocispec.Descriptor, name string) []ocispec.Descriptor {
	out := []ocispec.Descriptor{}
	for _, d := range list {
		if d.Annotations[ocispec.AnnotationRefName] != name {
			out = append(out, d)
		}
	}
	return out
}

func (l *layoutSink) putBytes(name string, data []byte) error {
	return l.files.put(name, int64(len(data)), func(w io.Writer) error { _, err := w.Write(data); return err })
}

// finish writes the index, which makes the images visible, and the mark.
func (l *layoutSink) finish() error {
	raw, err := json.Marshal(l.idx)
	if err != nil {
		return fmt.Errorf("encode index.json: %w", err)
	}
	if !l.files.has(ocispec.ImageLayoutFile, int64(len(layoutText))) {
		if err := l.putBytes(ocispec.ImageLayoutFile, []byte(layoutText)); err != nil {
			return err
		}
	}
	return l.putBytes(ocispec.ImageIndexFile, raw)
}

// tarLayout writes the files into an archive.
type tarLayout struct {
	w    *tar.Writer
	dirs map[string]bool
}

func newTarLayout(w *tar.Writer) tarLayout { return tarLayout{w, map[string]bool{"": true}} }

// header: no times, so that the same image makes the same archive. The owner is
// the caller, since skopeo gives what it unpacks to whom the archive says.
func (t tarLayout) header(kind byte, name string, mode, size int64) error {
	return t.w.WriteHeader(&tar.Header{Typeflag: kind, Name: name, Mode: mode, Size: size, Uid: os.Getuid(), Gid: os.Getgid(), Format: tar.FormatPAX})
}

// parents writes the directories of a name: skopeo would give to root those that
// it has to make by itself, which only root can.
func (t tarLayout) parents(name string) error {
	for i, c := range name {
		if c != '/' || t.dirs[name[:i]] {
			continue
		}
		t.dirs[name[:i]] = true
		if err := t.header(tar.TypeDir, name[:i+1], 0o755, 0); err != nil {
			return err
		}
	}
	return nil
}

func (t tarLayout) has(string, int64) bool { return false }

func (t tarLayout) put(name string, size int64, write func(io.Writer) error) error {
	if err := t.parents(name); err != nil {
		return err
	}
	if err := t.header(tar.TypeReg, name, 0o644, size); err != nil {
		return err
	}
	return write(t.w)
}

// dirLayout writes them below a directory, which nobody else of us writes to meanwhile.
type dirLayout struct {
	root *os.Root
	lock *os.File // the directory
}

// openPlace opens a directory to write images into, made where there is none, and waits for who
// writes into it: what two made of index.json at once would be one's alone.
func openPlace(ctx context.Context, dir string) (d dirLayout, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return d, err
	}
	if d.root, err = os.OpenRoot(dir); err != nil {
		return d, err
	}
	if d.lock, err = d.root.Open("."); err != nil {
		d.root.Close() //nolint:errcheck // another error is told
		return d, err
	}
	for {
		err = unix.Flock(int(d.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) //nolint:gosec // a descriptor fits
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return d, nil // network file systems may have no locks for directories
		}
		if wait(ctx, 20*time.Millisecond); ctx.Err() != nil {
			d.close()
			return d, fmt.Errorf("wait for who writes to %s: %w", dir, context.Cause(ctx))
		}
	}
}

func (d dirLayout) close() {
	d.root.Close() //nolint:errcheck // a directory
	d.lock.Close()
}

// openLayout opens a directory to write a layout into, and reads what it has. One with other
// files is refused. d is to be closed.
func openLayout(ctx context.Context, dir string) (l *layoutSink, d dirLayout, err error) {
	if d, err = openPlace(ctx, dir); err != nil {
		return nil, d, err
	}
	l = newLayoutSink(d)
	err = l.read(dir, d.root)
	// The mark is the first: when this one is killed, the next one goes on.
	if err == nil && !d.has(ocispec.ImageLayoutFile, int64(len(layoutText))) {
		err = l.putBytes(ocispec.ImageLayoutFile, []byte(layoutText))
	}
	if err == nil {
		err = d.root.MkdirAll("blobs/sha256", 0o755)
	}
	if err != nil {
		d.close()
	}
	return l, d, err
}

// isOthers says whether a directory has something that is no leftover of ours, where the mark
// is not there.
func isOthers(dir, mark string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if e.Name() == mark {
			return false, nil
		}
	}
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() != mark+tempSuffix }), nil
}

func (l *layoutSink) read(dir string, root *os.Root) error {
	raw, err := readFile(dirFiles{root}, ocispec.ImageIndexFile, maxIndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		others, err := isOthers(dir, ocispec.ImageLayoutFile)
		if others {
			return fail(nil, "write an image layout into %s: it has other files in it", quote(dir)).hint("name a new or an empty directory")
		}
		return err
	}
	if err != nil {
		return err
	}
	if err := strictJSON(raw, l.idx); err != nil {
		return fail(ErrCorrupt, "read %s", filepath.Join(dir, ocispec.ImageIndexFile)).because(err)
	}
	return nil
}

func (d dirLayout) has(name string, size int64) bool {
	st, err := d.root.Lstat(name)
	return err == nil && st.Mode().IsRegular() && st.Size() == size
}

// tempSuffix is that of a file that is being written.
const tempSuffix = ".coracle-tmp"

func (d dirLayout) put(name string, _ int64, write func(io.Writer) error) (err error) {
	temp := name + tempSuffix
	f, err := d.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			d.root.Remove(temp) //nolint:errcheck // another error is told
		}
	}()
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return d.root.Rename(temp, name)
}
