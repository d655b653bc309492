package cli

import (
	"errors"
	"strings"
	"testing"

	"coracle/internal/engine"
)

func TestLogs(t *testing.T) {
	f := &fakeEngine{containers: someContainers()}
	got := invoke(t, f, "logs", "-ftn", "--since=10m", "--until", "20m", "--tail", "5", "--color", "web", "old")
	o := f.read
	o.Stdout, o.Stderr = nil, nil
	want := engine.LogsOptions{Since: "10m", Until: "20m", Tail: 5, Follow: true, Timestamps: true, Names: true, Color: true}
	if got.code != 0 || got.out != "said\n" || got.err != "complained\n" || o != want || f.asked[0] != "logs web old" {
		t.Errorf("%+v; asked %q with %+v", got, f.asked, o)
	}
	f = &fakeEngine{containers: someContainers()}
	got = invoke(t, f, "logs", "-l")
	if got.code != 0 || f.asked[0] != "logs "+strings.Repeat("a", 64) || f.read.Tail != -1 {
		t.Errorf("-l: %+v; asked %q", got, f.asked)
	}
	if got := invoke(t, &fakeEngine{containers: someContainers()}, "logs", "--details=false", "-l"); got.code != 0 {
		t.Errorf("--details=false: %+v", got)
	}
	for _, tt := range []struct {
		args string
		f    *fakeEngine
		err  string
	}{
		{"logs --details=true web", nil, "attributes"},
		{"logs --detail=false web", nil, "unknown flag"},
		{"logs", nil, "a container is needed"},
		{"logs -l web", nil, "exclude each other"},
		{"logs --details web", nil, "attributes"},
		{"logs --tail x web", nil, "--tail"},
		{"logs -l", &fakeEngine{}, "there is no container"},
		{"logs web", &fakeEngine{err: errors.New("broken")}, "broken"},
	} {
		if got := invoke(t, tt.f, strings.Fields(tt.args)...); got.code != exitOurs || !strings.Contains(got.err, tt.err) {
			t.Errorf("%s: %+v, want %q", tt.args, got, tt.err)
		}
	}
}

// docker's -n is a number, and its --until looks back.
func TestLogsUnderDockersName(t *testing.T) {
	for line, want := range map[string]engine.LogsOptions{
		"docker logs -n 5 --until 10m web":       {Tail: 5, Until: "-10m0s"},
		"docker container logs -fn5 web":         {Tail: 5, Follow: true},
		"docker logs --tail all --since 10m web": {Tail: -1, Since: "10m"},
		"docker logs --until 2026-01-02 web":     {Tail: -1, Until: "2026-01-02"},
		"podman logs -n --until 10m web":         {Tail: -1, Names: true, Until: "10m"},
	} {
		f := &fakeEngine{}
		got := invokeAs(t, f, line)
		f.read.Stdout, f.read.Stderr = nil, nil
		if got.code != 0 || f.read != want || f.asked[0] != "logs web" {
			t.Errorf("%s: %+v; asked %q with %+v", line, got, f.asked, f.read)
		}
	}
	if got := invokeAs(t, &fakeEngine{}, "docker logs -n x web"); got.code != exitOurs || !strings.Contains(got.err, "--tail x") {
		t.Errorf("-n x: %+v", got)
	}
}
