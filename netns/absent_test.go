package netns

import (
	"context"
	"net"
	"testing"
	"time"
)

// TestAbsent: only a server that knows makes a name one that is not there.
func TestAbsent(t *testing.T) {
	u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			q, err := parseQuestion(buf[:n])
			if err != nil {
				continue
			}
			code := map[string]uint16{"gone.example": rcodeNXDomain, "broken.example": rcodeServFail}[q.name]
			if q.name != "silent.example" {
				_, _ = u.WriteTo(reply(buf[:n], q, code), from)
			}
		}
	}()
	r := testResolver(t, "192.0.2.7 here.example\n", "nameserver 127.0.0.1\n", u.LocalAddr().(*net.UDPAddr).Port)
	for name, want := range map[string]bool{"gone.example": true, "broken.example": false, "empty.example": false, "here.example": false, "a..b": false} {
		if got := r.Absent(t.Context(), name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if r.Absent(ctx, "silent.example") {
		t.Error("nobody has answered, and the name is said not to be there")
	}
}
