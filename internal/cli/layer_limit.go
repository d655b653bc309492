package cli

import (
	"fmt"
	"strconv"
	"strings"

	"coracle/images"
	"coracle/spec"
)

// layerLimits reads --layer-limit. What is not named keeps its default.
func layerLimits(words []string) (images.LayerLimits, error) {
	var l images.LayerLimits
	for _, w := range words {
		kind, value, _ := strings.Cut(w, "=")
		var to *int64
		read := func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }
		switch kind {
		case "bytes":
			to, read = &l.Bytes, spec.ParseBytes
		case "entries":
			to = &l.Entries
		case "ratio":
			to = &l.Ratio
		default:
			return l, &usageError{msg: fmt.Sprintf("unknown limit in --layer-limit %s", visible(w)), hint: "there are bytes=N, entries=N and ratio=N"}
		}
		if value == "none" {
			*to = -1
			continue
		}
		n, err := read(value)
		if err != nil || n <= 0 {
			return l, &usageError{msg: fmt.Sprintf("--layer-limit %s: %s is no limit", visible(w), strconv.Quote(value)), hint: "it is a number above 0, for bytes with a unit as in 512g, or none"}
		}
		*to = n
	}
	return l, nil
}
