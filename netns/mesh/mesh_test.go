package mesh

import (
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestMesh has three members meet, whichever comes first, and part.
func TestMesh(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "net")
	type event struct{ who, met string }
	var mu sync.Mutex
	devices, parted := map[event]string{}, make(chan event, 16)
	met := make(chan event, 16)
	join := func(id string) *Mesh {
		path := filepath.Join(t.TempDir(), id)
		if err := os.WriteFile(path, []byte(id), 0o600); err != nil {
			t.Fatal(err)
		}
		dev, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Join(dir, Member{ID: id, Addr: netip.MustParseAddr("10.89.0.4"), Names: []string{"name-" + id}}, dev, func(m Member, dev *os.File) (func(), error) {
			b := make([]byte, 8)
			n, _ := dev.ReadAt(b, 0)
			e := event{id, m.ID + m.Names[0]}
			mu.Lock()
			devices[e] = string(b[:n])
			mu.Unlock()
			met <- e
			return func() { dev.Close(); parted <- e }, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// One that was killed has left its socket's name.
	if err := os.WriteFile(filepath.Join(dir, "dead"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := join("a")
	var all sync.WaitGroup
	var b, c *Mesh
	all.Go(func() { b = join("b") })
	all.Go(func() { c = join("c") })
	all.Wait()
	for range 6 {
		<-met
	}
	mu.Lock()
	for _, want := range []event{{"a", "bname-b"}, {"a", "cname-c"}, {"b", "aname-a"}, {"b", "cname-c"}, {"c", "aname-a"}, {"c", "bname-b"}} {
		if devices[want] != want.met[:1] {
			t.Errorf("%s has met %s with the device %q", want.who, want.met, devices[want])
		}
	}
	mu.Unlock()
	b.Close()
	seen := map[event]bool{}
	for range 4 { // b parts from both, and both from b
		seen[<-parted] = true
	}
	if !seen[event{"a", "bname-b"}] || !seen[event{"c", "bname-b"}] {
		t.Errorf("parted: %v", seen)
	}
	a.Close()
	c.Close()
	if _, err := os.Stat(filepath.Join(dir, "a")); !os.IsNotExist(err) {
		t.Errorf("a has left its socket: %v", err)
	}
}
