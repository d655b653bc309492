package engine

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestStateEncode(t *testing.T) {
	for _, s := range []state{
		{},
		{State: specs.State{Version: "1.3.0", ID: "a\"b", Status: specs.StateRunning, Pid: 12, Bundle: "/x\\y/\xff<ü>\n"},
			StartTime: 1 << 63, Boot: "b", Started: time.Date(2026, 11, 25, 1, 2, 3, 400, time.FixedZone("x", 3600))},
		{State: specs.State{Pid: 1, Annotations: map[string]string{"a": "b"}}},
		{State: specs.State{Annotations: map[string]string{}}, Started: time.Now().UTC()},
	} {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.encode(); err != nil || string(got) != string(want) {
			t.Errorf("%v\n%s, want\n%s", err, got, want)
		}
	}
}
