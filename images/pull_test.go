package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"coracle/images/layer"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestPullFromRegistry(t *testing.T) {
	reg := newRegistry(t)
	reg.serve("v1", make3(t, nil))
	s := newStore(t)
	st := newStage(t, s)
	name := reg.host() + "/me/app:v1"
	img, err := s.Pull(t.Context(), name, PullOptions{Class: class, Stage: st.get})
	if err != nil {
		t.Fatal(err)
	}
	if len(img.Names) != 1 || img.Names[0] != name || st.unpacked != 3 || st.opened != 1 {
		t.Errorf("%v, %d unpacked, %d stages", img.Names, st.unpacked, st.opened)
	}
	dirs, err := s.Layers(t.Context(), img, class, func() (layer.Stage, error) { return nil, errors.New("not needed") })
	if err != nil || len(dirs) != 3 || readLayers(t, dirs, "top") != "2" || len(readLayers(t, dirs, "dir/file0")) != 70000 {
		t.Errorf("%v, %v", dirs, err)
	}
	if r, err := s.LayerRecords(img, class); err != nil || len(r) != 3 || r[1].DiffID != img.DiffIDs[1] {
		t.Errorf("%v, %v", r, err)
	}
	for _, d := range []string{"tmp", "locks", "leases"} {
		if l, err := os.ReadDir(filepath.Join(s.root, d)); err != nil || len(l) != 0 {
			t.Errorf("%s: %v, %v", d, l, err)
		}
	}
	// All is there: nothing is asked.
	asked := len(reg.asked)
	if _, err := s.Pull(t.Context(), name, PullOptions{Class: class, Stage: st.get}); err != nil || len(reg.asked) != asked {
		t.Errorf("%v, asked %v", err, reg.asked[asked:])
	}
	// Another class shares the blobs.
	if _, err := s.Layers(t.Context(), img, "single-1-1", st.get); err != nil || st.unpacked != 6 {
		t.Errorf("%v, %d unpacked", err, st.unpacked)
	}
	i, err := s.Inspect(name)
	if err != nil || i.ID != string(img.ID) || len(i.RootFS.Layers) != 3 || i.RepoTags[0] != name || i.RepoDigests[0] != reg.host()+"/me/app@"+string(img.Manifest.Digest) {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestPullPolicies(t *testing.T) {
	reg := newRegistry(t)
	old, fresh := make3(t, nil), make3(t, func(m *made) { m.config.Author = "new" })
	reg.serve("t", old)
	s := newStore(t)
	name := reg.host() + "/x:t"
	pull := func(p Policy) (*Image, error) { return s.Pull(t.Context(), name, PullOptions{Policy: p}) }
	if _, err := pull(PullNever); !errors.Is(err, ErrNotFound) {
		t.Errorf("never: %v", err)
	}
	if _, err := pull("sometimes"); err == nil {
		t.Error("an unknown policy is accepted")
	}
	if img, err := pull(""); err != nil || img.Manifest.Digest != old.desc.Digest {
		t.Fatal(err)
	}
	if img, err := pull(PullNewer); err != nil || img.Manifest.Digest != old.desc.Digest {
		t.Errorf("newer, unchanged: %v", err)
	}
	reg.serve("t", fresh)
	for _, c := range []struct {
		p    Policy
		want *made
	}{{PullNever, old}, {PullMissing, old}, {PullNewer, fresh}, {PullAlways, fresh}} {
		if img, err := pull(c.p); err != nil || img.Manifest.Digest != c.want.desc.Digest {
			t.Errorf("%s: %v, %v", c.p, img, err)
		}
	}
	if list, err := s.Images(); err != nil || len(list) != 2 {
		t.Errorf("the old image is not kept: %v, %v", list, err)
	}
	reg.Close()
	if img, err := pull(PullNewer); err != nil || img.Manifest.Digest != fresh.desc.Digest {
		t.Errorf("newer, registry gone: %v", err)
	}
	if _, err := pull(PullAlways); err == nil {
		t.Error("always, registry gone: no error")
	}
}

func TestPullByDigestAndIndex(t *testing.T) {
	reg := newRegistry(t)
	other := make3(t, func(m *made) { m.config.Architecture = "s390x" })
	mine := make3(t, nil)
	reg.serve("other", other)
	reg.serve("mine", mine)
	with := func(m *made, arch string) ocispec.Descriptor {
		d := m.desc
		d.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
		return d
	}
	idx := newIndex()
	idx.Manifests = []ocispec.Descriptor{with(other, "s390x"), with(mine, defaultPlatform().Architecture)}
	raw, err := json.Marshal(idx)
	if err != nil {
		t.Fatal(err)
	}
	dgst := string(sha256Of(raw))
	reg.extra["multi"] = served{ocispec.MediaTypeImageIndex, raw}
	reg.extra[dgst] = reg.extra["multi"]
	s := newStore(t)
	repo := reg.host() + "/x"
	img, err := s.Pull(t.Context(), repo+":multi@"+dgst, PullOptions{})
	if err != nil || img.Manifest.Digest != mine.desc.Digest || string(img.Source) != dgst {
		t.Fatalf("%v, %v", img, err)
	}
	if got, err := s.Lookup(repo + "@" + dgst); err != nil || got.ID != img.ID {
		t.Errorf("%v", err)
	}
	if img, err = s.Pull(t.Context(), repo+":multi", PullOptions{Platform: "linux/s390x"}); err != nil || img.Config.Architecture != "s390x" {
		t.Errorf("%v, %v", img, err)
	}
	// The local image is for another platform: fetched again.
	if img, err = s.Pull(t.Context(), repo+":multi", PullOptions{}); err != nil || img.Manifest.Digest != mine.desc.Digest {
		t.Errorf("%v, %v", img, err)
	}
	if _, err = s.Pull(t.Context(), repo+":multi", PullOptions{Platform: "linux/mips64le"}); !errors.Is(err, ErrPlatform) || !strings.Contains(err.Error(), "linux/s390x") || hintOf(err) == "" {
		t.Errorf("%v", err)
	}
	if _, err = s.Pull(t.Context(), repo+":other", PullOptions{}); !errors.Is(err, ErrPlatform) {
		t.Errorf("a single image for another platform: %v", err)
	}
}

func TestPullsAtOnce(t *testing.T) {
	reg := newRegistry(t)
	reg.serve("v1", make3(t, nil))
	reg.serve("v2", make3(t, func(m *made) { m.config.Author = "2" }))
	s := newStore(t)
	st := newStage(t, s)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			own, err := Open(s.root, Options{})
			if err == nil {
				_, err = own.Pull(t.Context(), fmt.Sprintf("%s/x:v%d", reg.host(), 1+i%2), PullOptions{Policy: PullAlways, Class: class, Stage: st.get})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	blobs := 0
	for _, a := range reg.asked {
		if strings.Contains(a, string(reg.tags["v1"].doc.Layers[0].Digest)) {
			blobs++
		}
	}
	if blobs != 1 || st.unpacked != 3 {
		t.Errorf("the layer was fetched %d times, %d layers were unpacked", blobs, st.unpacked)
	}
}
