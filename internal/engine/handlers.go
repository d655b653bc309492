package engine

import (
	"context"
	"encoding/json"
	"fmt"

	"coracle/fuse"
	"coracle/images/layer"

	"golang.org/x/sys/unix"
)

// The store stage's work besides unpacking and removing. Paths are absolute,
// with the store as "/".
const (
	metaOp = "meta" // fuse.BuildMeta
	copyOp = "copy" // fuse.CopyLayers
	lentOp = "lent" // fuse.BuildLent
	dirsOp = "dirs" // make directories and give them to an id
)

// dirsRequest asks for directories of one owner, by ids of the stage.
type dirsRequest struct {
	Dirs     []string `json:"dirs"`
	UID, GID uint32
}

// StageHandlers are given to layer.StoreMain by main.
func StageHandlers() map[string]layer.Handler {
	return map[string]layer.Handler{
		metaOp:  handler(fuse.BuildMeta),
		copyOp:  handler(fuse.CopyLayers),
		lentOp:  handler(makeLent),
		dirsOp:  handler(makeDirs),
		fillOp:  handler(fillVolume),
		packOp:  handler(packVolume),
		mergeOp: handler(mergeVolume),

		sizesOp: handler(measure),
	}
}

// handler decodes the request of one operation.
func handler[In, Out any](f func(context.Context, In) (Out, error)) layer.Handler {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var in In
		if err := json.Unmarshal(raw, &in); err != nil {
			return nil, fmt.Errorf("read a request to the store process: %w", err)
		}
		return f(ctx, in)
	}
}

func makeDirs(_ context.Context, r dirsRequest) (struct{}, error) {
	for _, d := range r.Dirs {
		if err := unix.Mkdir(d, 0o755); err != nil && err != unix.EEXIST {
			return struct{}{}, fmt.Errorf("make %s: %w", d, err)
		}
		if err := unix.Lchown(d, int(r.UID), int(r.GID)); err != nil {
			return struct{}{}, fmt.Errorf("change the owner of %s: %w", d, err)
		}
	}
	return struct{}{}, nil
}
