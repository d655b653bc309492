package spec

import (
	"path"
	"strings"
)

// volume is one -v: SRC:DST[:OPTIONS].
type volume struct {
	source, destination string
	options             bindOptions
}

// parseVolume reads -v. A source without a slash or a dot in front is the
// name of a volume, as in docker and podman.
func parseVolume(s string) (volume, error) {
	parts := strings.Split(s, ":")
	if len(parts) > 3 {
		return volume{}, bad("more than SOURCE:DESTINATION:OPTIONS").hint("a path with a colon: use --mount type=bind,source=…,destination=…")
	}
	if len(parts) == 1 {
		if path.IsAbs(s) {
			return volume{}, later("anonymous volumes are not available yet").hint("-v /on/the/host:%s mounts a directory, --tmpfs %s an empty one", s, s)
		}
		return volume{}, bad("must be SOURCE:DESTINATION[:OPTIONS]")
	}
	v := volume{source: parts[0], destination: parts[1]}
	if err := checkSource(v.source); err != nil {
		return v, err
	}
	var err error
	if v.destination, err = cleanDestination(v.destination); err != nil {
		return v, err
	}
	if len(parts) == 3 {
		v.options, err = parseBindOptions(parts[2])
	}
	return v, err
}

func checkSource(s string) error {
	switch {
	case s == "":
		return bad("the source is empty")
	case s[0] == '/' || s[0] == '.':
		return nil
	case isName(s):
		return later("named volumes are not available yet").hint("a directory is written ./%s", s)
	default:
		return bad("%q is neither a path nor the name of a volume", s).hint("a relative path begins with a dot: ./%s", s)
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
