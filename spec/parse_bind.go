package spec

import (
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// bindOptions is what -v SRC:DST:OPTIONS and --mount type=bind can say.
type bindOptions struct {
	access      string // "ro", "rw" or "" (rw)
	bind        string // "bind", "rbind" or "" (rbind)
	propagation string // "" is rprivate
	exec, dev   string // "noexec", "exec", …; "" keeps the source's
	suid        string
	relabel     string // z or Z: accepted; nothing to do without SELinux labels
	copyUp      string // "nocopy", "copy" or "" (copy): of a volume; a bind never does
	subRO       string // "ro" or "rw": what lies mounted below a read-only bind
	overlay     bool
	upper, work string
	chown       bool
	idmap       bool
	uids, gids  []specs.LinuxIDMapping
}

// bindWords lists the options for hints.
func bindWords() []string {
	return []string{
		"ro", "rw", "bind", "rbind", "private", "rprivate", "shared", "rshared", "slave", "rslave",
		"unbindable", "runbindable", "exec", "noexec", "dev", "nodev", "suid", "nosuid",
		"z", "Z", "U", "O", "upperdir=", "workdir=", "idmap", "copy", "nocopy",
	}
}

// parseBindOptions reads the comma-separated third part of -v.
func parseBindOptions(list string) (bindOptions, error) {
	var o bindOptions
	for word := range strings.SplitSeq(list, ",") {
		if word == "" && list == "" {
			break
		}
		if err := o.set(word); err != nil {
			return o, err
		}
	}
	return o, o.check()
}

func (o *bindOptions) set(word string) error {
	key, value, pair := strings.Cut(word, "=")
	switch key {
	case "upperdir", "workdir":
		return o.setOverlayDir(key, value)
	case "idmap":
		return o.setIDMap(value, pair)
	}
	field := o.field(word)
	if field == nil {
		return o.setFlag(word)
	}
	if *field != "" && *field != word {
		return bad("%s and %s contradict each other", *field, word)
	}
	*field = word
	return nil
}

// field is the choice that a word belongs to: only one of each can hold.
func (o *bindOptions) field(word string) *string {
	switch word {
	case "ro", "rw":
		return &o.access
	case "bind", "rbind":
		return &o.bind
	case "private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable":
		return &o.propagation
	case "exec", "noexec":
		return &o.exec
	case "dev", "nodev":
		return &o.dev
	case "suid", "nosuid":
		return &o.suid
	case "z", "Z":
		return &o.relabel
	case "copy", "nocopy":
		return &o.copyUp
	}
	return nil
}

func (o *bindOptions) setFlag(word string) error {
	switch word {
	case "O":
		o.overlay = true
	case "U":
		o.chown = true
	default:
		e := bad("unknown option %q", word)
		if near := closest(word, bindWords()); near != "" && len(word) > 2 {
			return e.hint("did you mean %s?", near)
		}
		return e.hint("options are %s", strings.Join(bindWords(), ", "))
	}
	return nil
}

func (o *bindOptions) setOverlayDir(key, value string) error {
	if value == "" {
		return bad("%s needs a directory", key)
	}
	if key == "upperdir" {
		o.upper = value
	} else {
		o.work = value
	}
	return nil
}

// setIDMap reads idmap, or podman's idmap=uids=C-H-N[#C-H-N…];gids=C-H-N….
func (o *bindOptions) setIDMap(value string, pair bool) error {
	o.idmap = true
	if !pair {
		return nil
	}
	for part := range strings.SplitSeq(value, ";") {
		key, list, _ := strings.Cut(part, "=")
		maps, err := parseIDMaps(list)
		if err != nil {
			return err
		}
		switch key {
		case "uids":
			o.uids = maps
		case "gids":
			o.gids = maps
		default:
			return bad("unknown part %q of idmap", key).hint("idmap=uids=0-1000-1;gids=0-1000-1")
		}
	}
	if len(o.uids) == 0 || len(o.gids) == 0 {
		return bad("idmap needs both uids and gids").hint("idmap alone takes the container's own map")
	}
	return nil
}

// parseIDMaps reads CONTAINER-HOST-SIZE, several separated by #.
func parseIDMaps(list string) (maps []specs.LinuxIDMapping, err error) {
	for word := range strings.SplitSeq(list, "#") {
		parts := strings.Split(word, "-")
		if len(parts) != 3 {
			return nil, bad("the map %q is not CONTAINER-HOST-SIZE", word)
		}
		var n [3]uint32
		for i, p := range parts {
			v, err := strconv.ParseUint(p, 10, 32)
			if err != nil {
				return nil, bad("the map %q is not CONTAINER-HOST-SIZE", word)
			}
			n[i] = uint32(v)
		}
		if n[2] == 0 || uint64(n[0])+uint64(n[2]) > 1<<32 || uint64(n[1])+uint64(n[2]) > 1<<32 {
			return nil, bad("the map %q is empty or too long", word)
		}
		maps = append(maps, specs.LinuxIDMapping{ContainerID: n[0], HostID: n[1], Size: n[2]})
	}
	return maps, nil
}

func (o *bindOptions) check() error {
	if !o.overlay && (o.upper != "" || o.work != "") {
		return bad("upperdir and workdir belong to an overlay").hint("add O")
	}
	if (o.upper == "") != (o.work == "") {
		return bad("upperdir and workdir are given together or not at all")
	}
	if !o.overlay {
		return nil
	}
	switch {
	case o.access == "rw" || o.access == "ro":
		return bad("O and %s contradict each other: an overlay takes writes and keeps them from the source", o.access)
	case o.idmap:
		return bad("O and idmap cannot be combined")
	case o.bind != "":
		return bad("O and %s contradict each other", o.bind)
	}
	return nil
}

// mountOptions writes them for config.json. A read-only bind is read-only
// with all that is mounted below it ("rro", docker 25 and later): "ro" alone
// leaves the mounts below writable.
func (o *bindOptions) mountOptions() []string {
	bind := orElse(o.bind, "rbind")
	options := []string{bind, orElse(o.propagation, "rprivate"), orElse(o.access, "rw")}
	if o.access == "ro" && bind == "rbind" && o.subRO != "rw" {
		options = append(options, "rro")
	}
	for _, word := range []string{o.suid, o.dev, o.exec} {
		if word != "" {
			options = append(options, word)
		}
	}
	if o.idmap {
		options = append(options, "idmap")
	}
	return options
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
