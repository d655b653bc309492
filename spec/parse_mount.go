package spec

import (
	"encoding/csv"
	"slices"
	"strings"
)

// mountFlag is one --mount, as keys and values.
type mountFlag struct {
	kind                string // bind, volume, image, tmpfs, devpts, glob, ramfs
	source, destination string
	subpath             string // of an image
	bind                bindOptions
	tmpfs               tmpfsOptions
	devpts              []string // options as they go to config.json
}

// parseMount reads --mount KEY=VALUE,…; a value with a comma is quoted as in
// CSV, as in docker and podman. The type may be given anywhere; without one it
// is a volume. A key that the type does not have is refused by name.
func parseMount(s string) (mountFlag, error) {
	words, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return mountFlag{}, bad("not a list of KEY=VALUE: %v", err)
	}
	m := mountFlag{}
	for _, word := range words {
		if key, value, _ := strings.Cut(word, "="); key == "type" {
			if m.kind != "" {
				return m, bad("the type is given twice")
			}
			m.kind = value
		}
	}
	if m.kind == "" {
		m.kind = "volume"
	}
	if err := checkMountType(m.kind); err != nil {
		return m, err
	}
	seen := make(map[string]bool)
	for _, word := range words {
		key, value, pair := strings.Cut(word, "=")
		if key == "type" {
			continue
		}
		if canonical := mountKey(key); seen[canonical] {
			return m, bad("%s is given twice", canonical)
		} else { //nolint:revive // canonical belongs to both branches
			seen[canonical] = true
		}
		if err := m.set(key, value, pair); err != nil {
			return m, err
		}
	}
	return m, m.check()
}

func checkMountType(kind string) error {
	known := []string{"bind", "volume", "tmpfs", "image", "ramfs", "devpts", "glob"}
	switch {
	case kind == "artifact":
		return later("type=%s is not available yet", kind).hint("types are %s", strings.Join(known, ", "))
	case !slices.Contains(known, kind):
		e := bad("unknown type %q", kind)
		if near := closest(kind, known); near != "" {
			return e.hint("did you mean type=%s?", near)
		}
		return e.hint("types are %s", strings.Join(known, ", "))
	}
	return nil
}

// mountKey gives the first of the names that mean the same.
func mountKey(key string) string {
	switch key {
	case "src":
		return "source"
	case "dst", "dest", "target":
		return "destination"
	case "readonly":
		return "ro"
	case "readwrite":
		return "rw"
	case "U":
		return "chown"
	}
	return key
}

func (m *mountFlag) set(key, value string, pair bool) error {
	switch mountKey(key) {
	case "source":
		if m.kind == "tmpfs" || m.kind == "ramfs" || m.kind == "devpts" {
			return bad("type=%s has no source", m.kind)
		}
		m.source = value
		return m.checkSource()
	case "destination":
		var err error
		m.destination, err = cleanDestination(value)
		return err
	}
	switch m.kind {
	case "bind", "glob":
		return m.setBind(key, value, pair)
	case "volume":
		return m.setVolume(key, value, pair)
	case "image":
		return m.setImage(key, value, pair)
	case "tmpfs", "ramfs":
		return m.setTmpfs(key, value, pair)
	default:
		return m.setDevpts(key, value, pair)
	}
}

// setSwitch reads a key that turns one word on, or its opposite.
func setSwitch(set func(string) error, key, value string, pair bool, on, off string) error {
	yes, err := parseBool(key, value, pair)
	if err != nil {
		return err
	}
	if yes {
		return set(on)
	}
	if off == "" {
		return nil
	}
	return set(off)
}

func bindKeys() []string {
	return []string{
		"source", "destination", "ro", "rw", "bind-propagation", "bind-nonrecursive", "bind-recursive",
		"relabel", "chown", "idmap", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "consistency",
	}
}

