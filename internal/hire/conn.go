package hire

import (
	"fmt"
	"io"
	"os"

	"coracle/internal/plainfile"

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

// Write is Send without files.
func (c *Conn) Write(data []byte) (int, error) {
	if err := c.Send(data); err != nil {
		return 0, err
	}
	return len(data), nil
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
