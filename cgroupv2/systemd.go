package cgroupv2

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// unit is the transient scope of one container, as systemd's manager makes it:
// of the user's own manager, or of the machine's for real root.
type unit struct {
	name  string // coracle-ID.scope
	slice string // user.slice
	user  bool
}

// scopeOf reads linux.cgroupsPath as runc does with --systemd-cgroup:
// SLICE:PREFIX:NAME is PREFIX-NAME.scope in SLICE. Without a path it is
// coracle-ID.scope in user.slice, or in system.slice of the machine's manager.
func scopeOf(path, id string, user bool) (unit, error) {
	u := unit{slice: "system.slice", user: user}
	if user {
		u.slice = "user.slice"
	}
	slice, prefix, name := "", "coracle", id
	if path != "" {
		parts := strings.Split(path, ":")
		if len(parts) != 3 {
			return unit{}, pathError(`expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got %q instead`, path)
		}
		slice, prefix, name = parts[0], parts[1], parts[2]
	}
	if slice != "" {
		u.slice = slice
	}
	if _, err := expandSlice(u.slice); err != nil {
		return unit{}, err
	}
	if name == "" {
		return unit{}, pathError("%q names no unit", path)
	}
	if strings.HasSuffix(name, ".slice") {
		return unit{}, pathError("%q: a slice has no processes; want the name of a scope", name)
	}
	if prefix != "" {
		name = prefix + "-" + name
	}
	u.name = escapeUnit(name) + ".scope"
	if len(u.name) > 255 {
		return unit{}, pathError("%s: longer than the name of a unit may be", u.name)
	}
	return u, nil
}

// expandSlice is where a slice is below its manager: a-b.slice is
// /a.slice/a-b.slice.
func expandSlice(slice string) (string, error) {
	name, ok := strings.CutSuffix(slice, ".slice")
	if name == "-" {
		return "/", nil
	}
	if !ok || escapeUnit(name) != name || slices.Contains(strings.Split(name, "-"), "") {
		return "", pathError("%q is no name of a slice", slice)
	}
	path := ""
	for i, c := range name + "-" {
		if c == '-' {
			path += "/" + name[:i] + ".slice"
		}
	}
	return path, nil
}

// escapeUnit writes what the name of a unit may not have as \xHH; ids of
// containers can have a plus.
func escapeUnit(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(`:-_.\@`, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}

// Property is one of org.freedesktop.systemd1.Scope.
type Property = struct {
	Name  string
	Value any
}

type property = Property

func prop(name string, v any) property { return property{name, v} }

// scopeProperties are those of a new scope: what it is, then its limits, then
// what annotations ask for.
func scopeProperties(u unit, id string, pid int, files []File, annotations map[string]string, version int) ([]property, error) {
	p := []property{
		prop("Description", "coracle container "+id),
		prop("Slice", u.slice),
		prop("PIDs", []uint32{uint32(pid)}),
		prop("Delegate", true), // what is below is ours
		prop("DefaultDependencies", false),
		prop("MemoryAccounting", true), prop("CPUAccounting", true), prop("IOAccounting", true), prop("TasksAccounting", true),
	}
	if version >= 236 {
		// A scope that failed does not stay listed, and its name is free.
		p = append(p, prop("CollectMode", "inactive-or-failed"))
	}
	p = append(p, limitProperties(files, version)...)
	extra, err := annotated(annotations)
	if err != nil {
		return nil, err
	}
	for _, e := range extra {
		p = slices.DeleteFunc(p, func(old property) bool { return old.Name == e.Name })
	}
	return append(p, extra...), nil
}

// annotated reads the annotations org.systemd.property.NAME, whose values are
// in GVariant's text form: 'uint64 5', "'text'". As in runc, NAMESec is in
// seconds, and NAMEUSec for systemd.
func annotated(annotations map[string]string) ([]property, error) {
	var out []property
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		name, ok := strings.CutPrefix(key, "org.systemd.property.")
		if !ok {
			continue
		}
		refuse := func(why any) error {
			return &FieldError{Field: "annotations." + key, Reason: fmt.Sprintf("%q: %v", annotations[key], why), kind: ErrBadRequest}
		}
		if len(name) < 3 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return nil, refuse("no name of a property")
		}
		v, err := systemdBus.ParseValue(annotations[key])
		if err != nil {
			return nil, refuse(err)
		}
		if stem, ok := strings.CutSuffix(name, "Sec"); ok && !strings.HasSuffix(stem, "U") {
			if v, err = microseconds(v); err != nil {
				return nil, refuse(err)
			}
			name = stem + "USec"
		}
		out = append(out, property{name, v})
	}
	return out, nil
}

