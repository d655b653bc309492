package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// receive is conmon's end of --console-socket, and containerd's of
// --pidfd-socket: it listens, takes one descriptor with its name, and says what
// it is. What a terminal says then goes to standard output.
func receive(args []string) error {
	l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	patience := unix.NsecToTimeval(int64(30 * time.Second))
	if err := errors.Join(unix.Bind(l, &unix.SockaddrUnix{Name: args[0]}), unix.Listen(l, 1),
		unix.SetsockoptTimeval(l, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience)); err != nil {
		return err
	}
	conn, _, err := unix.Accept(l)
	if err != nil {
		return err
	}
	name, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(conn, name, oob, 0)
	if err != nil {
		return err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		return fmt.Errorf("%d control messages, %w", len(msgs), err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return fmt.Errorf("%d descriptors, %w", len(fds), err)
	}
	fmt.Printf("received %s\n", name[:n])
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fds[0]))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(info)) {
		if pid, ok := strings.CutPrefix(line, "Pid:"); ok {
			fmt.Println("pidfd of", strings.TrimSpace(pid))
			return nil
		}
	}
	// A terminal's master says EIO when the last of the other end is closed.
	_, err = io.Copy(os.Stdout, os.NewFile(uintptr(fds[0]), "received"))
	if errors.Is(err, unix.EIO) {
		err = nil
	}
	return err
}
