package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"coracle/images"
)

// HealthFlags are the --health-* flags as they were typed; "" is not given.
type HealthFlags struct {
	Cmd           *string // --health-cmd
	Interval      string  // --health-interval, a time or "disable"
	Timeout       string
	Retries       string
	StartPeriod   string
	StartInterval string
	OnFailure     string // --health-on-failure none|kill|restart|stop
	Disabled      bool   // --no-healthcheck
}

// HealthCheck is how the health of a container is looked after.
type HealthCheck struct {
	Test          []string      // CMD ARG... or CMD-SHELL LINE
	Interval      time.Duration // 0: only by hand
	Timeout       time.Duration
	StartPeriod   time.Duration // failures do not count until then, or until a first success
	StartInterval time.Duration // between checks during that
	Retries       int           // so many failures in a row are unhealthy
	OnFailure     string        `json:",omitempty"` // "" for none; kill, restart, stop
}

// ofImage is the check as an image's configuration has it.
func (h HealthCheck) ofImage() *images.Healthcheck {
	return &images.Healthcheck{Test: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, StartInterval: h.StartInterval, Retries: h.Retries}
}

// The defaults of docker and podman.
const (
	healthInterval      = 30 * time.Second
	healthTimeout       = 30 * time.Second
	healthStartInterval = 5 * time.Second
	healthRetries       = 3
)

// asked says whether a check is wanted whatever the image says.
func (f HealthFlags) asked() bool {
	return !f.Disabled && f.Cmd != nil && !strings.EqualFold(strings.TrimSpace(*f.Cmd), "none")
}

// resolve is what the flags and the image come to, nil for no check. Each flag
// replaces the image's own value, as in docker.
func (f HealthFlags) resolve(image *images.Healthcheck) (*HealthCheck, error) {
	if f.Disabled {
		if flag := f.given(); flag != "" {
			return nil, &Error{Op: "read " + flag, Err: errors.New("--no-healthcheck says that there is no health check"), Help: "leave one of them out"}
		}
		return nil, nil
	}
	h, err := f.test(image)
	if err != nil {
		return nil, err
	}
	if len(h.Test) == 0 {
		if flag := f.given(); flag != "" && f.Cmd == nil {
			return nil, &Error{Op: "read " + flag, Err: errors.New("there is no health check: the image has none"), Help: "--health-cmd says what is to be run"}
		}
		return nil, nil
	}
	if err := f.numbers(h); err != nil {
		return nil, err
	}
	return h, nil
}

// given is the name of a flag that was given, "" for none.
func (f HealthFlags) given() string {
	for _, x := range []struct{ flag, value string }{
		{"--health-interval", f.Interval}, {"--health-timeout", f.Timeout}, {"--health-retries", f.Retries},
		{"--health-start-period", f.StartPeriod}, {"--health-start-interval", f.StartInterval}, {"--health-on-failure", f.OnFailure},
	} {
		if x.value != "" {
			return x.flag
		}
	}
	if f.Cmd != nil {
		return "--health-cmd"
	}
	return ""
}

// test is the check with the image's or the default numbers; without Test there
// is none.
func (f HealthFlags) test(image *images.Healthcheck) (*HealthCheck, error) {
	h := &HealthCheck{Interval: healthInterval, Timeout: healthTimeout, Retries: healthRetries}
	if image != nil {
		h.Test = image.Test
		for _, x := range []struct {
			from time.Duration
			to   *time.Duration
		}{{image.Interval, &h.Interval}, {image.Timeout, &h.Timeout}, {image.StartPeriod, &h.StartPeriod}, {image.StartInterval, &h.StartInterval}} {
			if x.from > 0 {
				*x.to = x.from
			}
		}
		if image.Retries > 0 {
			h.Retries = image.Retries
		}
	}
	from := "the image's HEALTHCHECK"
	if f.Cmd != nil {
		h.Test, from = parseHealthCommand(*f.Cmd), "--health-cmd "+*f.Cmd
	}
	switch {
	case len(h.Test) == 0 && f.Cmd == nil, len(h.Test) > 0 && h.Test[0] == "NONE":
		h.Test = nil
	case len(h.Test) < 2 || h.Test[0] != "CMD" && h.Test[0] != "CMD-SHELL" || h.Test[1] == "":
		return nil, &Error{Op: "read " + from, Err: errors.New("there is no command in it"),
			Help: `a line for /bin/sh, a JSON array of command and arguments, or none`}
	}
	return h, nil
}

