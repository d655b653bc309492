package engine

import (
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"coracle/images"
)

func TestHealthCommand(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"curl -f http://localhost", []string{"CMD-SHELL", "curl -f http://localhost"}},
		{`["curl","-f","x y"]`, []string{"CMD", "curl", "-f", "x y"}},
		{`["curl -f x"]`, []string{"CMD-SHELL", "curl -f x"}},
		{`["CMD","ls"]`, []string{"CMD", "ls"}},
		{`["cmd-shell","ls | wc"]`, []string{"CMD-SHELL", "ls | wc"}},
		{"CMD ls -l", []string{"CMD", "ls", "-l"}},
		{"CMD-SHELL ls | wc", []string{"CMD-SHELL", "ls | wc"}},
		{"None", []string{"NONE"}},
		{`["NONE"]`, []string{"NONE"}},
		{"[ -e /x ]", []string{"CMD-SHELL", "[ -e /x ]"}},
		{"[]", nil},
		{"", []string{"CMD-SHELL", ""}},
	} {
		if got := parseHealthCommand(c.in); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestHealthResolve(t *testing.T) {
	cmd := func(s string) *string { return &s }
	image := &images.Healthcheck{Test: []string{"CMD", "x"}, Interval: time.Minute, Retries: 7, StartPeriod: time.Second}
	for _, c := range []struct {
		what  string
		flags HealthFlags
		image *images.Healthcheck
		want  *HealthCheck
		says  string // in the error
	}{
		{"nothing", HealthFlags{}, nil, nil, ""},
		{"defaults", HealthFlags{Cmd: cmd("y")}, nil, &HealthCheck{Test: []string{"CMD-SHELL", "y"}, Interval: 30 * time.Second, Timeout: 30 * time.Second, StartInterval: 5 * time.Second, Retries: 3}, ""},
		{"the image's", HealthFlags{}, image, &HealthCheck{Test: []string{"CMD", "x"}, Interval: time.Minute, Timeout: 30 * time.Second, StartPeriod: time.Second, StartInterval: 5 * time.Second, Retries: 7}, ""},
		{"some of each", HealthFlags{Interval: "1s", Retries: "2", OnFailure: "kill"}, image,
			&HealthCheck{Test: []string{"CMD", "x"}, Interval: time.Second, Timeout: 30 * time.Second, StartPeriod: time.Second, StartInterval: time.Second, Retries: 2, OnFailure: "kill"}, ""},
		{"by hand", HealthFlags{Cmd: cmd("y"), Interval: "disable"}, nil, &HealthCheck{Test: []string{"CMD-SHELL", "y"}, Timeout: 30 * time.Second, Retries: 3}, ""},
		{"nanoseconds", HealthFlags{}, &images.Healthcheck{Test: []string{"CMD", "x"}, Interval: 1, Timeout: 1},
			&HealthCheck{Test: []string{"CMD", "x"}, Interval: time.Millisecond, Timeout: time.Millisecond, StartInterval: time.Millisecond, Retries: 3}, ""},
		{"none", HealthFlags{Cmd: cmd("none")}, image, nil, ""},
		{"the image has none", HealthFlags{}, &images.Healthcheck{Test: []string{"NONE"}}, nil, ""},
		{"only numbers in the image", HealthFlags{}, &images.Healthcheck{Retries: 2}, nil, ""},
		{"disabled", HealthFlags{Disabled: true}, image, nil, ""},
		{"disabled and not", HealthFlags{Disabled: true, Cmd: cmd("x")}, nil, nil, "--health-cmd"},
		{"no check", HealthFlags{Interval: "1s"}, nil, nil, "--health-interval"},
		{"no command", HealthFlags{Cmd: cmd("")}, image, nil, "no command"},
		{"empty list", HealthFlags{Cmd: cmd("[]")}, nil, nil, "no command"},
		{"odd image", HealthFlags{}, &images.Healthcheck{Test: []string{"EXEC", "x"}}, nil, "HEALTHCHECK"},
		{"no retries", HealthFlags{Cmd: cmd("x"), Retries: "0"}, nil, nil, "--health-retries 0"},
		{"retries", HealthFlags{Cmd: cmd("x"), Retries: "3x"}, nil, nil, "--health-retries 3x"},
		{"no time", HealthFlags{Cmd: cmd("x"), Timeout: "0s"}, nil, nil, "--health-timeout 0s"},
		{"no unit", HealthFlags{Cmd: cmd("x"), Interval: "3"}, nil, nil, "--health-interval 3"},
		{"too short", HealthFlags{Cmd: cmd("x"), Interval: "1ns"}, nil, nil, "--health-interval"},
		{"negative", HealthFlags{Cmd: cmd("x"), StartPeriod: "-1s"}, nil, nil, "--health-start-period"},
		{"action", HealthFlags{Cmd: cmd("x"), OnFailure: "explode"}, nil, nil, "explode"},
	} {
		got, err := c.flags.resolve(c.image)
		if c.says != "" {
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want %q", c.what, err, c.says)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v, want %+v", c.what, got, err, c.want)
		}
	}
}

// TestHealthAfter tells the story of a container, a digit for the exit code of
// each check, a second apart.
func TestHealthAfter(t *testing.T) {
	begin := time.Unix(1000, 0)
	for _, c := range []struct {
		check  HealthCheck
		codes  string
		want   string // s, h, u after each
		streak int
	}{
		{HealthCheck{Retries: 3}, "0110", "hhhh", 0},
		{HealthCheck{Retries: 3}, "1110", "ssuh", 0},
		{HealthCheck{Retries: 1}, "1", "u", 1},
		{HealthCheck{Retries: 2}, "0111", "hhuu", 3},
		{HealthCheck{Retries: 2, StartPeriod: 3 * time.Second}, "111111", "ssssuu", 3},
		{HealthCheck{Retries: 2, StartPeriod: time.Minute}, "1011", "shhu", 2},
	} {
		h := Health{Status: healthStarting}
		got := ""
		for i, code := range c.codes {
			at := begin.Add(time.Duration(i) * time.Second)
			h = h.after(HealthResult{Start: at, ExitCode: int(code - '0')}, c.check, begin)
			got += h.Status[:1]
		}
		if got != c.want || h.FailingStreak != c.streak {
			t.Errorf("%+v, %s: %s with a streak of %d, want %s with %d", c.check, c.codes, got, h.FailingStreak, c.want, c.streak)
		}
		if len(h.Log) != min(5, len(c.codes)) || h.Log[len(h.Log)-1].ExitCode != int(c.codes[len(c.codes)-1]-'0') {
			t.Errorf("%s: the log is %+v", c.codes, h.Log)
		}
	}
}

func TestHealthOutput(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"fine\n", "fine"},
		{strings.Repeat("x", 600), strings.Repeat("x", 500)},
		{strings.Repeat("x", 499) + "é", strings.Repeat("x", 499)},
	} {
		if got := firstBytes(iotest.HalfReader(strings.NewReader(c.in)), healthOutput); got != c.want {
			t.Errorf("%.10q...: %d bytes %q", c.in, len(got), got)
		}
	}
}
