package spec

import (
	"strconv"
	"strings"
)

// Real-time signals as glibc and musl number them: the C libraries keep the
// first ones for themselves.
const (
	sigRTMin = 34
	sigRTMax = 64
)

// signalNames are Linux's signals on amd64 and arm64, from 1 (signal(7)).
func signalNames() []string {
	return []string{
		"HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
		"STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
	}
}

// ParseSignal reads a signal as docker and podman do: a number from 1 to 64,
// or a name in any case, with or without SIG, RTMIN+3 and RTMAX-2 included.
func ParseSignal(s string) (int, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > sigRTMax {
			return 0, bad("there is no signal %d", n).hint("signals are 1 to %d", sigRTMax)
		}
		return n, nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	switch name {
	case "IOT":
		name = "ABRT"
	case "POLL":
		name = "IO"
	case "CLD":
		name = "CHLD"
	}
	for i, known := range signalNames() {
		if name == known {
			return i + 1, nil
		}
	}
	if n, ok := realTimeSignal(name); ok {
		return n, nil
	}
	e := bad("unknown signal")
	if near := closest(name, signalNames()); near != "" {
		return 0, e.hint("did you mean SIG%s?", near)
	}
	return 0, e.hint("kill -l lists them")
}

func realTimeSignal(name string) (int, bool) {
	base, sign := sigRTMin, 1
	rest, ok := strings.CutPrefix(name, "RTMIN")
	if !ok {
		base, sign = sigRTMax, -1
		if rest, ok = strings.CutPrefix(name, "RTMAX"); !ok {
			return 0, false
		}
	}
	if rest == "" {
		return base, true
	}
	if rest[0] != "+-"[(1-sign)/2] {
		return 0, false
	}
	n, err := strconv.ParseUint(rest[1:], 10, 8)
	result := base + sign*int(n)
	return result, err == nil && result >= sigRTMin && result <= sigRTMax
}
