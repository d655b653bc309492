package review

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"coracle/internal/plainfile"
	"coracle/internal/say"

	"golang.org/x/sys/unix"
)

// What is larger, or has more lines, is not compared line by line.
const (
	diffBytes = 4 << 20
	diffLines = 100_000
)

// harmless keeps a file's own text from doing things to a terminal.
func harmless(line string) string {
	return say.VisibleText(line)
}

// texts are both sides of a change, as lines.
type texts struct {
	was, now []string
	why      string // they are not compared: why
}

// read gets both sides.
func (s *Sandbox) read(ch Change) (texts, error) {
	var t texts
	was, whyWas, err := s.content(ch, true)
	if err != nil {
		return t, err
	}
	now, whyNow, err := s.content(ch, false)
	if err != nil {
		return t, err
	}
	if t.why = whyWas; t.why == "" {
		t.why = whyNow
	}
	if t.why == "" {
		t.was, t.now = splitLines(was), splitLines(now)
		if len(t.was) > diffLines || len(t.now) > diffLines {
			t = texts{why: "too many lines to be compared"}
		}
	}
	return t, nil
}

// content is what a side has: a file's bytes, or a link's target.
func (s *Sandbox) content(ch Change, host bool) (data []byte, why string, err error) {
	f, dir := ch.have, s.UpperDir(ch.overlay)
	if host {
		f, dir = ch.expected, s.Overlays[ch.overlay].Path
	}
	switch {
	case f.is(Link) && host:
		target, err := s.hostLink(ch)
		return []byte(target), "", err
	case f.is(Link):
		return []byte(ch.Now.Target), "", nil
	case !f.is(File):
		return nil, "", nil
	case f.st.Size > diffBytes:
		return nil, "too large to be compared line by line", nil
	}
	root, err := openat(unix.AT_FDCWD, dir, listable)
	if err != nil {
		return nil, "", err
	}
	defer unix.Close(root)
	var fd int
	var done func()
	if host {
		fd, err = beneath(root, ch.Path, readable)
		done = func() { unix.Close(fd) }
	} else {
		fd, done, err = openInUpper(root, ch.Path, &f)
	}
	if host && errors.Is(err, unix.EACCES) {
		return nil, "the host's may not be read", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer done()
	data, err = readAll(fd, diffBytes)
	if bytes.IndexByte(data[:min(len(data), 8000)], 0) >= 0 {
		return nil, "binary", err
	}
	return data, "", err
}

func (s *Sandbox) hostLink(ch Change) (string, error) {
	root, err := openat(unix.AT_FDCWD, s.Overlays[ch.overlay].Path, listable)
	if err != nil {
		return "", err
	}
	defer unix.Close(root)
	dir, base := split(ch.Path)
	parent, err := beneath(root, dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return "", err
	}
	defer unix.Close(parent)
	return readlink(parent, base)
}

func readAll(fd, limit int) ([]byte, error) {
	data := make([]byte, 0, 64<<10)
	for len(data) < limit {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := plainfile.Retry(func() (int, error) { return unix.Read(fd, data[len(data):cap(data)]) })
		if err != nil || n == 0 {
			return data, err
		}
		data = data[:len(data)+n]
	}
	return data, nil
}

func splitLines(data []byte) []string {
	var out []string
	for l := range strings.Lines(string(data)) {
		out = append(out, l)
	}
	return out
}

// Diff writes what has become of one path, as git writes it, but that nothing in it does
// anything to a terminal: a file with control characters cannot be patched by it.
func (s *Sandbox) Diff(w io.Writer, ch Change) error {
	name := say.Visible(ch.Path)
	var b strings.Builder
	fmt.Fprintf(&b, "diff --git a/%s b/%s\n", name, name)
	was, now := "a/"+name, "b/"+name
	switch {
	case ch.Kind == Created:
		fmt.Fprintf(&b, "new %s mode %s\n", ch.Now.Type, gitMode(ch.have))
		was = "/dev/null"
	case ch.Kind == Deleted:
		fmt.Fprintf(&b, "deleted %s mode %s\n", ch.Was.Type, gitMode(ch.expected))
		now = "/dev/null"
	case gitMode(ch.expected) != gitMode(ch.have):
		fmt.Fprintf(&b, "old mode %s\nnew mode %s\n", gitMode(ch.expected), gitMode(ch.have))
	}
	if what := ch.what(); ch.Was != nil && ch.Was.Type == Directory && what != "" {
		fmt.Fprintf(&b, "# %s\n", what)
	}
	if ch.Kind != Changed || ch.Content {
		t, err := s.read(ch)
		if err != nil {
			return fmt.Errorf("compare %s: %w", quote(ch.Path), err)
		}
		switch {
		case t.why == "binary":
			fmt.Fprintf(&b, "Binary files %s and %s differ\n", was, now)
		case t.why != "":
			fmt.Fprintf(&b, "# %s\n", t.why)
		case len(t.was)+len(t.now) > 0:
			fmt.Fprintf(&b, "--- %s\n+++ %s\n", was, now)
			unified(&b, t.was, t.now)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// gitMode is the mode with the type, in octal.
func gitMode(f file) string { return fmt.Sprintf("%06o", f.st.Mode) }

// Stat is how many lines a change adds and removes; known is false where they are not
// compared.
func (s *Sandbox) Stat(ch Change) (added, removed int, known bool, err error) {
	t, err := s.read(ch)
	if err != nil || t.why != "" {
		return 0, 0, false, err
	}
	for _, e := range lineEdits(t.was, t.now) {
		added, removed = added+e.bn, removed+e.an
	}
	return added, removed, true, nil
}
