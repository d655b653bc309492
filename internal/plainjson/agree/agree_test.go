package agree

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestRuntimeSpec(t *testing.T) {
	Check(t, specs.State{})
	Check(t, specs.LinuxResources{})
	Check(t, specs.Process{})
}
