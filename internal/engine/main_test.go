package engine

import (
	"os"
	"testing"

	"coracle/fuse"
	"coracle/images/layer"
	"coracle/spec"
)

// TestMain stands in for main.go: the stages re-execute this binary, and
// without it would run the tests again, and these the stages.
func TestMain(m *testing.M) {
	switch os.Args[0] {
	case layer.StageName:
		os.Exit(layer.StoreMain(StageHandlers()))
	case fuse.ProbeName:
		os.Exit(fuse.ProbeMain())
	case spec.CarrierName:
		os.Exit(spec.CarrierMain(os.Args[1:]))
	case ChownStage:
		os.Exit(ChownMain())
	case FilesStage:
		os.Exit(FilesMain())
	}
	os.Exit(m.Run())
}
