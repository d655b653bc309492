package review

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRecord(t *testing.T) {
	root, host := t.TempDir(), t.TempDir()
	if err := os.Chmod(host, 0o750); err != nil {
		t.Fatal(err)
	}
	if s, err := Find(root, ""); err == nil {
		t.Fatalf("%v in an empty store", s)
	}
	one, err := Begin(root, []string{"sh", "-c", "true"}, host, []string{host})
	if err != nil {
		t.Fatal(err)
	}
	two, err := Begin(root, []string{"make"}, host, []string{host + "/.", t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer two.Release()
	if st, err := os.Stat(one.UpperDir(0)); err != nil || st.Mode().Perm() != 0o750 {
		t.Errorf("the upper's root: %v, %v", st, err)
	}
	last, err := Find(root, "")
	if err != nil || last.ID != two.ID || last.Overlays[0].Path != host || len(last.Overlays) != 2 {
		t.Errorf("the last: %+v, %v", last, err)
	}
	if !last.Running() || !errors.Is(last.Lock(), ErrRunning) {
		t.Error("one that is locked does not run")
	}
	one.Release()
	got, err := Find(root, one.ID[:11])
	if err != nil || got.ID != one.ID || got.Running() {
		t.Errorf("by the start of its id: %+v, %v", got, err)
	}
	if _, err := Find(root, "../sandboxes"); !errors.Is(err, ErrNone) {
		t.Errorf("an id that is a path: %v", err)
	}
}

func TestRecordRefused(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"of version 2":      `{"version":2,"id":"ID"}`,
		"it is of sandbox":  `{"version":1,"id":"other"}`,
		"that cannot be":    `{"version":1,"id":"ID","overlays":[{"path":"/x","upper":"../../../y","work":"w"}]}`,
		"of \"/x/..\"":      `{"version":1,"id":"ID","overlays":[{"path":"/x/..","upper":"u","work":"w"}]}`,
		"invalid character": `{"version":1,]`,
	} {
		dir := filepath.Join(root, "sandboxes", "ID")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "record.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Find(root, "ID"); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
