package fuse

import (
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkBuildMeta measures a tree given by CORACLE_BENCH_TREE, as root:
// owners move by a constant, as they do for keep-id.
func BenchmarkBuildMeta(b *testing.B) {
	tree := os.Getenv("CORACLE_BENCH_TREE")
	if tree == "" || os.Geteuid() != 0 {
		b.Skip("needs CORACLE_BENCH_TREE=DIR and root")
	}
	moved := []Segment{{From: 0, To: 100000, Count: 65536}}
	for b.Loop() {
		dst := filepath.Join(tempDir(b), "meta")
		s, err := BuildMeta(b.Context(), TreeRequest{Lowers: []string{tree}, Dst: dst, UIDs: moved, GIDs: moved})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(s.Inodes), "inodes")
		b.StopTimer()
		if os.Getenv("CORACLE_BENCH_KEEP") == "" {
			_ = os.RemoveAll(filepath.Dir(dst))
		}
		b.StartTimer()
	}
}

// tempDir is not removed: ext4 shuns inodes deleted in the last minute, and a
// benchmark that deletes as much as it makes measures only that.
func tempDir(b *testing.B) string {
	d, err := os.MkdirTemp("", "coracle-meta-")
	if err != nil {
		b.Fatal(err)
	}
	return d
}
