package layer

import (
	"fmt"
	"path"
	"strings"
)

const (
	whiteoutPrefix = ".wh."         // image-spec v1.1.1 layer.md#whiteouts
	aufsPrefix     = ".wh..wh."     // aufs' own files, which old images carry
	opaqueMarker   = ".wh..wh..opq" // image-spec v1.1.1 layer.md#opaque-whiteout
	maxName        = 255            // NAME_MAX
	maxPath        = 4095           // PATH_MAX without its NUL
)

// cleanName brings the name of an entry, or of a hard link's target, into the
// one form that is used from here on: relative, without ".", ".." and doubled
// slashes, "." for the root. Leading slashes are dropped, as every tar does; a
// name that leads out of the root is refused. Any byte but NUL is kept, valid
// UTF-8 or not: the kernel takes them all.
func cleanName(name string) (string, error) {
	if name == "" {
		return "", fmt.Errorf("%w: an entry without a name", ErrBadEntry)
	}
	if strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("%w: %s has a NUL in its name", ErrBadEntry, quote(name))
	}
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", fmt.Errorf("%w: %s leads out of the root", ErrBadEntry, quote(name))
	}
	if len(clean) > maxPath {
		return "", fmt.Errorf("%w: the name %s has %d bytes, more than %d", ErrBadEntry, quote(name), len(clean), maxPath)
	}
	for rest := clean; rest != ""; {
		var c string
		c, rest, _ = strings.Cut(rest, "/")
		if len(c) > maxName {
			return "", fmt.Errorf("%w: a part of the name %s has %d bytes, more than %d", ErrBadEntry, quote(name), len(c), maxName)
		}
	}
	return clean, nil
}

// quote makes a name fit for a message: no control characters, and not too long.
func quote(name string) string {
	if len(name) > 200 {
		return fmt.Sprintf("%q…", name[:200])
	}
	return fmt.Sprintf("%q", name)
}

// splitName gives the directory ("." for the root) and the last part.
func splitName(name string) (dir, base string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return ".", name
}

func joinName(dir, base string) string {
	if dir == "." {
		return base
	}
	return dir + "/" + base
}

// role is what an entry is by its name.
type role int

const (
	roleFile     role = iota
	roleWhiteout      // the name without its prefix is deleted
	roleOpaque        // the directory hides what is below it
	roleAufs          // aufs' own: to be ignored
)

// roleOf tells what a clean name stands for. For a whiteout base is the name
// it deletes.
func roleOf(dir, base string) (r role, deleted string, err error) {
	for rest := dir; rest != ""; {
		var c string
		c, rest, _ = strings.Cut(rest, "/")
		if strings.HasPrefix(c, aufsPrefix) {
			return roleAufs, "", nil
		}
		if strings.HasPrefix(c, whiteoutPrefix) {
			return 0, "", fmt.Errorf("%w: %s is in a directory that is a whiteout", ErrBadEntry, quote(joinName(dir, base)))
		}
	}
	switch deleted, is := strings.CutPrefix(base, whiteoutPrefix); {
	case base == opaqueMarker:
		return roleOpaque, "", nil
	case strings.HasPrefix(base, aufsPrefix):
		return roleAufs, "", nil
	case is && (deleted == "" || deleted == "." || deleted == ".."):
		return 0, "", fmt.Errorf("%w: %s is a whiteout of its own directory", ErrBadEntry, quote(joinName(dir, base)))
	case is:
		return roleWhiteout, deleted, nil
	}
	return roleFile, "", nil
}
