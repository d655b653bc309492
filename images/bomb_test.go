package images

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"coracle/images/layer"
)

// The limits on what a layer may become are the store's, wherever it comes from, and
// what is beyond them leaves nothing. Raised, they let it pass.
func TestLayerLimits(t *testing.T) {
	m := make3(t, nil)
	layout := m.layout(t)
	for _, c := range []struct {
		what string
		low  LayerLimits
	}{
		{"entries", LayerLimits{Entries: 1}},
		{"bytes", LayerLimits{Bytes: 1000}},
	} {
		s := newStore(t)
		st := newStage(t, s)
		before := snapshot(t, s)
		s.opts.Limits = c.low
		o := PullOptions{Class: class, Stage: st.get}
		_, err := s.Pull(t.Context(), "oci:"+layout, o)
		if !errors.Is(err, layer.ErrTooBig) || !strings.Contains(err.Error(), c.what) && !strings.Contains(hintOf(err), "--layer-limit "+c.what) {
			t.Errorf("%s: %v; %s", c.what, err, hintOf(err))
		}
		sameStore(t, c.what, before, snapshot(t, s))
		s.opts.Limits = LayerLimits{Bytes: -1, Entries: -1, Ratio: -1}
		if _, err := s.Pull(t.Context(), "oci:"+layout, o); err != nil {
			t.Errorf("%s, raised: %v", c.what, err)
		}
	}
}

// A packed archive that is a bomb is not unpacked to its end.
func TestArchiveBomb(t *testing.T) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	for range 64 {
		if _, err := z.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	bomb := filepath.Join(t.TempDir(), "bomb.tar.gz")
	write(t, bomb, b.Bytes())
	s := newStore(t)
	s.opts.Limits = LayerLimits{Bytes: 8 << 20}
	before := snapshot(t, s)
	for _, from := range []string{bomb, "-"} {
		in, err := os.Open(bomb)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Load(t.Context(), from, in, PullOptions{})
		in.Close()
		if !errors.Is(err, layer.ErrTooBig) || !strings.Contains(hintOf(err), "--layer-limit bytes=") {
			t.Errorf("%s: %v; %s", from, err, hintOf(err))
		}
		sameStore(t, from, before, snapshot(t, s))
	}
	s.opts.Limits = LayerLimits{}
	if _, err := s.Load(t.Context(), bomb, nil, PullOptions{}); errors.Is(err, layer.ErrTooBig) || !errors.Is(err, ErrCorrupt) {
		t.Errorf("64 MiB of zeros are below the limit, and no archive: %v", err)
	}
}
