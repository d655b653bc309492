package cli

import (
	"fmt"
	"strings"
	"time"
)

// humanSize is a size in units of 1000, as docker prints it.
func humanSize(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB", "PB"} {
		f /= 1000
		if f < 999.5 {
			break
		}
	}
	return fmt.Sprintf("%.3g %s", f, unit)
}

// humanAge says how long ago then was.
func humanAge(now, then time.Time) string {
	if then.Unix() <= 0 {
		return "N/A" // reproducible builds write the epoch, or nothing
	}
	d := now.Sub(then)
	for _, u := range []struct {
		name string
		size time.Duration
		from int
	}{
		{"year", 365 * 24 * time.Hour, 2},
		{"month", 30 * 24 * time.Hour, 2},
		{"week", 7 * 24 * time.Hour, 2},
		{"day", 24 * time.Hour, 2},
		{"hour", time.Hour, 1},
		{"minute", time.Minute, 1},
		{"second", time.Second, 1},
	} {
		if n := int(d / u.size); n >= u.from {
			return fmt.Sprintf("%d %s%s ago", n, u.name, plural(n))
		}
	}
	return "just now"
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// shortID is the twelve digits that listings show of a digest or an id.
func shortID(id string, whole bool) string {
	if whole {
		return id
	}
	_, hex, found := strings.Cut(id, ":")
	if !found {
		hex = id
	}
	return hex[:min(12, len(hex))]
}

// splitName takes a full name apart as listings show it.
func splitName(name string) (repository, tag, digest string) {
	repository, digest, _ = strings.Cut(name, "@")
	if i := strings.LastIndexByte(repository, ':'); i > strings.LastIndexByte(repository, '/') {
		repository, tag = repository[:i], repository[i+1:]
	}
	return repository, tag, digest
}
