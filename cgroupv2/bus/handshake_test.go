package bus

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestHandshake: all that is said comes at once, BEGIN together with lines that are
// answered, and nothing follows before the answer. A server that is in no hurry then
// never has BEGIN and a message in one buffer.
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
		for range strings.Count(greeting, "\n") {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			said <- line
		}
		said <- fmt.Sprint(in.Buffered()) // nothing came with it
		if _, err := c.Write([]byte("DATA\r\nOK 1234\r\nAGREE_UNIX_FD\r\n")); err != nil {
			return
		}
		first, _ := in.ReadByte() // the first message, which is not answered
		said <- fmt.Sprintf("%c", first)
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
	for _, want := range []string{"\x00AUTH EXTERNAL\r\n", "DATA\r\n", "NEGOTIATE_UNIX_FD\r\n", "BEGIN\r\n", "0", "l"} {
		if got := <-said; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestRefusedHandshake: whoever does not let us in, or talks otherwise, is told of.
func TestRefusedHandshake(t *testing.T) {
	for _, answer := range []string{"REJECTED EXTERNAL\r\nERROR\r\nERROR\r\n", "DATA\r\nREJECTED EXTERNAL\r\nERROR\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n\r\n", strings.Repeat("x", 5000), "DATA\r\n"} {
		path := filepath.Join(t.TempDir(), "bus")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if c, err := l.Accept(); err == nil {
				_, _ = c.Write([]byte(answer))
				_, _ = c.Read(make([]byte, 100))
				c.Close()
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if conn, err := Dial(ctx, path, true); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%.20q: %v, %v", answer, conn, err)
		}
		cancel()
		l.Close()
	}
}
