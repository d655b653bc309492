package netns

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// nameServer answers every question, without records; mark is set in its answers' second
// byte of flags.
func nameServer(t *testing.T, addr string, mark byte) *net.UDPAddr {
	t.Helper()
	u, err := net.ListenPacket("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			b[2], b[3] = 0x80|mark|b[2]&1, 0x80
			_, _ = u.WriteTo(b[:n], from)
		}
	}()
	return u.LocalAddr().(*net.UDPAddr)
}

// TestResolverFollows: the host moves to another network, and its resolv.conf names
// another server: by a file in the place of the old one, written anew, and as a link to
// that of a stub on the loopback. No container starts anew for it.
func TestResolverFollows(t *testing.T) {
	const authoritative = 0x04
	first := nameServer(t, "127.0.0.2:0", 0)
	nameServer(t, fmt.Sprintf("127.0.0.3:%d", first.Port), authoritative)
	dir := t.TempDir()
	path := filepath.Join(dir, "resolv.conf")
	write := func(name, server string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("nameserver "+server+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("resolv.conf", "127.0.0.2")
	r := NewResolver(Config{})
	r.conf.path, r.hosts.path, r.port = path, filepath.Join(dir, "none"), uint16(first.Port)
	query := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03org\x00\x00\x01\x00\x01")
	asks := func(what string, second bool) {
		t.Helper()
		r.conf.mu.Lock()
		r.conf.checked = time.Time{} // else it looks once in a second
		r.conf.mu.Unlock()
		msg := r.Answer(context.Background(), query, false)
		if len(msg) < headerLen || rcode(msg) != 0 || (msg[2]&authoritative != 0) != second {
			t.Errorf("%s: the answer is %x", what, msg)
		}
	}
	asks("before", false)
	write("new", "127.0.0.3")
	if err := os.Rename(filepath.Join(dir, "new"), path); err != nil {
		t.Fatal(err)
	}
	asks("replaced", true)
	asks("as it was", true)
	write("resolv.conf", "127.0.0.2 # home")
	asks("written anew", false)
	write("stub-resolv.conf", "127.0.0.3")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("stub-resolv.conf", path); err != nil {
		t.Fatal(err)
	}
	asks("a link to the stub's", true)
	write("stub-resolv.conf", "127.0.0.2 # moved")
	asks("the stub's is written anew", false)
}
