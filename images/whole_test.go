package images

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A push that is broken off, however that was, is no reason to refuse the next one to the same
// place.
func TestPushAgain(t *testing.T) {
	s := stored(t, make3(t, nil))
	name := onlyName(t, s)
	for _, transport := range []string{"oci:", "dir:", "oci-archive:", "docker-archive:"} {
		place := filepath.Join(t.TempDir(), "place")
		ctx, cancel := context.WithCancel(t.Context())
		stop := func(string, int64) io.WriteCloser { cancel(); return nil }
		if _, err := s.Push(ctx, name, transport+place, PushOptions{Progress: stop}); !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: %v", transport, err)
		}
		if _, err := s.Push(t.Context(), name, transport+place, PushOptions{}); err != nil {
			t.Errorf("%s: again: %v", transport, err)
		}
		if _, err := newStore(t).Pull(t.Context(), transport+place, PullOptions{}); err != nil {
			t.Errorf("%s: %v", transport, err)
		}
	}
	for _, transport := range []string{"oci:", "dir:"} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "letters"), nil)
		if _, err := s.Push(t.Context(), name, transport+dir, PushOptions{}); err == nil {
			t.Errorf("%s: written into a directory of others", transport)
		}
	}
}

// A file has no name before it is complete: whoever is killed leaves nothing. Where the
// file system has no such files it has another name.
func TestWriteWhole(t *testing.T) {
	t.Run("nameless", func(t *testing.T) { writeWhole(t, 0) })
	was := openTmpfile
	defer func() { openTmpfile = was }()
	openTmpfile = func(string) (int, error) { return -1, unix.EOPNOTSUPP }
	t.Run("named", func(t *testing.T) { writeWhole(t, 1) })
}

func writeWhole(t *testing.T, named int) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.Symlink("file", link); err != nil {
		t.Fatal(err)
	}
	content := func(text string) func(f *os.File) error {
		return func(f *os.File) error {
			_, err := f.WriteString(text)
			if list, _ := filepath.Glob(filepath.Join(dir, ".*")); len(list) != named {
				t.Errorf("%q while it is written", list)
			}
			return err
		}
	}
	refused := errors.New("refused")
	for _, c := range []struct {
		path    string
		replace bool
		write   func(*os.File) error
		err     error
		want    string
	}{
		{path, false, func(*os.File) error { return refused }, refused, ""},
		{path, true, func(*os.File) error { return refused }, refused, ""},
		{path, false, content("first"), nil, "first"},
		{path, false, content("second"), fs.ErrExist, "first"},
		{path, true, content("third"), nil, "third"},
		{link, true, content("fourth"), nil, "fourth"},
		{link, false, content("fifth"), fs.ErrExist, "fourth"},
		{filepath.Join(dir, "nowhere/file"), true, content("sixth"), fs.ErrNotExist, "fourth"},
	} {
		if err := WriteWhole(c.path, c.replace, c.write); !errors.Is(err, c.err) {
			t.Errorf("%s, %v: %v", c.path, c.replace, err)
		}
		if got, _ := os.ReadFile(path); string(got) != c.want {
			t.Errorf("%s, %v: %q, want %q", c.path, c.replace, got, c.want)
		}
	}
	if list, _ := os.ReadDir(dir); len(list) != 2 {
		t.Errorf("left: %v", list)
	}
	if to, err := os.Readlink(link); to != "file" {
		t.Errorf("the link is gone: %v", err)
	}
}

// Who pushes into one directory at once waits for the other: all that was pushed is there.
func TestPushTogether(t *testing.T) {
	s := stored(t, make3(t, nil))
	name := onlyName(t, s)
	for _, transport := range []string{"oci:", "dir:"} {
		dir := filepath.Join(t.TempDir(), "place")
		const n = 8
		done := make(chan error, n)
		for i := range n {
			dest := transport + dir
			if transport == "oci:" {
				dest += ":t" + itoa(i)
			}
			go func() { _, err := s.Push(t.Context(), name, dest, PushOptions{}); done <- err }()
		}
		for range n {
			if err := <-done; err != nil {
				t.Errorf("%s: %v", transport, err)
			}
		}
		if transport == "oci:" {
			for i := range n {
				if _, err := newStore(t).Pull(t.Context(), "oci:"+dir+":t"+itoa(i), PullOptions{}); err != nil {
					t.Error(err)
				}
			}
		}
		if left, _ := filepath.Glob(dir + "/*" + tempSuffix); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	}
}