func microseconds(v any) (any, error) {
	if variant, ok := v.(interface{ Value() any }); ok {
		v = variant.Value()
	}
	var seconds float64
	switch n := v.(type) {
	case int32:
		seconds = float64(n)
	case int64:
		seconds = float64(n)
	case uint32:
		seconds = float64(n)
	case uint64:
		seconds = float64(n)
	case float64:
		seconds = n
	default:
		return v, fmt.Errorf("a number of seconds is wanted")
	}
	if seconds < 0 || seconds > 1e12 || math.IsNaN(seconds) {
		return v, fmt.Errorf("no number of seconds")
	}
	return uint64(seconds * 1e6), nil
}

// limitProperties say the limits in systemd's words, so that `systemctl show`
// is true and a daemon-reload, which writes them again, changes nothing. What
// systemd, or this version of it, has no word for is only in the files.
func limitProperties(files []File, version int) []property {
	var out []property
	set := func(p property) {
		out = slices.DeleteFunc(out, func(old property) bool { return old.Name == p.Name })
		out = append(out, p)
	}
	for _, f := range files {
		switch f.Name {
		case "memory.max", "memory.high", "memory.low", "memory.min", "memory.swap.max", "pids.max":
			name := map[string]string{
				"memory.max": "MemoryMax", "memory.high": "MemoryHigh", "memory.low": "MemoryLow",
				"memory.min": "MemoryMin", "memory.swap.max": "MemorySwapMax", "pids.max": "TasksMax",
			}[f.Name]
			if n, ok := bytesOf(f.Value); ok {
				set(prop(name, n))
			}
		case "cpu.weight", "io.weight":
			name := map[string]string{"cpu.weight": "CPUWeight", "io.weight": "IOWeight"}[f.Name]
			if n, err := strconv.ParseUint(strings.TrimPrefix(f.Value, "default "), 10, 64); err == nil {
				set(prop(name, n))
			}
		case "cpu.idle":
			if f.Value == "1" && version >= 252 {
				set(prop("CPUWeight", uint64(0)))
			}
		case "cpu.max":
			for _, p := range quotaProperties(f.Value, version) {
				set(p)
			}
		case "cpuset.cpus", "cpuset.mems":
			name := map[string]string{"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}[f.Name]
			if version >= 244 {
				set(prop(name, bitmap(expand(f.Value))))
			}
		}
	}
	return out
}

// bytesOf reads a size as the kernel does: max, or a number with K, M or G.
func bytesOf(s string) (uint64, bool) {
	if s == "max" {
		return math.MaxUint64, true
	}
	digits := strings.TrimRight(s, "KMGTkmgt")
	n, err := strconv.ParseUint(digits, 10, 64)
	shift := map[string]int{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[strings.ToUpper(s[len(digits):])]
	if err != nil || len(s)-len(digits) > 1 || n > math.MaxUint64>>shift {
		return 0, false
	}
	return n << shift, true
}

// quotaProperties is cpu.max as CPU time per second and period.
func quotaProperties(cpuMax string, version int) []property {
	quota, period := parseMax(cpuMax)
	perSec := uint64(math.MaxUint64)
	if quota > 0 && uint64(quota) < math.MaxUint64/1000000 {
		perSec = (uint64(quota)*1000000 + period - 1) / period
	}
	out := []property{prop("CPUQuotaPerSecUSec", perSec)}
	if version >= 242 {
		out = append(out, prop("CPUQuotaPeriodUSec", period))
	}
	return out
}

// bitmap has bit n%8 of byte n/8 for each number.
func bitmap(numbers []uint16) []byte {
	var b []byte
	for _, n := range numbers {
		for len(b) <= int(n/8) {
			b = append(b, 0)
		}
		b[n/8] |= 1 << (n % 8)
	}
	return b
}
