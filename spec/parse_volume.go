package spec

import (
	"path"
	"strings"
)

// volume is one -v: SRC:DST[:OPTIONS], or DST alone.
type volume struct {
	source      string // a path of the host; "" for a volume
	name        string // of the volume; "" for an anonymous one
	destination string
	options     bindOptions
}

// parseVolume reads -v. A source without a slash or a dot in front is the
// name of a volume, as in docker and podman.
func parseVolume(s string) (volume, error) {
	parts := strings.Split(s, ":")
	if len(parts) > 3 {
		return volume{}, bad("more than SOURCE:DESTINATION:OPTIONS").hint("a path with a colon: use --mount type=bind,source=…,destination=…")
	}
	if len(parts) == 1 {
		if !path.IsAbs(s) {
			return volume{}, bad("must be SOURCE:DESTINATION[:OPTIONS]").hint("/%s alone is an anonymous volume", s)
		}
		destination, err := cleanDestination(s)
		return volume{destination: destination}, err
	}
	v := volume{destination: parts[1]}
	var err error
	if v.source, v.name, err = splitSource(parts[0]); err != nil {
		return v, err
	}
	if v.destination, err = cleanDestination(v.destination); err != nil {
		return v, err
	}
	if len(parts) == 3 {
		v.options, err = parseBindOptions(parts[2])
	}
	return v, err
}

// splitSource tells a path from the name of a volume.
func splitSource(s string) (source, name string, err error) {
	switch {
	case s == "":
		return "", "", bad("the source is empty")
	case s[0] == '/' || s[0] == '.':
		return s, "", nil
	case isName(s):
		return "", s, nil
	default:
		return "", "", bad("%q is neither a path nor the name of a volume", s).hint("a relative path begins with a dot: ./%s", s)
	}
}

// cleanDestination checks a place inside the container.
func cleanDestination(s string) (string, error) {
	if !path.IsAbs(s) {
		return "", bad("the destination %q is not an absolute path", s)
	}
	if strings.ContainsRune(s, 0) {
		return "", bad("the destination has a zero byte in it")
	}
	s = path.Clean(s)
	if s == "/" {
		return "", bad("the destination cannot be / itself").hint("--rootfs runs a directory as the root")
	}
	return s, nil
}
