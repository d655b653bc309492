package engine

import (
	"testing"

	"coracle/internal/plainjson/agree"
	"coracle/spec"
)

// Every document that is written down or handed over is what encoding/json takes it
// for: other programs read some of them, and earlier versions have written them.
func TestDocuments(t *testing.T) {
	for _, v := range []any{Container{}, blueprint{}, Volume{}, Network{}, Secret{}, bundle{}, Health{}, []spec.Mounted{}, reportLine{}} {
		agree.Check(t, v)
	}
}
