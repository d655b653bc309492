package begin

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

func TestNote(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "note")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, n := range []Note{
		{"/run/containers/1", "sha256:0", Self(), "/sys/fs/cgroup/coracle-1"},
		{"/run/containers/1", "", "", ""},
	} {
		if err := n.Write(f); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if got := ReadNote(string(data)); got != n {
			t.Errorf("%+v was written and %+v read", n, got)
		}
	}
}

func TestDead(t *testing.T) {
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	_, ns, _ := strings.Cut(Self(), " ")
	for _, c := range []struct {
		launcher string
		want     bool
	}{
		{Self(), false},
		{strings.Join([]string{strconv.Itoa(gone.Process.Pid), ns}, " "), true},
		{strconv.Itoa(gone.Process.Pid) + " pid:[1]", false}, // of another namespace: nothing is known of it
		{"", false},
		{"x " + ns, false},
	} {
		if got := (Note{Launcher: c.launcher}).Dead(); got != c.want {
			t.Errorf("%q: %v", c.launcher, got)
		}
	}
}
