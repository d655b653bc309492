package layer

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A layer's notes stand beside its directory, in files of records that end with
// a NUL: "pending" is for Finish and goes with it, "stat" stays (see Stat).
const (
	pendingFile = "pending"
	statFile    = "stat"
	timesFile   = ".times"
)

// notes is a file of records, made with the first of them.
type notes struct {
	dirfd int
	name  string
	f     *os.File
	w     *bufio.Writer
}

func (n *notes) add(fields ...string) error {
	if n.f == nil {
		fd, err := openat(n.dirfd, n.name, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return fmt.Errorf("create %s: %w", n.name, err)
		}
		n.f = os.NewFile(uintptr(fd), n.name)
		n.w = bufio.NewWriter(n.f)
	}
	for _, f := range fields {
		n.w.WriteString(f)
		n.w.WriteByte(0)
	}
	_, err := n.w.Write(nil) // its error is sticky
	return err
}

// close writes out what is left, and says so if that fails: a full disk may
// only be noticed here.
func (n *notes) close() error {
	if n.f == nil {
		return nil
	}
	err := errors.Join(n.w.Flush(), n.f.Close())
	n.f = nil
	if err != nil {
		return fmt.Errorf("write %s: %w", n.name, err)
	}
	return nil
}

// scanRecords is a bufio.SplitFunc for fields that end with a NUL.
func scanRecords(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return 0, nil, nil
}

// maxTimes is how many bytes of directory times are kept in memory.
const maxTimes = 1 << 20

// times keeps the modification times of directories until everything in them
// has been made: in memory while they are few, then in an unlinked file.
type times struct {
	dirfd int
	buf   []byte
	f     *os.File
}

func (t *times) add(name string, sec, nsec int64) error {
	t.buf = binary.LittleEndian.AppendUint16(t.buf, uint16(len(name)))
	t.buf = append(t.buf, name...)
	t.buf = binary.LittleEndian.AppendUint64(t.buf, uint64(sec))
	t.buf = binary.LittleEndian.AppendUint32(t.buf, uint32(nsec))
	if len(t.buf) < maxTimes {
		return nil
	}
	return t.spill()
}

func (t *times) spill() error {
	if t.f == nil {
		fd, err := openat(t.dirfd, timesFile, unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return fmt.Errorf("create %s: %w", timesFile, err)
		}
		t.f = os.NewFile(uintptr(fd), timesFile)
		if err := unix.Unlinkat(t.dirfd, timesFile, 0); err != nil {
			return fmt.Errorf("remove %s: %w", timesFile, err)
		}
	}
	_, err := t.f.Write(t.buf)
	t.buf = t.buf[:0]
	return err
}

// each gives the times back in the order in which they came.
func (t *times) each(do func(name string, sec, nsec int64) error) error {
	var r io.Reader = bytes.NewReader(t.buf)
	if t.f != nil {
		if err := t.spill(); err != nil {
			return err
		}
		if _, err := t.f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		r = bufio.NewReaderSize(t.f, 64<<10)
	}
	buf := make([]byte, maxPath+12)
	for {
		if _, err := io.ReadFull(r, buf[:2]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		n := int(binary.LittleEndian.Uint16(buf))
		if _, err := io.ReadFull(r, buf[:n+12]); err != nil {
			return err
		}
		sec := int64(binary.LittleEndian.Uint64(buf[n:]))
		nsec := int64(binary.LittleEndian.Uint32(buf[n+8:]))
		if err := do(string(buf[:n]), sec, nsec); err != nil {
			return err
		}
	}
}

func (t *times) close() {
	if t.f != nil {
		t.f.Close()
	}
}
