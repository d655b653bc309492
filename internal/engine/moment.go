package engine

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// ParseMoment reads a point in time as docker's and podman's --since and --until
// have it: RFC 3339, parts of that (2026-11-26, 2026-11-26T08:30), seconds since
// 1970 with or without a fraction, or how long ago it is (90s, 1h30m). What says no
// zone is local time.
func ParseMoment(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	if whole, fraction, _ := strings.Cut(s, "."); len(fraction) <= 9 {
		sec, err := strconv.ParseInt(whole, 10, 64)
		nsec, ferr := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
		if err == nil && ferr == nil && sec >= 0 {
			return time.Unix(sec, nsec), nil
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999 -0700 MST", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02Z07:00", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, &Error{Op: "read the time " + strconv.Quote(s), Err: errors.New("it is no point in time"),
		Help: "2026-11-26T08:30:00Z, 2026-11-26, seconds since 1970, or how long ago: 10m, 1h30m"}
}
