package spec

import "testing"

// BenchmarkGenerate is paid at every start.
func BenchmarkGenerate(b *testing.B) {
	in := input()
	for b.Loop() {
		if _, err := Generate(in); err != nil {
			b.Fatal(err)
		}
	}
}
