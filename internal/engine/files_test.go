package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOverwriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	if overwriteFile(path, []byte("new")) == nil {
		t.Error("a file that is not there is written to")
	}
	for _, sizes := range [][2]int{{10, 3}, {3, 10}, {10, 10}, {5000, 3}, {0, 1}} {
		if err := os.WriteFile(path, []byte(strings.Repeat("o", sizes[0])), 0o600); err != nil {
			t.Fatal(err)
		}
		want := strings.Repeat("n", sizes[1])
		if err := overwriteFile(path, []byte(want)); err != nil {
			t.Errorf("%v: %v", sizes, err)
		}
		if got, _ := os.ReadFile(path); string(got) != want {
			t.Errorf("%v: %q", sizes, got)
		}
	}
	if err := os.Symlink("record", path+".link"); err != nil {
		t.Fatal(err)
	}
	if overwriteFile(path+".link", nil) == nil {
		t.Error("a link is followed")
	}
}
