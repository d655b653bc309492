// Package layer unpacks image layers into directories that the kernel's overlay
// takes as lowers, and removes them again. Files get the ids of the user
// namespace the work is done in, so the work is done by a process of its own,
// [coracle:store], which is inside that namespace and chrooted into the store.
// The rest of the program sees it as a Stage.
//
// Layers of one image are unpacked side by side. What one of them takes from
// the layers below (the metadata of parent directories its archive does not
// name, the files its hard links point to) is noted while unpacking and mended
// by Finish, which is called in order, bottom layer first.
package layer

import (
	"context"
	"os"

	"github.com/opencontainers/go-digest"
)

// Stage does the work on files that belong to mapped ids. All directories are
// relative to the store's root, use slashes, and may not contain ".." or pass
// through symbolic links. It may be used by many goroutines at once.
type Stage interface {
	// Unpack makes Request.Dir, which must not exist (its parents are made), and
	// unpacks the layer there. After an error the directory may be half full:
	// the caller removes it. A cancelled request returns only when nothing is
	// written any more.
	Unpack(ctx context.Context, r Request) (Result, error)

	// Finish mends a layer with what only the layers below can tell. They must
	// have been finished themselves. Until Finish has returned, the layer is not
	// to be used, nor renamed to its final name.
	Finish(ctx context.Context, r FinishRequest) error

	// Remove removes a file or a whole tree, whoever owns it and whatever its
	// modes say. A missing one is no error.
	Remove(ctx context.Context, dir string) error

	// Close ends the stage; requests still under way fail with ErrStageGone.
	Close() error
}

// Request says which layer goes where.
type Request struct {
	// Blob is read from its start with pread, whatever its offset; it stays open
	// and stays the caller's. A pipe is read to its end; to cancel such a request
	// its writing end has to be closed, too.
	Blob *os.File `json:"-"`

	// MediaType is the layer's media type, OCI or Docker; it says how the blob is
	// compressed. What the blob's first bytes say must agree (ErrMediaType). When
	// it is empty the first bytes decide.
	MediaType string `json:"mediaType,omitempty"`

	// DiffID is the digest of the uncompressed archive, checked when the whole
	// stream has been read; when it is empty nothing is checked and
	// Result.DiffID tells.
	DiffID digest.Digest `json:"diffID,omitempty"`

	// Digest and Size are those of the blob. They are checked only with Verify.
	Digest digest.Digest `json:"digest,omitempty"`
	Size   int64         `json:"size,omitempty"`
	Verify bool          `json:"verify,omitempty"`

	// Dir is the directory to make, e.g. layers/CHAIN/CLASS.tmp-x/fs. Files
	// beside it belong to the layer as well and move with its parent: "stat"
	// (with Record) and, until Finish, "pending".
	Dir string `json:"dir"`

	// Record is for a single-id map, where chown is not possible: owners that
	// cannot be given to the files are kept in xattrs and the stat file (see
	// Stat).
	Record bool `json:"record,omitempty"`

	// Plain says that the archive is no layer: names that would be whiteouts are
	// those of files.
	Plain bool `json:"plain,omitempty"`

	// Lender is the same layer as somebody else has unpacked it (…/fs), and may be
	// read by all: files whose data is there become holes of their size, with the
	// mark XattrLent. Nil: none.
	Lender *os.File `json:"-"`

	Limits Limits `json:"limits,omitzero"`

	// Progress, if set, is told now and then how many bytes of the blob have
	// been read. It is called from one goroutine.
	Progress func(read int64) `json:"-"`
}

// Limits bound what one layer may become; 0 means the default, -1 no limit.
// A layer beyond a limit fails with a TooBigError (ErrTooBig).
type Limits struct {
	Bytes   int64 `json:"bytes,omitempty"`   // of the uncompressed archive, and of all files with their holes; default 256 GiB
	Entries int64 `json:"entries,omitempty"` // default 10,000,000
	Ratio   int64 `json:"ratio,omitempty"`   // uncompressed to compressed size, once beyond 1 GiB; default 200
}

// FinishRequest names an unpacked layer and those below it.
type FinishRequest struct {
	Dir    string   `json:"dir"`    // as in Request
	Lowers []string `json:"lowers"` // their directories (…/fs), topmost first
	Record bool     `json:"record,omitempty"`
}

// Result is what became of a layer.
type Result struct {
	DiffID  digest.Digest `json:"diffID"`  // of the uncompressed archive
	Bytes   int64         `json:"bytes"`   // of the uncompressed archive
	Entries int64         `json:"entries"` // in the archive
	MaxUID  uint32        `json:"maxUID"`  // the highest owners named in the archive
	MaxGID  uint32        `json:"maxGID"`
	Skipped int64         `json:"skipped,omitempty"` // entries and xattrs that were left out
	Skips   []Skip        `json:"skips,omitempty"`   // the first of them
}

// Skip is one thing in an archive that was left out, and why.
type Skip struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}
