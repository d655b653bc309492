package begin

import (
	"strings"
	"testing"
)

func TestWanted(t *testing.T) {
	for line, want := range map[string]bool{
		"coracle sandbox -- true":                    true,
		"coracle sandbox true":                       true,
		"coracle sandbox --rw . --timeout 3 -- make": true,
		"coracle sandbox -- cc -m32 --help":          true, // the command's own
		"coracle sandbox --memory 1g -- true":        false,
		"coracle sandbox --memory=1g -- true":        false,
		"coracle sandbox -m1g -- true":               false,
		"coracle sandbox --cpus 2 -- true":           false,
		"coracle sandbox --explain -- true":          false,
		"coracle sandbox --help":                     false,
		"coracle sandbox":                            false,
		"coracle run -- true":                        false,
		"coracle --debug sandbox true":               false,
	} {
		if got := wanted(strings.Fields(line)); got != want {
			t.Errorf("%s: %v, want %v", line, got, want)
		}
	}
}
