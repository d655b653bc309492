package spec

import (
	"path"
	"strings"
)

// checkSource looks at source= once the type is known.
func (m *mountFlag) checkSource() error {
	switch {
	case m.source == "" && m.kind == "volume": // docker: an anonymous one
		return nil
	case m.source == "":
		return bad("the source is empty")
	case m.kind == "volume" && !isName(m.source):
		return bad("%q is not the name of a volume", m.source).hint("type=bind mounts a directory of the host")
	}
	return nil
}

func volumeKeys() []string {
	return []string{
		"source", "destination", "ro", "rw", "volume-nocopy", "nocopy", "chown", "idmap", "relabel",
		"bind-propagation", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "volume-driver", "consistency",
	}
}

// setVolume reads a key of type=volume. What describes a volume that is to be
// made is left to `volume create`: a mount that changed it would be believed.
func (m *mountFlag) setVolume(key, value string, pair bool) error {
	switch mountKey(key) {
	case "volume-nocopy", "nocopy":
		return setSwitch(m.bind.set, key, value, pair, "nocopy", "copy")
	case "volume-driver":
		if value != "local" && value != "" {
			return bad("there is no volume driver %q", value).hint("local is the only one")
		}
		return nil
	case "volume-opt", "volume-label":
		return bad("%s describes a volume that is to be made", key).hint("make it first: coracle volume create --opt …, --label …")
	case "volume-subpath", "subpath":
		return later("a part of a volume cannot be mounted yet").hint("mount the whole volume")
	case "ro", "rw", "chown", "idmap", "relabel", "bind-propagation", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "consistency":
		return m.setBind(key, value, pair)
	}
	return unknownKey(m.kind, key, volumeKeys())
}

func imageKeys() []string { return []string{"source", "destination", "rw", "ro", "subpath"} }

// setImage reads a key of type=image: read-only unless rw is said.
func (m *mountFlag) setImage(key, value string, pair bool) error {
	switch mountKey(key) {
	case "rw":
		return setSwitch(m.bind.set, key, value, pair, "rw", "ro")
	case "ro":
		return setSwitch(m.bind.set, key, value, pair, "ro", "rw")
	case "subpath", "image-subpath":
		m.subpath = strings.TrimPrefix(path.Clean("/"+value), "/")
		return nil
	}
	return unknownKey(m.kind, key, imageKeys())
}
