package cli

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// given is the number of a descriptor as a caller hands it over, with text to read.
func given(t *testing.T, text string) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
	w.Close()
	fd, err := unix.Dup(int(r.Fd()))
	r.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return strconv.Itoa(fd)
}

func TestExpandArgs(t *testing.T) {
	for _, tt := range []struct{ text, words, want string }{
		{"--ro\x00/a b\x00", "--cwd ro --args N -- x --args 9", "--cwd|ro|--ro|/a b|--|x|--args|9"},
		{"--ro=/x", "--args=N x", "--ro=/x|x"},
		{"", "--args N x", "x"},
		{"--env\x00E=\x00\x00", "--args N x", "--env|E=||x"},
	} {
		n := given(t, tt.text)
		c := &sandboxCmd{Result: sandboxResult{Args: []string{n}}}
		got, err := c.expand(strings.Fields(strings.Replace(tt.words, "N", n, 1)))
		if err != nil || !slices.Equal(got, strings.Split(tt.want, "|")) {
			t.Errorf("%q: %q, %v", tt.words, got, err)
		}
	}
	own, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	for n, want := range map[string]string{"x": "no descriptor's number", strconv.Itoa(int(own.Fd())): "not open", "1048575": "not open", given(t, "--args\x003"): "--args itself"} {
		c := &sandboxCmd{Result: sandboxResult{Args: []string{n}}}
		if _, err := c.expand([]string{"--args", n, "true"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", n, err)
		}
	}
}
