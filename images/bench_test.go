package images

import (
	"fmt"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What stands in the way of each start: opening, looking up, layers that are there.
func BenchmarkStart(b *testing.B) {
	for _, n := range []int{1, 500} {
		b.Run(fmt.Sprint(n, " images"), func(b *testing.B) {
			s := newStore(b)
			st := newStage(b, s)
			m := make3(b, nil)
			img, err := s.Pull(b.Context(), "oci:"+m.layout(b), PullOptions{Class: class, Stage: st.get})
			if err != nil {
				b.Fatal(err)
			}
			err = s.update(b.Context(), func(idx *index) error {
				for i := range n - 1 {
					d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: sha256Of([]byte(fmt.Sprint(i))), Size: 1000}
					idx.put(d, fmt.Sprintf("registry.example/team/image%d:latest", i))
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond) // else the cache is not trusted yet
			for b.Loop() {
				s, err := Open(s.root, Options{})
				if err != nil {
					b.Fatal(err)
				}
				found, err := s.Lookup(img.Names[0])
				if err != nil {
					b.Fatal(err)
				}
				if _, err := s.Layers(b.Context(), found, class, st.get); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
