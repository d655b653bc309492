package sandbox

import (
	"fmt"
	"strings"
	"testing"
)

func TestClocks(t *testing.T) {
	for in, want := range map[string]string{
		"":                             "map[]",
		"boottime=10":                  "map[boottime:{10 0}]",
		"monotonic=-90s boottime=1h1m": "map[boottime:{3660 0} monotonic:{-90 0}]",
		"monotonic=-0.25":              "map[monotonic:{-1 750000000}]",
		"boottime=1.5s":                "map[boottime:{1 500000000}]",
		"realtime=1":                   "neither",
		"boottime":                     "neither",
		"boottime=x":                   "no time",
		"boottime=1 boottime=2":        "already",
		"boottime=99999999999999999":   "no time",
	} {
		got, err := clocks(strings.Fields(in))
		text := fmt.Sprint(got)
		if err != nil {
			text = err.Error()
		}
		if text != want && (err == nil || !strings.Contains(text, want)) {
			t.Errorf("%q: %s, want %s", in, text, want)
		}
	}
}
