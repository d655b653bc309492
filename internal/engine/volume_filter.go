package engine

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// volumeFilters hold for a volume when each kind of them does; of one kind, any
// is enough, but all labels must be there.
type volumeFilters struct {
	tests map[string][]func(Volume) bool
}

func (f volumeFilters) matches(v Volume) bool {
	for kind, tests := range f.tests {
		holds := func(test func(Volume) bool) bool { return test(v) }
		all := kind == "label" || kind == "label!" || kind == "opt"
		if all && !allOf(tests, holds) || !all && !slices.ContainsFunc(tests, holds) {
			return false
		}
	}
	return true
}

func allOf[T any](list []T, f func(T) bool) bool {
	return !slices.ContainsFunc(list, func(x T) bool { return !f(x) })
}

// parseVolumeFilters reads --filter, as podman has it: KEY=VALUE.
func (e *Engine) parseVolumeFilters(filters []string) (volumeFilters, error) {
	f := volumeFilters{tests: make(map[string][]func(Volume) bool)}
	for _, s := range filters {
		key, value, ok := strings.Cut(s, "=")
		if strings.HasSuffix(key, "!") && ok { // label!=…
			key = strings.TrimSuffix(key, "!") + "!"
		}
		if !ok {
			return f, &Error{Op: fmt.Sprintf("read --filter %q", s), Err: errors.New("it is not KEY=VALUE")}
		}
		test, err := e.volumeFilter(key, value)
		if err != nil {
			return f, &Error{Op: fmt.Sprintf("read --filter %q", s), Err: err, Help: "filters are name, label, label!, dangling, driver, opt, scope, anonymous, since and until"}
		}
		f.tests[key] = append(f.tests[key], test)
	}
	return f, nil
}

func (e *Engine) volumeFilter(key, value string) (func(Volume) bool, error) {
	switch key {
	case "name":
		re, err := regexp.Compile(value)
		if err != nil {
			return nil, err
		}
		return func(v Volume) bool { return re.MatchString(v.Name) }, nil
	case "label", "label!":
		want := key == "label"
		return func(v Volume) bool { return hasPair(v.Labels, value) == want }, nil
	case "opt":
		return func(v Volume) bool { return hasPair(v.Options, value) }, nil
	case "driver":
		return func(v Volume) bool { return v.Driver == value }, nil
	case "scope":
		return func(v Volume) bool { return v.Scope == value }, nil
	case "anonymous", "dangling":
		want, err := strconv.ParseBool(value)
		if err != nil {
			return nil, fmt.Errorf("%s is true or false", key)
		}
		if key == "anonymous" {
			return func(v Volume) bool { return v.Anonymous == want }, nil
		}
		users, err := e.volumeUsers()
		if err != nil {
			return nil, err
		}
		return func(v Volume) bool { return (len(users[v.Name]) == 0) == want }, nil
	case "since", "after":
		other, err := e.readVolume(value)
		if err != nil {
			return nil, err
		}
		return func(v Volume) bool { return v.CreatedAt.After(other.CreatedAt) }, nil
	case "until":
		until, err := parseUntil(value, time.Now())
		if err != nil {
			return nil, err
		}
		return func(v Volume) bool { return v.CreatedAt.Before(until) }, nil
	}
	return nil, errors.New("there is no such filter")
}

// hasPair is for KEY, or KEY=VALUE.
func hasPair(m map[string]string, want string) bool {
	key, value, pair := strings.Cut(want, "=")
	have, ok := m[key]
	return ok && (!pair || have == value)
}

// parseUntil reads a moment as podman and docker do: how long ago (1h30m), a
// date, or seconds since 1970.
func parseUntil(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil && n >= 0 && n < 1<<33 {
		return time.Unix(0, int64(n*1e9)), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02Z07:00", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is neither a time (2026-11-26T10:00:00) nor how long ago (1h30m)", s)
}
