package hire

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"coracle/internal/plainfile"
	"coracle/internal/plainjson"

	"golang.org/x/sys/unix"
)

// Conn is one end of the socket between a command and a monitor: a stream of bytes,
// and of descriptors beside them.
type Conn struct {
	fd    int
	files []*os.File
}

// most is how many descriptors come with one read.
const most = 8

// Send writes data, and files with its first byte.
func (c *Conn) Send(data []byte, files ...*os.File) error {
	var rights []byte
	if len(files) > 0 {
		var fds []int
		for _, f := range files {
			raw, err := f.SyscallConn() // File.Fd would make it wait in calls
			if err == nil {
				err = raw.Control(func(fd uintptr) { fds = append(fds, int(fd)) })
			}
			if err != nil {
				return fmt.Errorf("hand a descriptor to the monitor: %w", err)
			}
		}
		rights = unix.UnixRights(fds...)
	}
	for len(data) > 0 {
		n, err := plainfile.Retry(func() (int, error) { return unix.SendmsgN(c.fd, data, rights, nil, unix.MSG_NOSIGNAL) })
		if err != nil {
			return fmt.Errorf("write to the monitor's socket: %w", err)
		}
		data, rights = data[n:], nil
	}
	return nil
}

// Tell sends a line with v in it, for ReadLine.
func (c *Conn) Tell(v any, files ...*os.File) error {
	data, err := plainjson.Encode(v)
	if err != nil {
		return err
	}
	return c.Send(append(data, '\n'), files...)
}

// ReadLine reads what Tell has sent. io.EOF: that was all.
func ReadLine(r *bufio.Reader, v any) error {
	data, err := r.ReadBytes('\n')
	if err == io.EOF && len(data) > 0 { //nolint:errorlint // as ReadBytes has it
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	return plainjson.Decode(data, v)
}

// Read keeps the descriptors that come along for Files.
func (c *Conn) Read(data []byte) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4*most))
	got := 0
	n, err := plainfile.Retry(func() (n int, err error) {
		n, got, _, _, err = unix.Recvmsg(c.fd, data, oob, unix.MSG_CMSG_CLOEXEC)
		return n, err
	})
	if err != nil {
		return 0, fmt.Errorf("read from the monitor's socket: %w", err)
	}
	if n == 0 && len(data) > 0 {
		return 0, io.EOF
	}
	messages, err := unix.ParseSocketControlMessage(oob[:got])
	if err != nil {
		return n, fmt.Errorf("read from the monitor's socket: %w", err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return n, fmt.Errorf("read from the monitor's socket: %w", err)
		}
		for _, fd := range fds {
			c.files = append(c.files, os.NewFile(uintptr(fd), "handed over"))
		}
	}
	return n, nil
}

// Files are the descriptors that have come since the last call.
func (c *Conn) Files() []*os.File {
	f := c.files
	c.files = nil
	return f
}

// Close closes it, and what has come and was not asked for.
func (c *Conn) Close() {
	if c.fd >= 0 {
		unix.Close(c.fd)
		c.fd = -1
	}
	for _, f := range c.Files() {
		f.Close()
	}
}
