package engine

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTreeSize(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "large")
	err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700)
	for name, n := range map[string]int{filepath.Join(dir, "a", "one"): 100, filepath.Join(dir, "a", "b", "two"): 23, outside: 1 << 20} {
		if err == nil {
			err = os.WriteFile(name, make([]byte, n), 0o600)
		}
	}
	if err == nil {
		err = os.Link(filepath.Join(dir, "a", "one"), filepath.Join(dir, "again")) // counts once
	}
	if err == nil {
		err = os.Symlink(outside, filepath.Join(dir, "link")) // counts as the link
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := treeSize(dir, false)
	if want := int64(100 + 23 + len(outside)); got != want || err != nil {
		t.Errorf("%d, %v; not %d", got, err, want)
	}
	if got, err := treeSize(filepath.Join(dir, "nothing"), false); got != 0 || err != nil {
		t.Errorf("what is not there: %d, %v", got, err)
	}
}
