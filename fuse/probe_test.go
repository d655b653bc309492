package fuse

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func TestProbe(t *testing.T) {
	store, cache := t.TempDir(), t.TempDir()
	f, err := Probe(t.Context(), ProbeRequest{Dir: store, Cache: cache})
	must(t, err)
	t.Logf("%+v", f)
	need(t, f.Overlay, "overlay in a user namespace: "+f.OverlayWhy)
	if left, _ := os.ReadDir(store); len(left) != 0 {
		t.Errorf("the probe left %v in the store", left)
	}
	cached, _ := filepath.Glob(filepath.Join(cache, "probe-*"))
	if len(cached) != 1 {
		t.Fatalf("cache holds %v", cached)
	}
	// A hit must not start a process: take away what it would be started on.
	must(t, os.Chmod(store, 0o500))
	start := time.Now()
	again, err := Probe(t.Context(), ProbeRequest{Dir: store, Cache: cache})
	t.Logf("a hit took %v", time.Since(start))
	must(t, err)
	if again != f {
		t.Errorf("the cache says %+v, the probe said %+v", again, f)
	}
	must(t, os.Chmod(store, 0o700))
	for name, data := range map[string]string{"cut short": `{"version":1,"bo`, "of another boot": `{"version":1,"boot":"x","overlay":true}`, "empty": ""} {
		must(t, os.WriteFile(cached[0], []byte(data), 0o600))
		if again, err = Probe(t.Context(), ProbeRequest{Dir: store, Cache: cache}); err != nil || again != f {
			t.Errorf("with a cache %s: %+v, %v", name, again, err)
		}
	}
}

func BenchmarkProbeHit(b *testing.B) {
	store, cache := b.TempDir(), b.TempDir()
	r := ProbeRequest{Dir: store, Cache: cache}
	if _, err := Probe(b.Context(), r); err != nil {
		b.Skip(err)
	}
	for b.Loop() {
		if _, err := Probe(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProbeMiss(b *testing.B) {
	store := b.TempDir()
	if _, err := exec.LookPath("true"); err != nil {
		b.Skip(err)
	}
	for b.Loop() {
		if _, err := Probe(b.Context(), ProbeRequest{Dir: store}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkChooseHost is on the way of every `coracle run host`.
func BenchmarkChooseHost(b *testing.B) {
	r := Request{LayersDir: b.TempDir(), Scratch: b.TempDir(), Cache: b.TempDir()}
	for b.Loop() {
		if _, err := ChooseHost(b.Context(), r); err != nil {
			b.Skip(err)
		}
	}
}

// What is written is read again, all of it, and nothing that is cut short.
func TestFactsFile(t *testing.T) {
	var f Facts
	v := reflect.ValueOf(&f).Elem()
	for i := range v.NumField() {
		switch x := v.Field(i); x.Kind() {
		case reflect.Bool:
			x.SetBool(true)
		case reflect.String:
			x.SetString("a\nb \"c\" " + v.Type().Field(i).Name)
		case reflect.Int:
			x.SetInt(int64(100 + i))
		case reflect.Uint64:
			x.SetUint(1<<63 + uint64(i))
		default:
			t.Fatalf("a field of kind %s", x.Kind())
		}
	}
	text := string(formatFacts(f))
	if got, ok := parseFacts(text); !ok || got != f {
		t.Errorf("read %+v, %v; want %+v", got, ok, f)
	}
	for i := range text {
		if got, ok := parseFacts(text[:i]); ok {
			t.Errorf("%d of %d bytes: %+v", i, len(text), got)
		}
	}
	if _, ok := parseFacts(text + "\n"); ok {
		t.Error("a line too many")
	}
}
