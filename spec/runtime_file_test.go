package spec

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A writer that is killed leaves the beginning of a line; what was written before
// and after it counts all the same.
func TestStateFileTorn(t *testing.T) {
	path := filepath.Join(t.TempDir(), stateFile)
	tear := func(text string) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err == nil {
			_, err = f.WriteString(text)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	wants := func(what, id string) {
		t.Helper()
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		switch r, err := decodeState(data); {
		case id == "" && err == nil:
			t.Errorf("%s: read as %q", what, r.ID)
		case id != "" && (err != nil || r.ID != id):
			t.Errorf("%s: %q, %v; want %q\n%s", what, r.ID, err, id, data)
		}
	}
	appends := func(line string) {
		t.Helper()
		if err := appendState(path, []byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	tear("")
	if _, err := decodeState(nil); !errors.Is(err, io.EOF) {
		t.Errorf("an empty file: %v", err)
	}
	tear(`{"id":"ze`)
	wants("torn at once", "")
	appends(`{"id":"one"}`)
	wants("after a torn one", "one")
	tear("\n" + `{"id":"t`)
	wants("torn", "one")
	appends(`{"id":"three"}`)
	wants("after another torn one", "three")
	appends(`{"id":"four"}`)
	wants("two whole ones", "four")
	tear("\n")
	wants("only its beginning", "four")
	tear(`{"id":5}` + "\n")
	wants("whole, and nothing we wrote", "")
}

func TestStateFileLeavesOthersAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, stateFile)
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), path); err != nil {
		t.Fatal(err)
	}
	if err := appendState(path, []byte("{}")); !errors.Is(err, unix.ELOOP) {
		t.Errorf("through a link: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := appendState(path, []byte("{}")); err == nil {
		t.Error("into a pipe")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	old := unix.Umask(0o777)
	err := appendState(path, []byte("{}"))
	unix.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

// A full disk takes nothing away.
func TestStateFileFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), stateFile)
	if err := appendState(path, []byte(`{"id":"one"}`)); err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	// Past this size a write is cut short, and the next one refused.
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 20, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	err := appendState(path, []byte(`{"id":"`+strings.Repeat("x", 100)+`"}`))
	if rerr := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); rerr != nil {
		t.Fatal(rerr)
	}
	if err == nil {
		t.Error("a line that does not fit was written")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := decodeState(data); err != nil || r.ID != "one" || strings.Contains(string(data), "xx") {
		t.Errorf("%q: %q, %v", data, r.ID, err)
	}
}