// parseHealthCommand reads --health-cmd as podman does: a line for the shell,
// a JSON array, the words of a Dockerfile (CMD ..., CMD-SHELL ...), or none.
// Source: podman-run(1), --health-cmd.
func parseHealthCommand(s string) []string {
	var list []string
	if json.Unmarshal([]byte(s), &list) == nil {
		switch {
		case len(list) == 0:
			return nil
		case slices.Contains([]string{"CMD", "CMD-SHELL", "NONE"}, strings.ToUpper(list[0])):
			return append([]string{strings.ToUpper(list[0])}, list[1:]...)
		case len(list) == 1:
			return []string{"CMD-SHELL", list[0]}
		}
		return append([]string{"CMD"}, list...)
	}
	s = strings.TrimSpace(s)
	word, rest, _ := strings.Cut(s, " ")
	switch strings.ToUpper(word) {
	case "NONE":
		return []string{"NONE"}
	case "CMD":
		return append([]string{"CMD"}, strings.Fields(rest)...)
	case "CMD-SHELL":
		return []string{"CMD-SHELL", strings.TrimSpace(rest)}
	}
	return []string{"CMD-SHELL", s}
}

// numbers puts in what the flags say of times and counts.
func (f HealthFlags) numbers(h *HealthCheck) error {
	if f.Interval == "disable" {
		f.Interval = "0s"
	}
	for _, x := range []struct {
		flag, value string
		least       time.Duration
		to          *time.Duration
	}{
		{"--health-interval", f.Interval, 0, &h.Interval},
		{"--health-timeout", f.Timeout, time.Millisecond, &h.Timeout},
		{"--health-start-period", f.StartPeriod, 0, &h.StartPeriod},
		{"--health-start-interval", f.StartInterval, 0, &h.StartInterval},
	} {
		if x.value == "" {
			continue
		}
		d, err := time.ParseDuration(x.value)
		if err != nil || d < 0 || d > 0 && d < time.Millisecond || d < x.least {
			return &Error{Op: "read " + x.flag + " " + x.value, Err: errors.New("it is not a time of a millisecond or more"), Help: "30s, 1m30s, 500ms"}
		}
		*x.to = d
	}
	// A build tool may have written any number of nanoseconds: no busy loop.
	for _, d := range []*time.Duration{&h.Interval, &h.Timeout, &h.StartInterval} {
		if *d > 0 {
			*d = max(*d, time.Millisecond)
		}
	}
	if h.StartInterval == 0 {
		h.StartInterval = min(healthStartInterval, h.Interval)
	}
	if f.Retries != "" {
		var n int
		if _, err := fmt.Sscanf(f.Retries+"\n", "%d\n", &n); err != nil || n < 1 {
			return &Error{Op: "read --health-retries " + f.Retries, Err: errors.New("it is not a number of 1 or more")}
		}
		h.Retries = n
	}
	switch f.OnFailure {
	case "", "none":
	case "kill", "restart", "stop":
		h.OnFailure = f.OnFailure
	default:
		return &Error{Op: "read --health-on-failure " + f.OnFailure, Err: errors.New("there is no such action"), Help: "none, kill, restart or stop"}
	}
	return nil
}

// args is the command that is executed.
func (h HealthCheck) args() []string {
	if h.Test[0] == "CMD-SHELL" {
		return append([]string{"/bin/sh", "-c"}, h.Test[1:]...)
	}
	return h.Test[1:]
}
