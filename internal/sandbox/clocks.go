package sandbox

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// longestHostname is HOST_NAME_MAX of Linux, in bytes.
const longestHostname = 64

// checkNames refuses what the kernel would: of --hostname and --time-offset.
func (o Options) checkNames() error {
	if n := o.Hostname; len(n) > longestHostname || strings.ContainsAny(n, "\x00\n/ ") {
		return &Error{Op: "--hostname " + strconv.Quote(n), Err: fmt.Errorf("a host name has at most %d bytes, and no space, slash or line's end", longestHostname)}
	}
	_, err := clocks(o.TimeOffsets)
	return err
}

// clocks are the offsets of a time namespace (time_namespaces(7)), from CLOCK=TIME: the
// clocks monotonic and boottime, and seconds or 90s, -5m, 1h30m.
func clocks(words []string) (map[string]specs.LinuxTimeOffset, error) {
	var out map[string]specs.LinuxTimeOffset
	for _, w := range words {
		bad := func(why string) error {
			return &Error{Op: "--time-offset " + w, Err: errors.New(why), Help: "for instance boottime=86400, or monotonic=-90s"}
		}
		clock, value, ok := strings.Cut(w, "=")
		if !ok || clock != "monotonic" && clock != "boottime" {
			return nil, bad("it is neither monotonic=TIME nor boottime=TIME")
		}
		if _, twice := out[clock]; twice {
			return nil, bad("that clock has an offset already")
		}
		if out == nil {
			out = map[string]specs.LinuxTimeOffset{}
		}
		d, err := time.ParseDuration(value)
		if err != nil {
			d, err = time.ParseDuration(value + "s")
		}
		if err != nil {
			return nil, bad(strconv.Quote(value) + " is no time")
		}
		whole := d.Truncate(time.Second)
		if d < whole { // nanoseconds are counted upwards
			whole -= time.Second
		}
		out[clock] = specs.LinuxTimeOffset{Secs: int64(whole / time.Second), Nanosecs: uint32(d - whole)}
	}
	return out, nil
}

// name gives the sandbox a name and clocks of its own, where they were asked for.
func (pl *Plan) name(s *specs.Spec) error {
	s.Hostname = pl.Hostname
	offsets, err := clocks(pl.TimeOffsets)
	if len(offsets) == 0 {
		return err
	}
	s.Linux.TimeOffsets = offsets
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	return nil
}
