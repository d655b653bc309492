package spec

import (
	"fmt"
	"os"
	"testing"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// What mounts cost the launcher: nothing but laying out their steps.
func BenchmarkCompileMounts(b *testing.B) {
	for _, n := range []int{0, 200} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := testSpec("/r", "true")
			for i := range n {
				s.Mounts = append(s.Mounts, specs.Mount{Destination: fmt.Sprintf("/m%d", i), Type: "bind", Source: "/tmp", Options: []string{"rbind", "ro", "rprivate"}})
			}
			stub := openStub(b)
			for b.Loop() {
				if _, _, err := Compile(s, &Extra{Stub: stub, Resolve: insideOf("/tmp")}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func openStub(b *testing.B) *os.File {
	b.Helper()
	f, err := userns.OpenStub()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return f
}
