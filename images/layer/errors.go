package layer

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// What can be wrong with a layer. Errors of this package unwrap to one of these
// where it applies, or to a unix.Errno (ENOSPC, EDQUOT, EACCES …), on both
// sides of the stage's socket.
var (
	ErrDiffID    = errors.New("the archive is not the one that the image's configuration names (diffID)")
	ErrDigest    = errors.New("the blob does not have the digest or size its descriptor names")
	ErrMediaType = errors.New("the blob is not what its media type says")
	ErrTruncated = errors.New("the layer ends too early")
	ErrCorrupt   = errors.New("the layer is corrupt")
	ErrBadEntry  = errors.New("an entry of the layer is not acceptable")
	ErrTooBig    = errors.New("the layer is too big")
	ErrUnmapped  = errors.New("an id of the layer is outside the id map")
	ErrStageGone = errors.New("the store process has gone away")
	ErrRefused   = errors.New("the store's file system refuses") // with its errno; tells it from a stage that cannot be started
)

// refused marks what the file system below the store says. Its text is the
// error's own.
type refused struct{ err error }

func (e *refused) Error() string   { return e.err.Error() }
func (e *refused) Unwrap() []error { return []error{e.err, ErrRefused} }

func markRefused(err error) error {
	for _, no := range [...]unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EACCES, unix.EPERM} {
		if errors.Is(err, no) {
			return &refused{err}
		}
	}
	return err
}

// TooBigError names the limit that a layer exceeds. It unwraps to ErrTooBig.
type TooBigError struct {
	What  string `json:"what"`  // "bytes", "entries", "ratio" or "extended header"
	Limit int64  `json:"limit"` // as it was in force
}

func (e *TooBigError) Error() string {
	switch e.What {
	case "bytes":
		return fmt.Sprintf("the layer unpacks to more than %d bytes", e.Limit)
	case "entries":
		return fmt.Sprintf("the layer has more than %d entries", e.Limit)
	case "extended header":
		return fmt.Sprintf("an extended header has more than %d bytes", e.Limit)
	default:
		return fmt.Sprintf("the layer unpacks to more than %d times its compressed size, as decompression bombs do", e.Limit)
	}
}

// Hint says how the limit is raised.
func (e *TooBigError) Hint() string {
	if e.What == "extended header" {
		return ""
	}
	return "if you trust it, raise the limit: coracle --layer-limit " + e.What + "=N, or none"
}

// Unwrap makes errors.Is(err, ErrTooBig) hold.
func (e *TooBigError) Unwrap() error { return ErrTooBig }

// UnmappedError says that the id map is too small for a layer. It unwraps to
// ErrUnmapped.
type UnmappedError struct {
	Path   string `json:"path"`   // the first entry whose owner is not mapped
	Kind   string `json:"kind"`   // "uid" or "gid"
	ID     uint32 `json:"id"`     // its owner
	MaxUID uint32 `json:"maxUID"` // the highest in the whole layer
	MaxGID uint32 `json:"maxGID"`
}

func (e *UnmappedError) Error() string {
	return fmt.Sprintf("%q belongs to %s %d, which is not mapped: the layer needs %d uids and %d gids",
		e.Path, e.Kind, e.ID, uint64(e.MaxUID)+1, uint64(e.MaxGID)+1)
}

// Unwrap makes errors.Is(err, ErrUnmapped) hold.
func (e *UnmappedError) Unwrap() error { return ErrUnmapped }

// Hint says what to type.
func (e *UnmappedError) Hint() string {
	n := max(e.MaxUID, e.MaxGID)
	return fmt.Sprintf("have an administrator give you at least %d subordinate ids (usermod --add-subuids, --add-subgids), or run with --uidmap 0:0:1 --gidmap 0:0:1, which records owners instead", n)
}
