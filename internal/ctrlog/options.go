package ctrlog

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ParseOptions reads --log-driver and the --log-opt key=value of a command
// line. The driver "" is the default, also where options were given. Path stays
// empty unless an option says it.
func ParseOptions(driver string, opts []string) (Options, error) {
	o := Options{Driver: driver, MaxFile: 1}
	if driver == "" {
		o.Driver = Default
	}
	if err := checkDriver(o.Driver); err != nil {
		return o, err
	}
	known := map[string][]string{
		K8sFile:  {"path", "max-size", "max-file"},
		JSONFile: {"path", "max-size", "max-file", "tag"},
		Journald: {"tag"},
	}[o.Driver]
	for _, opt := range opts {
		key, value, _ := strings.Cut(opt, "=")
		if !slices.Contains(known, key) {
			if len(known) == 0 {
				return o, fmt.Errorf("--log-opt %s: the log driver %s has no options", key, o.Driver)
			}
			return o, fmt.Errorf("--log-opt %s: the log driver %s does not know it (it knows %s)", key, o.Driver, strings.Join(known, ", "))
		}
		if err := o.set(key, value); err != nil {
			return o, fmt.Errorf("--log-opt %s=%s: %w", key, value, err)
		}
	}
	if o.MaxFile > 1 && o.MaxSize == 0 {
		return o, fmt.Errorf("--log-opt max-file=%d: without max-size there is only one file", o.MaxFile)
	}
	return o, nil
}

func (o *Options) set(key, value string) (err error) {
	if value == "" || strings.ContainsRune(value, 0) {
		return fmt.Errorf("a value is missing")
	}
	switch key {
	case "path":
		if value[0] != '/' {
			return fmt.Errorf("the path must be absolute")
		}
		o.Path = value
	case "max-size":
		if o.MaxSize, err = parseSize(value); err != nil {
			return err
		}
	case "max-file":
		if o.MaxFile, err = strconv.Atoi(value); err != nil || o.MaxFile < 1 || o.MaxFile > 1000 {
			return fmt.Errorf("a number from 1 to 1000 is expected")
		}
	case "tag":
		if strings.Contains(value, "{{") {
			return fmt.Errorf("templates are not expanded; give the text itself")
		}
		o.Tag = value
	}
	return nil
}

// parseSize reads a size in docker's and podman's way: units of a thousand, and
// -1 for no limit.
func parseSize(s string) (int64, error) {
	if s == "-1" || s == "0" {
		return 0, nil
	}
	bad := fmt.Errorf("a size is expected, such as 500k, 10m or 1g")
	number := strings.TrimRight(strings.ToLower(s), "bkmgt ")
	unit := strings.TrimSpace(strings.ToLower(s)[len(number):])
	scale, ok := map[string]float64{"": 1, "b": 1, "k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9, "t": 1e12, "tb": 1e12}[unit]
	n, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || strings.ContainsAny(number, "xXpPeEiI_nN+-") {
		return 0, bad
	}
	if n *= scale; n < 1 || n > math.MaxInt64/2 {
		return 0, bad
	}
	return int64(n), nil
}
