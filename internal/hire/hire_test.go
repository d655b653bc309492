package hire

import (
	"bufio"
	"io"
	"os"
	"strings"
	"testing"

	"coracle/internal/plainjson/agree"

	"golang.org/x/sys/unix"
)

func TestWanted(t *testing.T) {
	for line, want := range map[string]bool{
		"coracle run -d debian sleep 1":                   true,
		"coracle run -dit --name d debian sh":             true,
		"coracle run --network none --detach=x debian sh": false, // somebody else says what is wrong with it
		"coracle run --name web --detach debian":          true,
		"coracle run --rm debian sh -d":                   false,
		"coracle run --rm -- debian -d":                   false,
		"coracle run -v /d:/d debian tail -d":             false,
		"coracle run -it debian":                          false,
		"coracle run -d --preserve-fds 1 debian":          false,
		"coracle run -d --dry-run debian":                 false,
		"coracle run":                                     false,
		"coracle start web":                               true,
		"coracle create -d":                               false,
		"coracle-oci start web":                           true, // if it comes this far, which it does with a wrong word
		"podman run --rm -d debian":                       true,
		"coracle":                                         false,
	} {
		if got := wanted(strings.Fields(line)); got != want {
			t.Errorf("%s: %v, want %v", line, got, want)
		}
	}
}

func pair(t *testing.T) (a, b *Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b = &Conn{fd: fds[0]}, &Conn{fd: fds[1]}
	t.Cleanup(a.Close)
	t.Cleanup(b.Close)
	return a, b
}

// Orders arrive whole, however long they are and however they are read, and what comes
// with them in order.
func TestOrders(t *testing.T) {
	ours, theirs := pair(t)
	files := make([]*os.File, 2)
	for i, text := range []string{"lock", "client"} {
		f, err := os.CreateTemp(t.TempDir(), text)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		files[i] = f
	}
	long := strings.Repeat("x", 1<<20)
	go func() {
		for i, o := range []Order{{ID: long}, {Go: true, Client: true}} {
			if err := ours.Tell(o, files[i]); err != nil {
				t.Error(err)
			}
		}
		ours.Close()
	}()
	h := &Hearer{Conn: theirs, orders: bufio.NewReader(theirs)}
	first, err := h.Next()
	if err != nil || first.ID != long {
		t.Fatalf("the first order has %d bytes, %v", len(first.ID), err)
	}
	second, err := h.Next()
	if err != nil || !second.Go || !second.Client {
		t.Fatalf("the second order is %+v, %v", second, err)
	}
	if _, err := h.Next(); err != ErrNoOrder { //nolint:errorlint // itself
		t.Errorf("a third order: %v", err)
	}
	got := h.Files()
	if len(got) != 2 {
		t.Fatalf("%d files came", len(got))
	}
	for i, want := range []string{"lock", "client"} {
		_, _ = got[i].Seek(0, io.SeekStart)
		if data, err := io.ReadAll(got[i]); string(data) != want {
			t.Errorf("file %d says %q, %v", i, data, err)
		}
		if flags, err := unix.FcntlInt(got[i].Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("file %d would be handed on", i)
		}
		got[i].Close()
	}
}

// What comes and is not asked for is closed with the connection.
func TestCloseFiles(t *testing.T) {
	ours, theirs := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := ours.Send([]byte("x"), w); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, err := theirs.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF { //nolint:errorlint // itself
		t.Errorf("the pipe is still open: %d, %v", n, err)
	}
}

func TestSendToNobody(t *testing.T) {
	ours, theirs := pair(t)
	theirs.Close()
	if err := ours.Send([]byte("x")); err == nil {
		t.Error("nobody heard that, and nobody said so")
	}
}

func TestOrderDocument(t *testing.T) { agree.Check(t, Order{}) }