func (m *mountFlag) setBind(key, value string, pair bool) error {
	o := &m.bind
	switch mountKey(key) {
	case "ro":
		return setSwitch(o.set, key, value, pair, "ro", "rw")
	case "rw":
		return setSwitch(o.set, key, value, pair, "rw", "ro")
	case "bind-propagation":
		if o.field(value) != &o.propagation {
			return bad("unknown propagation %q", value).hint("it may be [r]private, [r]shared, [r]slave or [r]unbindable")
		}
		return o.set(value)
	case "bind-nonrecursive":
		return setSwitch(o.set, key, value, pair, "bind", "rbind")
	case "bind-recursive":
		return o.setRecursive(value)
	case "relabel":
		if value != "shared" && value != "private" {
			return bad("unknown value %q of relabel", value).hint("it may be shared or private")
		}
		return o.set(map[string]string{"shared": "z", "private": "Z"}[value])
	case "chown":
		return setSwitch(o.set, key, value, pair, "U", "")
	case "idmap":
		return o.setIDMap(value, pair)
	case "consistency": // docker on a Mac; podman and docker on Linux take it and do nothing
		return nil
	case "exec", "noexec", "suid", "nosuid", "dev", "nodev":
		return setSwitch(o.set, key, value, pair, key, opposite(key))
	}
	return unknownKey(m.kind, key, bindKeys())
}

// setRecursive is docker's bind-recursive.
func (o *bindOptions) setRecursive(value string) error {
	switch value {
	case "enabled":
		return o.set("rbind")
	case "disabled":
		return o.set("bind")
	case "writable":
		o.subRO = "rw"
	case "readonly":
		o.subRO = "ro"
	default:
		return bad("unknown value %q of bind-recursive", value).hint("it may be enabled, disabled, writable or readonly")
	}
	return o.set("rbind")
}

func opposite(word string) string {
	if rest, ok := strings.CutPrefix(word, "no"); ok {
		return rest
	}
	return "no" + word
}

func unknownKey(kind, key string, known []string) error {
	e := bad("unknown key %q for type=%s", key, kind)
	if near := closest(key, known); near != "" {
		return e.hint("did you mean %s?", near)
	}
	return e.hint("keys are %s", strings.Join(known, ", "))
}

func tmpfsKeys() []string {
	return []string{
		"destination", "tmpfs-size", "tmpfs-mode", "ro", "rw", "chown", "tmpcopyup", "notmpcopyup",
		"exec", "noexec", "suid", "nosuid", "dev", "nodev",
	}
}

func (m *mountFlag) setTmpfs(key, value string, pair bool) error {
	o := &m.tmpfs
	if m.kind == "ramfs" && key == "tmpfs-size" {
		return bad("type=ramfs cannot be limited").hint("type=tmpfs can")
	}
	switch mountKey(key) {
	case "tmpfs-size":
		return o.set("size=" + value)
	case "tmpfs-mode":
		return o.set("mode=" + value)
	case "ro":
		return setSwitch(o.set, key, value, pair, "ro", "rw")
	case "rw":
		return setSwitch(o.set, key, value, pair, "rw", "ro")
	case "chown":
		return setSwitch(o.set, key, value, pair, "U", "")
	case "tmpcopyup":
		return setSwitch(o.set, key, value, pair, "tmpcopyup", "notmpcopyup")
	case "notmpcopyup":
		return setSwitch(o.set, key, value, pair, "notmpcopyup", "tmpcopyup")
	case "exec", "noexec", "suid", "nosuid", "dev", "nodev":
		return setSwitch(o.set, key, value, pair, key, opposite(key))
	}
	return unknownKey(m.kind, key, tmpfsKeys())
}

func (m *mountFlag) setDevpts(key, value string, pair bool) error {
	switch {
	case key == "uid" || key == "gid" || key == "max":
		if _, ok := parseID(value); !ok {
			return bad("%s needs a number, not %q", key, value)
		}
	case key == "mode":
		if _, err := parseMode(value, 0o777); err != nil {
			return err
		}
	default:
		return unknownKey(m.kind, key, []string{"destination", "uid", "gid", "mode", "max"})
	}
	_ = pair
	m.devpts = append(m.devpts, key+"="+value)
	return nil
}

func (m *mountFlag) check() error {
	if m.destination == "" && m.kind != "glob" {
		return bad("a destination is missing").hint("destination=/path/in/the/container")
	}
	if m.source == "" && (m.kind == "bind" || m.kind == "glob") {
		return bad("a source is missing").hint("source=/path/on/the/host")
	}
	if m.source == "" && m.kind == "image" {
		return bad("a source is missing").hint("source=IMAGE")
	}
	if m.bind.subRO == "ro" && m.bind.access != "ro" {
		return bad("bind-recursive=readonly needs a read-only mount").hint("add readonly")
	}
	return m.bind.check()
}
