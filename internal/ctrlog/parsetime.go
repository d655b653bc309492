package ctrlog

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ParseTime reads a time as --since and --until take it: RFC 3339 and parts of
// it (in local time where it names no zone), seconds since 1970 with or without
// a fraction, or a duration: so long before now for since, so long after it for
// until, as podman has it.
func ParseTime(s string, now time.Time, since bool) (time.Time, error) {
	for _, layout := range []string{
		time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02 15:04:05.999999999",
		"2006-01-02 15:04", "2006-01-02Z07:00", "2006-01-02",
	} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	if t, ok := unixTime(s); ok {
		return t, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		if since {
			d = -d
		}
		return now.Add(d), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time: expected is one such as 2006-01-02T15:04:05, 1136214245.5 or 10m", s)
}

// unixTime reads seconds and their fraction exactly, which a float cannot hold.
func unixTime(s string) (time.Time, bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || len(fraction) > 9 || sec < -62135596800 || sec > 253402300799 {
		return time.Time{}, false
	}
	nsec := int64(0)
	if fraction != "" {
		n, err := strconv.ParseUint(fraction+strings.Repeat("0", 9-len(fraction)), 10, 64)
		if err != nil {
			return time.Time{}, false
		}
		nsec = int64(n)
	}
	if strings.HasPrefix(whole, "-") {
		nsec = -nsec
	}
	return time.Unix(sec, nsec), true
}
