package randid

import (
	"encoding/hex"
	"testing"
)

func TestNew(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		id := New(32)
		if b, err := hex.DecodeString(id); err != nil || len(b) != 32 {
			t.Fatalf("%q: %d bytes, %v", id, len(b), err)
		}
		if seen[id] || seen[id[:8]] {
			t.Fatalf("%q has been there", id)
		}
		seen[id], seen[id[:8]] = true, true
	}
}
