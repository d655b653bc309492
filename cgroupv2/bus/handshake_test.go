package bus

import (
	"bufio"
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// TestHandshake: BEGIN comes together with a line that is answered, and nothing
// follows before the answer. A server that is in no hurry then never has BEGIN and
// a message in one buffer.
func TestHandshake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	said := make(chan string, 10)
	go func() {
		defer close(said)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		in := bufio.NewReader(c)
		_, _ = in.ReadByte() // the NUL that carries credentials
		for _, answer := range []string{"REJECTED EXTERNAL\r\n", "DATA\r\n", "OK 1234\r\n", "AGREE_UNIX_FD\r\n"} {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			more := make([]byte, in.Buffered()) // what came with it
			_, _ = in.Read(more)
			said <- line + string(more)
			if _, err := c.Write([]byte(answer)); err != nil {
				return
			}
		}
		_, _ = in.ReadByte() // the first message, which is not answered
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := Dial(ctx, path, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Version(); err == nil {
		t.Error("a version from nobody")
	}
	conn.Close()
	for _, want := range []string{"AUTH\r\n", "AUTH EXTERNAL\r\n", "DATA\r\n", "NEGOTIATE_UNIX_FD\r\nBEGIN\r\n"} {
		if got := <-said; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
