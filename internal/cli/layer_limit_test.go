package cli

import (
	"strings"
	"testing"

	"coracle/images"
)

func TestLayerLimits(t *testing.T) {
	for line, want := range map[string]images.LayerLimits{
		"":                              {},
		"bytes=2g":                      {Bytes: 2 << 30},
		"entries=5 ratio=none":          {Entries: 5, Ratio: -1},
		"ratio=1000 bytes=none bytes=7": {Ratio: 1000, Bytes: 7},
	} {
		if got, err := layerLimits(strings.Fields(line)); err != nil || got != want {
			t.Errorf("%q: %+v, %v", line, got, err)
		}
	}
	for _, bad := range []string{"bytes", "bytes=", "bytes=0", "entries=-1", "entries=1g", "ratio=x", "files=1", "=1", "none"} {
		if got, err := layerLimits([]string{bad}); err == nil || hintOf(err) == "" {
			t.Errorf("%q is taken: %+v", bad, got)
		}
	}
}
