package images

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// noise is what no compression makes smaller, the same each time.
func noise(seed byte, n int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return string(b)
}

// countBlob serves one blob up to a place in the first request, then waits; it notes the ranges
// that were asked for, and counts what it sends of the blob.
type countBlob struct {
	mu     sync.Mutex
	stop   int // how much the next request gets before it hangs; 0: all
	ranges []string
	sent   int
}

func (c *countBlob) meddle(data []byte, d string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, d) {
			return false
		}
		c.mu.Lock()
		stop := c.stop
		c.stop = 0
		c.ranges = append(c.ranges, r.Header.Get("Range"))
		c.mu.Unlock()
		if stop > 0 {
			w.Header().Set("Content-Length", strconv.Itoa(len(data)))
			w.Write(data[:stop])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return true
		}
		http.ServeContent(&countingWriter{w, c}, r, "", time.Time{}, bytes.NewReader(data))
		return true
	}
}

type countingWriter struct {
	http.ResponseWriter
	c *countBlob
}

func (w *countingWriter) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	w.c.mu.Lock()
	w.c.sent += n
	w.c.mu.Unlock()
	return n, err
}

// make1 is an image with one plain layer that has these files.
func make1(t testing.TB, files map[string]string) *made {
	return make3(t, func(m *made) {
		plain := tarOf(t, files)
		m.config.RootFS.DiffIDs = m.config.RootFS.DiffIDs[:0]
		m.config.RootFS.DiffIDs = append(m.config.RootFS.DiffIDs, sha256Of(plain))
		m.doc.Layers = []ocispec.Descriptor{m.add(ocispec.MediaTypeImageLayer, plain)}
	})
}

// A pull that is killed in the middle of a blob is gone on with, from where it had come to.
func TestPartialOutlivesKill(t *testing.T) {
	m := make1(t, map[string]string{"a": noise(1, 3<<20)})
	big := m.doc.Layers[0]
	for _, c := range []struct {
		name   string
		change func(path string) // of what the dead one left
		most   int               // bytes that the next pull fetches
		ranges int
	}{
		{"as it was", func(string) {}, int(big.Size) - 2<<20, 2},
		{"damaged", func(path string) {
			f, _ := os.OpenFile(path, os.O_WRONLY, 0)
			f.WriteAt([]byte("damage"), 4096)
			f.Close()
		}, 2*int(big.Size) - 2<<20, 3},
		{"longer than the blob", func(path string) {
			f, _ := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
			f.Write(m.blobs[big.Digest])
			f.Write([]byte("more"))
			f.Close()
		}, 0, 1},
		{"gone", func(path string) { os.Remove(path) }, int(big.Size), 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			reg := newRegistry(t)
			reg.serve("v1", m)
			count := &countBlob{stop: 2 << 20}
			reg.meddle = count.meddle(m.blobs[big.Digest], string(big.Digest))
			s := newStore(t)
			path := filepath.Join(s.partialDir(), big.Digest.Encoded())
			cmd := child(s.root, reg.host()+"/x:v1")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
				if st, err := os.Stat(path); err == nil && st.Size() == 2<<20 {
					break
				}
				if time.Since(begun) > time.Minute {
					cmd.Process.Kill()
					t.Fatal("nothing comes")
				}
			}
			cmd.Process.Signal(syscall.SIGKILL)
			cmd.Wait()
			if err := s.Collect(t.Context(), nil); err != nil { // it is too young to go
				t.Fatal(err)
			}
			c.change(path)
			img, err := s.Pull(t.Context(), reg.host()+"/x:v1", PullOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if count.sent > c.most || len(count.ranges) != c.ranges || c.name == "as it was" && count.ranges[1] != "bytes=2097152-" {
				t.Errorf("%d bytes for at most %d, by %q", count.sent, c.most, count.ranges)
			}
			if data, err := os.ReadFile(s.blobPath(img.Layers[0].Digest)); err != nil || sha256Of(data) != big.Digest {
				t.Errorf("the blob is wrong: %v", err)
			}
			if _, err := os.Lstat(path); err == nil {
				t.Error("the partial file is there still")
			}
		})
	}
}

// What is left is not kept for ever, and nothing else is taken for it.
func TestPartialsAreCollected(t *testing.T) {
	s := newStore(t)
	young, old, held := sha256Of([]byte("young")), sha256Of([]byte("old")), sha256Of([]byte("held"))
	if err := os.MkdirAll(s.partialDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-partialAge - time.Minute)
	for _, d := range []string{young.Encoded(), old.Encoded(), held.Encoded(), "other"} {
		path := filepath.Join(s.partialDir(), d)
		write(t, path, []byte("x"))
		if d != young.Encoded() {
			os.Chtimes(path, past, past)
		}
	}
	l, err := s.acquire(t.Context(), "blob-"+held.Encoded())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	if err := s.Collect(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(s.partialDir())
	if err != nil || len(left) != 2 {
		t.Errorf("%v, %v", left, err)
	}
	// A file with a second name, or a link, is somebody else's.
	other := filepath.Join(t.TempDir(), "other")
	write(t, other, []byte("theirs"))
	for what, link := range map[string]func(string, string) error{"link": os.Symlink, "second name": os.Link} {
		d := sha256Of([]byte(what))
		if err := link(other, filepath.Join(s.partialDir(), d.Encoded())); err != nil {
			t.Fatal(err)
		}
		if f, err := s.openPartial(d); err == nil {
			f.Close()
			t.Errorf("a %s was opened", what)
		}
	}
}

// What has come of blobs takes space, which system df tells and prune --all frees.
func TestPartialsAreUsage(t *testing.T) {
	s := newStore(t)
	name := filepath.Join(s.partialDir(), strings.Repeat("a", 64))
	if err := errors.Join(os.MkdirAll(s.partialDir(), 0o700), os.WriteFile(name, make([]byte, 1000), 0o600)); err != nil {
		t.Fatal(err)
	}
	if u, err := s.Usage(); err != nil || u.Size != 1000 || u.Reclaimable != 1000 {
		t.Errorf("%+v, %v", u, err)
	}
	name = filepath.Join(s.namesDir(), "of.json") // what is remembered of a name, likewise
	write(t, name, make([]byte, 100))
	if u, err := s.Usage(); err != nil || u.Size != 1100 || u.Reclaimable != 1100 {
		t.Errorf("%+v, %v", u, err)
	}
	for _, all := range []bool{false, true} {
		if _, _, err := s.Prune(t.Context(), PruneOptions{All: all}); err != nil {
			t.Fatal(err)
		}
		left, err := s.Usage()
		if _, serr := os.Stat(name); err != nil || (serr == nil) == all || (left.Size == 0) != all {
			t.Errorf("prune, all %t: %v, %+v, %v", all, serr, left, err)
		}
	}
}
