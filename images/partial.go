package images

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// A blob of a registry comes into cache/partial, under its digest, and stays there when its
// process dies or the connection does: the next pull goes on from there. Who holds the blob's
// lock may write it. What is in it counts for nothing until the digest of the whole is right.

const (
	// minPartial: a smaller blob is sooner fetched again than looked after.
	minPartial = 1 << 20
	// partialAge is how long what has come of a blob is kept for another try.
	partialAge = 24 * time.Hour
)

func (s *Store) partialDir() string { return filepath.Join(s.root, "cache", "partial") }

// openPartial opens what there is of a blob, which may be nothing. The caller has the blob's lock.
func (s *Store) openPartial(d digest.Digest) (*tempFile, error) {
	if err := os.MkdirAll(s.partialDir(), 0o700); err != nil {
		return nil, explainWrite(err, s.root)
	}
	path := filepath.Join(s.partialDir(), d.Encoded())
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, explainWrite(err, s.root)
	}
	// The file becomes the blob: it must be a file of its own.
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 {
		f.Close()
		return nil, fail(ErrCorrupt, "%s is not a file of its own", quote(path)).hint("remove it")
	}
	return &tempFile{File: f}, nil
}

// fetchPartial fetches what is missing of a blob.
func (s *Store) fetchPartial(ctx context.Context, d digest.Digest, size int64, from origin, seen func(p []byte)) (_ *tempFile, err error) {
	t, err := s.openPartial(d)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.leavePartial(t, err)
		}
	}()
	v := newVerifier(d, size)
	if err := hashFile(ctx, t.File, v, seen); err != nil {
		return nil, err
	}
	had := v.n
	err = s.receive(ctx, t, v, from, seen)
	if had == 0 && !from.again || !errors.Is(err, ErrCorrupt) && !errors.Is(err, errNoRanges) {
		return t, err
	}
	// Perhaps what was there was wrong: a machine that lost its power leaves any bytes.
	if err := errors.Join(t.Truncate(0), seekStart(t.File)); err != nil {
		return nil, err
	}
	return t, s.receive(ctx, t, newVerifier(d, size), from, seen)
}

// hashFile reads what has come so far. More than the blob's size is not looked at, and cut off.
func hashFile(ctx context.Context, f *os.File, v *verifier, seen func([]byte)) error {
	if _, err := copyContext(ctx, io.MultiWriter(v, seenWriter(seen)), io.LimitReader(f, v.size)); err != nil {
		return err
	}
	if err := f.Truncate(v.n); err != nil {
		return err
	}
	_, err := f.Seek(v.n, io.SeekStart)
	return err
}

func seekStart(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// leavePartial keeps what has come where another try can use it: not when it is wrong, and not
// when the disk is full.
func (s *Store) leavePartial(t *tempFile, why error) {
	st, err := t.Stat()
	if err != nil || st.Size() == 0 || errors.Is(why, ErrCorrupt) || errors.Is(why, ErrTooLarge) || errors.Is(why, ErrNotFound) ||
		errors.Is(why, unix.ENOSPC) || errors.Is(why, unix.EDQUOT) || errors.Is(why, unix.EIO) {
		t.discard()
		return
	}
	t.Close()
}

// sweepPartials removes what nobody has gone on with for long, or has in whole.
func (s *Store) sweepPartials(now time.Time) {
	entries, err := os.ReadDir(s.partialDir())
	if err != nil {
		return
	}
	for _, e := range entries {
		d := digest.Digest("sha256:" + e.Name())
		st, err := e.Info()
		if err != nil || wantSHA256(d) == nil && now.Sub(st.ModTime()) < partialAge && !s.hasFile(d) {
			continue
		}
		// Who fetches it has the lock.
		if l, err := TryLock(filepath.Join(s.root, "locks", "blob-"+e.Name())); err == nil && l != nil {
			os.Remove(filepath.Join(s.partialDir(), e.Name()))
			l.Release()
		}
	}
}

func (s *Store) hasFile(d digest.Digest) bool {
	return unix.Access(s.blobPath(d), unix.F_OK) == nil
}
