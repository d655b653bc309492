package fuse

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// copyData fills dst: FICLONE until it has been refused once, then
// copy_file_range, then by hand. Holes are kept.
func (b *builder) copyData(src, dst int, size int64) (cloned bool, err error) {
	b.mu.Lock()
	try := !b.noFICLONE
	b.mu.Unlock()
	if try {
		err := unix.IoctlFileClone(dst, src)
		if err == nil {
			return true, nil
		}
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			return false, err
		}
		b.mu.Lock()
		b.noFICLONE = true
		b.mu.Unlock()
	}
	return false, copySparse(src, dst, size)
}

// copySparse copies the parts of a file that hold data.
func copySparse(src, dst int, size int64) error {
	if err := unix.Ftruncate(dst, size); err != nil {
		return err
	}
	for at := int64(0); at < size; {
		start, err := unix.Seek(src, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // a hole up to the end
		}
		end := size
		if err != nil { // a file system that knows no holes
			start = at
		} else if end, err = unix.Seek(src, start, unix.SEEK_HOLE); err != nil {
			end = size
		}
		if err := copyRange(src, dst, start, end); err != nil {
			return err
		}
		at = end
	}
	return nil
}

func copyRange(src, dst int, at, end int64) error {
	for at < end {
		from, to := at, at
		n, err := unix.CopyFileRange(src, &from, dst, &to, int(min(end-at, 1<<30)), 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.EIO):
			return copyByHand(src, dst, at, end) // another device, an old kernel, a file system without it
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF // shorter than it said: nobody may write to layers
		}
		at += int64(n)
	}
	return nil
}

func copyByHand(src, dst int, at, end int64) error {
	buf := make([]byte, 1<<18)
	for at < end {
		n, err := unix.Pread(src, buf[:min(int64(len(buf)), end-at)], at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		for done := 0; done < n; {
			m, err := unix.Pwrite(dst, buf[done:n], at+int64(done))
			if err != nil && !errors.Is(err, unix.EINTR) {
				return err
			}
			done += max(m, 0)
		}
		at += int64(n)
	}
	return nil
}
