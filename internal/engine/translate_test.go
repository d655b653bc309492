package engine

import (
	"testing"

	"coracle/userns"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestCovers(t *testing.T) {
	ids := func(hostSize ...uint32) (m []specs.LinuxIDMapping) {
		inside := uint32(0)
		for i := 0; i < len(hostSize); i += 2 {
			m = append(m, specs.LinuxIDMapping{ContainerID: inside, HostID: hostSize[i], Size: hostSize[i+1]})
			inside += hostSize[i+1]
		}
		return m
	}
	for _, tt := range []struct {
		name string
		a, b []specs.LinuxIDMapping
		want bool
	}{
		{"same", ids(1000, 1, 100000, 65536), ids(1000, 1, 100000, 65536), true},
		{"keep-id", ids(100000, 1000, 1000, 1, 101000, 64536), ids(1000, 1, 100000, 65536), true},
		{"pieces in any order", ids(100010, 10, 100000, 10), ids(100000, 20), true},
		{"nomap lacks the caller", ids(100000, 65536), ids(1000, 1, 100000, 65536), false},
		{"a hole", ids(100000, 9, 100010, 10), ids(100000, 20), false},
		{"one too few", ids(100000, 65535), ids(100000, 65536), false},
		{"nothing to cover", ids(1, 1), nil, true},
		{"covered by nothing", nil, ids(1, 1), false},
		{"up to the last id", ids(4294967290, 6), ids(4294967290, 5), true},
	} {
		if got := coversIDs(tt.a, tt.b); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	one, two := ids(1, 1), ids(1, 1, 2, 1)
	if covers(userns.Map{UIDs: two, GIDs: one}, userns.Map{UIDs: one, GIDs: two}) {
		t.Error("groups that are missing are not noticed")
	}
}
