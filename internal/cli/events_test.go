package cli

import (
	"strings"
	"testing"
	"time"

	"coracle/internal/engine"
)

func TestEvents(t *testing.T) {
	at := time.Date(2026, 11, 26, 1, 2, 3, 450, time.UTC)
	three := 3
	f := func() *fakeEngine {
		return &fakeEngine{events: []engine.Event{
			{ID: strings.Repeat("a", 64), Image: "debian:12", Name: "web", Status: "died", Time: at, Type: "container", ContainerExitCode: &three, Signal: 9, OOMKilled: true, Attributes: map[string]string{"b": "2", "a": "1"}},
			{ID: strings.Repeat("b", 64), Name: "debian:12", Status: "pull", Time: at, Type: "image"},
			{Name: "data\x1b[2J", Status: "create", Time: at, Type: "volume"},
		}}
	}
	local := at.Local().String()
	for _, c := range []struct {
		args  string
		asked string
		want  string
	}{
		{"", "events true false false ", local + " container died " + strings.Repeat("a", 64) + " (image=debian:12, name=web, exitCode=3, signal=9, oom=true, a=1, b=2)\n" +
			local + " image pull " + strings.Repeat("b", 64) + " debian:12\n" + local + ` volume create data\x1b[2J` + "\n"},
		{"--stream=false --no-trunc=false --since 1h --filter event=died -f type=x --format {{.Name}}={{.ContainerExitCode}}={{.Status}}", "events false true false event=died type=x", "web=3=died\ndebian:12=<nil>=pull\ndata\\x1b[2J=<nil>=create\n"},
		{"--until 2026-01-01 --format json", "events true false true ", `{"ContainerExitCode":3,"Signal":9,"OOMKilled":true,"ID":"` + strings.Repeat("a", 64) + `","Image":"debian:12","Name":"web","Status":"died","Time":"2026-11-26T01:02:03.00000045Z","Type":"container","Attributes":{"a":"1","b":"2"}}` + "\n" +
			`{"ID":"` + strings.Repeat("b", 64) + `","Name":"debian:12","Status":"pull","Time":"2026-11-26T01:02:03.00000045Z","Type":"image","Attributes":null}` + "\n" +
			`{"Name":"data\u001b[2J","Status":"create","Time":"2026-11-26T01:02:03.00000045Z","Type":"volume","Attributes":null}` + "\n"},
	} {
		e := f()
		got := invoke(t, e, append([]string{"events"}, strings.Fields(c.args)...)...)
		if got.code != 0 || got.out != c.want || e.asked[0] != c.asked {
			t.Errorf("events %s: exit %d, asked %q %s\n%s\nnot\n%s", c.args, got.code, e.asked, got.err, got.out, c.want)
		}
	}
	for args, want := range map[string]string{"--format {{": "read the template"} {
		if got := invoke(t, f(), append([]string{"events"}, strings.Fields(args)...)...); got.code != 125 || !strings.Contains(got.err, want) {
			t.Errorf("events %s: %+v", args, got)
		}
	}
	e := f()
	e.err = &engine.UnknownFilterError{Key: "evnt", Known: engine.EventFilterKeys()}
	if got := invoke(t, e, "events", "-f", "evnt=x"); got.code != 125 || !strings.Contains(got.err, `did you mean "event"?`) {
		t.Errorf("%+v", got)
	}
}
