package engine

import (
	"os"
	"path/filepath"
	"testing"
)

// TestTraffic: what one process has written down counts for that one only.
func TestTraffic(t *testing.T) {
	dir := t.TempDir()
	file := &traffic{path: filepath.Join(dir, trafficFile)}
	check := func(what string, pid, started, in, out uint64) {
		t.Helper()
		if i, o := published(dir, pid, started); i != in || o != out {
			t.Errorf("%s: %d and %d bytes, not %d and %d", what, i, o, in, out)
		}
	}
	check("no file", 7, 100, 0, 0)
	file.write(1, 2)
	check("before anybody is known", 0, 0, 0, 0)
	file.begin(7, 100)
	file.write(1<<40, 5)
	file.write(1<<40, 6)
	check("its own", 7, 100, 1<<40, 6)
	check("another's pid", 8, 100, 0, 0)
	check("an earlier one's", 7, 99, 0, 0)
	if err := os.Truncate(file.path, 20); err != nil {
		t.Fatal(err)
	}
	check("a piece of it", 7, 100, 0, 0)
	file.write(3, 4)
	check("written again", 7, 100, 3, 4)
	file.close()
	file.write(9, 9)
	if _, err := os.Stat(file.path); err == nil {
		t.Error("the file is still there")
	}
}
