package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"time"

	"coracle/images/layer"
)

// changesRequest asks the stage for the differences of two trees, as an archive or
// as a list. Both are made of the directories that it was given: the first Is of
// them are the new tree, those after the first From the old one.
type changesRequest struct {
	Is   int
	From int
	Was  int  // how many from there on
	Root bool // the new tree is the root that was opened, and nothing else

	Marked    bool // the new tree's topmost is fuse-overlayfs's
	MarkedWas bool // the old one's
	Record    bool // owners are recorded
	List      bool // the paths, not an archive
	Leave     layer.Leave
	Whole     bool
	Time      *time.Time `json:",omitempty"`
	Clamp     bool       `json:",omitempty"`
}

// changes is the stage's part of commit, pack and diff.
func (s *filesStage) changes(r changesRequest, files []*os.File, reply *filesReply) error {
	if len(files) != 1 || r.Is < 0 || r.From < 0 || r.Was < 0 || r.Is > s.dirs || r.From+r.Was > s.dirs {
		return errors.New("changes takes a pipe and the directories that were given")
	}
	is := layer.Tree{Layers: dirsFrom(0, r.Is), Marked: r.Marked, Record: r.Record}
	if r.Root {
		is.Layers = []int{s.root}
	}
	was := layer.Tree{Layers: dirsFrom(r.From, r.Was), Marked: r.MarkedWas, Record: r.Record}
	ctx := context.Background() // whoever asks ends this process
	if r.List {
		out := bufio.NewWriterSize(files[0], packBuffer)
		enc := json.NewEncoder(out)
		err := layer.Compare(ctx, was, is, r.Leave, func(c layer.Change) error {
			kind := c.Kind
			if kind == layer.Same {
				kind = layer.Changed // something in it is
			}
			return enc.Encode(Change{string(kind), "/" + c.Path})
		})
		return errors.Join(err, out.Flush())
	}
	res, err := layer.WriteChangeset(ctx, files[0], was, is, layer.ChangesetOptions{Leave: r.Leave, Whole: r.Whole, Time: r.Time, Clamp: r.Clamp})
	reply.Notes, reply.Count = res.Notes, res.Entries
	return err
}

func dirsFrom(from, n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = firstDir + from + i
	}
	return out
}
