package layer

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkUnpack unpacks the archive that CORACLE_BENCH_TAR names (plain, gzip
// or zstd), e.g. one made by mmdebstrap.
func BenchmarkUnpack(b *testing.B) {
	name := os.Getenv("CORACLE_BENCH_TAR")
	if name == "" {
		b.Skip("CORACLE_BENCH_TAR is not set")
	}
	blob, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer blob.Close()
	for b.Loop() {
		b.StopTimer()
		dir, err := os.MkdirTemp(filepath.Dir(name), "bench")
		if err != nil {
			b.Fatal(err)
		}
		s, err := Local(dir)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		res, err := s.Unpack(context.Background(), Request{Blob: blob, Dir: "l/fs"})
		if err == nil {
			err = s.Finish(context.Background(), FinishRequest{Dir: "l/fs"})
		}
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		b.SetBytes(res.Bytes)
		b.ReportMetric(float64(res.Entries), "entries")
		if err := s.Remove(context.Background(), "l"); err != nil {
			b.Fatal(err)
		}
		s.Close()
		os.Remove(dir)
		b.StartTimer()
	}
}
