package images

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

func sha256Of(data []byte) digest.Digest {
	sum := sha256.Sum256(data)
	return digest.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// hasBlob trusts a blob that has its name and its size: only verified content
// is ever given a name here, and the unpacker verifies again.
func (s *Store) hasBlob(d digest.Digest, size int64) bool {
	var st unix.Stat_t
	return unix.Lstat(s.blobPath(d), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == size
}

// readBlob reads a small blob and checks it again: it may not be us who wrote
// into the layout.
func (s *Store) readBlob(d digest.Digest, most int64) ([]byte, error) {
	if err := wantSHA256(d); err != nil {
		return nil, err
	}
	data, err := readBounded(s.readPath(d), most)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail(ErrCorrupt, "read the blob %s: it is missing from the store", d).hint("pull the image again")
	}
	if err != nil {
		return nil, fmt.Errorf("read the blob %s: %w", d, err)
	}
	if sha256Of(data) != d {
		return nil, fail(ErrCorrupt, "read the blob %s: its content in the store has changed", d).hint("remove the image (coracle rmi) and pull it again")
	}
	return data, nil
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if st.Size() > most {
		return nil, fail(ErrTooLarge, "%s has %d bytes, more than %d", path, st.Size(), most)
	}
	data := make([]byte, st.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return data, nil
}

func wantSHA256(d digest.Digest) error {
	if why := checkDigest(string(d)); why != "" {
		return fail(ErrUnsupported, "digest %s: %s", quote(string(d)), why)
	}
	if d.Algorithm() != digest.SHA256 {
		return fail(ErrUnsupported, "digest %s: only sha256 is supported", d)
	}
	return nil
}

// verifier counts and hashes what passes, and refuses too much at once.
type verifier struct {
	want digest.Digest
	size int64 // -1: unknown
	sum  interface {
		io.Writer
		Sum([]byte) []byte
	}
	n int64
}

func newVerifier(d digest.Digest, size int64) *verifier {
	return &verifier{want: d, size: size, sum: sha256.New()}
}

func (v *verifier) Write(p []byte) (int, error) {
	v.n += int64(len(p))
	if v.size >= 0 && v.n > v.size {
		return 0, fail(ErrCorrupt, "blob %s: more than the %d bytes that were announced", v.want, v.size)
	}
	return v.sum.Write(p)
}

// digest is that of what has passed.
func (v *verifier) digest() digest.Digest {
	return digest.Digest("sha256:" + hex.EncodeToString(v.sum.Sum(nil)))
}

func (v *verifier) check() error {
	if v.size >= 0 && v.n != v.size {
		return fail(ErrCorrupt, "blob %s: it ends after %d of %d bytes", v.want, v.n, v.size)
	}
	if got := v.digest(); got != v.want {
		return fail(ErrCorrupt, "blob %s: its content has digest %s", v.want, got)
	}
	return nil
}

// origin is where a blob comes from: open gives what it has from a place on. Only where
// resumes says so may that be another than 0.
type origin struct {
	open    func(at int64) (io.ReadCloser, error)
	resumes bool
	again   bool // what the first open gave may be wrong, what the next gives is the blob
}

// putBlob streams a blob into the store, verified. It waits for another that
// is fetching the same one, and goes on where one that died had come to. The file it
// returns is open for reading, at the blob's start, and may be read before the blob is
// durable: finish makes it so.
func (s *Store) putBlob(ctx context.Context, d digest.Digest, size int64, from origin, seen func(p []byte)) (*blob, error) {
	if err := wantSHA256(d); err != nil {
		return nil, err
	}
	l, err := s.acquire(ctx, "blob-"+d.Encoded())
	if err != nil {
		return nil, err
	}
	if s.hasBlob(d, size) {
		l.Release()
		f, err := os.Open(s.blobPath(d))
		if err != nil {
			return nil, err
		}
		return &blob{file: f}, nil
	}
	t, err := s.fetch(ctx, d, size, from, seen)
	if err != nil {
		l.Release()
		return nil, err
	}
	return &blob{store: s, file: t.File, temp: t, lock: l, path: s.blobPath(d), added: true}, nil
}

func (s *Store) fetch(ctx context.Context, d digest.Digest, size int64, from origin, seen func(p []byte)) (_ *tempFile, err error) {
	if from.resumes && size >= minPartial {
		return s.fetchPartial(ctx, d, size, from, seen)
	}
	t, err := s.newTemp()
	if err != nil {
		return nil, err
	}
	if err := s.receive(ctx, t, newVerifier(d, size), from, seen); err != nil {
		t.discard()
		return nil, err
	}
	return t, nil
}

// receive writes what is still missing of a blob behind what the verifier has seen.
func (s *Store) receive(ctx context.Context, t *tempFile, v *verifier, from origin, seen func(p []byte)) error {
	if v.n > 0 && v.n == v.size { // all of it had come, and was not looked at any more
		return errors.Join(v.check(), seekStart(t.File))
	}
	r, err := from.open(v.n)
	if err != nil {
		return err
	}
	defer r.Close()
	buf := make([]byte, 256<<10)
	for {
		n, rerr := r.Read(buf)
		if _, err := v.Write(buf[:n]); err != nil {
			return err
		}
		if _, err := t.Write(buf[:n]); err != nil {
			return explainWrite(err, s.root)
		}
		if seen(buf[:n]); ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if rerr == io.EOF {
			break
		}
		if rerr != nil {
			return fmt.Errorf("fetch the blob %s: %w", v.want, rerr)
		}
	}
	if err := v.check(); err != nil {
		return err
	}
	return seekStart(t.File)
}

// blob is a verified blob that is open, and perhaps not durable yet.
type blob struct {
	store *Store
	file  *os.File
	temp  *tempFile // nil: it was there
	lock  *Lock
	path  string
	added bool
}

// finish makes the blob durable and lets others see it.
func (b *blob) finish() error {
	if b.temp == nil || b.lock == nil {
		return nil
	}
	defer b.abandon()
	if err := b.temp.keep(b.path); err != nil {
		return explainWrite(fmt.Errorf("store the blob %s: %w", b.path, err), b.store.root)
	}
	return nil
}

// abandon drops what finish did not keep; the descriptor stays open.
func (b *blob) abandon() {
	if b.temp != nil && !b.temp.done {
		os.Remove(b.temp.Name())
	}
	if b.lock != nil {
		b.lock.Release()
		b.lock = nil
	}
}

func (b *blob) close() {
	b.abandon()
	b.file.Close()
}
