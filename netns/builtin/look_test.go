package builtin

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLook: what there is to take from a host's socket is told whole, at whatever
// moment it comes; half of a short answer would be a segment of its own.
func TestLook(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	there, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	here, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	raw, err := here.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	const answer = "an answer"
	err = raw.Control(func(fd uintptr) {
		p := puller{fd: fd}
		if done, _, errno := p.look(); done || errno != 0 {
			t.Errorf("before anything came: done %v, %v", done, errno)
		}
		buf := make([]byte, len(answer))
		go func() { // one after the other: the next when this one was taken
			for range 3000 {
				if _, err := there.Write([]byte(answer)); err != nil {
					return
				}
				if _, err := there.Read(buf[:1]); err != nil {
					return
				}
			}
			there.Close()
		}()
		taken := make([]byte, 1<<10)
		for i := 0; ; i++ {
			done, end, errno := p.look()
			for !done {
				done, end, errno = p.look()
			}
			if end {
				if i != 3000 {
					t.Errorf("it ended after %d", i)
				}
				break
			}
			if errno != 0 || p.n != len(answer) {
				t.Errorf("number %d: %d bytes of %d, %v", i, p.n, len(answer), errno)
				break
			}
			if _, err := unix.Read(int(fd), taken[:p.n]); err != nil {
				t.Error(err)
				break
			}
			if _, err := unix.Write(int(fd), taken[:1]); err != nil {
				t.Error(err)
				break
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}
