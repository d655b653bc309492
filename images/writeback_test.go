package images

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"coracle/images/layer"

	"golang.org/x/sys/unix"
)

// A sync that failed while layers were unpacked is not asked about again: the kernel tells an
// error once. No layer gets its name then.
func TestWritebackFails(t *testing.T) {
	s := newStore(t)
	b, err := s.newBatch(nil)
	if err != nil {
		t.Fatal(err)
	}
	tmp, err := s.makeTemp("layers/x", "c")
	if err != nil {
		t.Fatal(err)
	}
	b.fresh = []*fresh{{tmp: tmp, final: "layers/x/c"}}
	closed, err := os.Open(s.root)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	b.early.add(earlySync-1, closed)
	if err := b.early.wait(); err != nil {
		t.Errorf("before so much has been unpacked: %v", err)
	}
	b.early.add(1, closed)
	if err := b.publish(); !errors.Is(err, unix.EBADF) {
		t.Errorf("publish: %v", err)
	}
	if _, err := os.Stat(filepath.Join(s.root, "layers/x/c")); !os.IsNotExist(err) {
		t.Errorf("the layer has its name: %v", err)
	}
	b.early.add(earlySync, b.root)
	if err := b.early.wait(); !errors.Is(err, unix.EBADF) {
		t.Errorf("after another sync: %v", err)
	}
	b.root.Close()
}

// All that is unpacked counts.
func TestWritebackHears(t *testing.T) {
	s := newStore(t)
	img, err := s.Pull(t.Context(), "oci:"+make3(t, nil).layout(t), PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	st, err := layer.Local(s.root)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	u, err := s.newUnpacking(img, class, st)
	if err != nil {
		t.Fatal(err)
	}
	defer u.end(t.Context())
	want := int64(0)
	for i, l := range img.Layers {
		want += l.Size
		if err := u.layer(t.Context(), i, s.openLayer(img)); err != nil {
			t.Fatal(err)
		}
	}
	if u.early.bytes != want {
		t.Errorf("it has heard of %d bytes of %d", u.early.bytes, want)
	}
}
