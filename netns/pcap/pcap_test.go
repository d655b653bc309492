package pcap

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestCapture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcap")
	w, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			for range 100 {
				w.Packet([]byte("head"), nil, []byte("and body"))
			}
		})
	}
	all.Wait()
	w.Packet(make([]byte, snapLen+1)) // there is no such packet
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.Packet([]byte("too late"))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("others may read it: %v, %v", st.Mode(), err)
	}
	if binary.LittleEndian.Uint32(data) != magic || binary.LittleEndian.Uint32(data[20:]) != raw {
		t.Errorf("its head is % x", data[:24])
	}
	n := 0
	for data = data[24:]; len(data) > 0; n++ {
		size := binary.LittleEndian.Uint32(data[8:])
		if at := time.Unix(int64(binary.LittleEndian.Uint32(data)), 0); time.Since(at) > time.Hour || !bytes.Equal(data[16:16+size], []byte("headand body")) {
			t.Fatalf("packet %d: %s, %q", n, at, data[16:16+size])
		}
		data = data[16+size:]
	}
	if n != 1000 {
		t.Errorf("there are %d packets", n)
	}
}

// TestFlush: what is captured can be looked at while the capture goes on.
func TestFlush(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcap")
	w, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.Packet([]byte("x"))
	for range 600 {
		if st, err := os.Stat(path); err == nil && st.Size() == 24+16+1 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("nothing was written")
}

func TestCannotCapture(t *testing.T) {
	if _, err := Create(filepath.Join(t.TempDir(), "no", "x")); err == nil || !strings.HasPrefix(err.Error(), "capture packets: ") {
		t.Error(err)
	}
	if _, err := Create("/dev/full"); err == nil {
		t.Error("a full disk was not noticed")
	}
}

// TestDiskFull: a capture that cannot go on says so at its end.
func TestDiskFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w, err := Create(filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	w.buf.Reset(full)
	for range 10 {
		w.Packet(make([]byte, 64<<10))
	}
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "the end is missing") {
		t.Error(err)
	}
}
