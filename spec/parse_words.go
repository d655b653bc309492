package spec

import (
	"math"
	"strconv"
	"strings"
)

// ParseBytes reads a size as docker and podman do: a number, a fraction
// allowed, and a unit b, k, m, g, t or p, alone or followed by b or ib; all
// of them powers of 1024 (docker/go-units, RAMInBytes).
func ParseBytes(s string) (int64, error) {
	lower := strings.ToLower(s) // not as long as s where that is not UTF-8
	digits := strings.TrimRight(lower, "bkmgtpi ")
	if digits == "" {
		return 0, bad("%q is not a size", s).hint("a size is a number and a unit, such as 64m or 1g")
	}
	unit := strings.TrimSpace(lower[len(digits):])
	shift, ok := unitShift(unit)
	if !ok {
		return 0, bad("unknown unit %q in the size %q", unit, s).hint("units are b, k, m, g, t and p")
	}
	n, err := strconv.ParseFloat(digits, 64)
	// ParseFloat also reads hexadecimal, "inf" and "1e9": not sizes.
	if err != nil || strings.Trim(digits, "0123456789.") != "" {
		return 0, bad("%q is not a size", s).hint("a size is a number and a unit, such as 64m or 1g")
	}
	n *= float64(int64(1) << shift)
	if n >= math.MaxInt64 {
		return 0, bad("the size %q is too large", s)
	}
	return int64(n), nil
}

func unitShift(unit string) (uint, bool) {
	if unit == "" || unit == "b" {
		return 0, true
	}
	i := strings.IndexByte("kmgtp", unit[0])
	rest := unit[1:]
	return 10 * uint(i+1), i >= 0 && (rest == "" || rest == "b" || rest == "ib")
}

// parseBool reads a value as docker's and podman's flags do: "" is true.
func parseBool(key, value string, given bool) (bool, error) {
	if !given {
		return true, nil
	}
	b, err := strconv.ParseBool(value)
	if err != nil {
		return false, bad("%q is not a value for %s", value, key).hint("%s=true or %s=false", key, key)
	}
	return b, nil
}

// parseID reads a user or group id. The kernel's ids have 32 bits, and its
// tools, docker and runc only take 31 of them.
func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return uint32(n), err == nil
}

// parseMode reads octal permission bits up to limit.
func parseMode(s string, limit uint64) (uint32, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > limit {
		return 0, bad("%q is not an octal mode up to %04o", s, limit)
	}
	return uint32(n), nil
}

// isName says whether s can be the name of a volume or a container, as
// docker and podman name them.
func isName(s string) bool {
	for i, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		case i > 0 && (c == '_' || c == '.' || c == '-'):
		default:
			return false
		}
	}
	return s != ""
}
