package sandbox

import (
	"strings"
	"testing"
)

func TestIOPriority(t *testing.T) {
	for word, want := range map[string]string{"0": "IOPRIO_CLASS_BE 0", "7": "IOPRIO_CLASS_BE 7", "idle": "IOPRIO_CLASS_IDLE 0"} {
		pl, err := New(Options{Command: []string{"true"}, Limits: Limits{IONice: word}}, facts(), newFake())
		if err != nil {
			t.Fatal(err)
		}
		made, err := pl.Spec(Ask{Mode: func(int) uint32 { return 0o755 }})
		if err != nil {
			t.Fatal(err)
		}
		io := made.Spec.Process.IOPriority
		if got := string(io.Class) + " " + string(rune('0'+io.Priority)); got != want {
			t.Errorf("%s: %s, want %s", word, got, want)
		}
	}
	for _, word := range []string{"8", "-1", "rt", "00"} {
		if err := (Options{Command: []string{"true"}, Limits: Limits{IONice: word}}).Check(); err == nil || !strings.Contains(err.Error(), "--ionice "+word) {
			t.Errorf("%s: %v", word, err)
		}
	}
}

// Layers on the disk are mounted without its being written to at the end.
func TestVolatile(t *testing.T) {
	pl, err := New(Options{Command: []string{"true"}}, facts(), newFake())
	if err != nil {
		t.Fatal(err)
	}
	dir := func(int) string { return "/store/0" }
	for _, volatile := range []bool{true, false} {
		made, err := pl.Spec(Ask{Upper: dir, Work: dir, Volatile: volatile})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range made.Spec.Mounts {
			options := strings.Join(m.Options, " ")
			if strings.Contains(options, "upperdir=") && strings.Contains(options, " volatile") != volatile {
				t.Errorf("%v: %s", volatile, options)
			}
		}
	}
}
