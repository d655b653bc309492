package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"coracle/images"
	"coracle/userns"
)

// Sizes are what a container takes of the disk, in bytes.
type Sizes struct {
	RW   int64 // what it has written itself
	Root int64 // with its image, whose layers it may share
}

// sizesOp is the store process's: how large are the files below directories?
const sizesOp = "sizes"

type sizesRequest struct {
	Dirs  []string `json:"dirs"`
	Taken bool     `json:"taken,omitempty"` // what files take of the disk, not how long they are
}

func measure(_ context.Context, r sizesRequest) ([]int64, error) {
	out := make([]int64, len(r.Dirs))
	for i, d := range r.Dirs {
		n, err := treeSize(d, r.Taken)
		if err != nil {
			return nil, fmt.Errorf("measure %s: %w", d, err)
		}
		out[i] = n
	}
	return out, nil
}

// treeSize adds up the sizes of files and links below dir, those with several
// names once. What vanishes meanwhile does not count, nor does a link lead out. In a tree of
// metadata files are as long as those whose data they stand for, and take nothing: see taken.
func treeSize(dir string, taken bool) (int64, error) {
	root, err := os.OpenRoot(dir)
	if isNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer root.Close() //nolint:errcheck // it was only read
	type inode struct{ dev, ino uint64 }
	seen, total := map[inode]bool{}, int64(0)
	err = fs.WalkDir(root.FS(), ".", func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err != nil {
			return ignoreGone(err)
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
			id := inode{st.Dev, st.Ino}
			if seen[id] {
				return nil
			}
			seen[id] = true
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && taken {
			total += st.Blocks * 512 // inode(7)
			return nil
		}
		if info.Mode().IsRegular() || info.Mode()&fs.ModeSymlink != 0 {
			total += info.Size()
		}
		return nil
	})
	return total, err
}

func ignoreGone(err error) error {
	if isNotFound(err) {
		return nil
	}
	return err
}

// Sizes measures containers.
func (e *Engine) Sizes(ctx context.Context, boxes []Container) (map[string]Sizes, error) {
	m := e.measurer(ctx)
	out := make(map[string]Sizes, len(boxes))
	var failed error
	for _, c := range boxes {
		s, err := m.sizes(c)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("measure container %s: %w", c.Name, err))
		}
		out[c.ID] = s
	}
	return out, errors.Join(failed, m.close())
}

// measurer measures several containers with few processes.
type measurer struct {
	e      *Engine
	ctx    context.Context
	stages map[string]*storeStage // by map
	roots  map[string]int64       // by image
}

func (e *Engine) measurer(ctx context.Context) *measurer {
	return &measurer{e: e, ctx: ctx, stages: map[string]*storeStage{}, roots: map[string]int64{}}
}

func (m *measurer) sizes(c Container) (Sizes, error) {
	var s Sizes
	for _, d := range []string{"upper", "copy"} {
		n, err := m.tree(c, filepath.Join(m.e.containerDir(c.ID), d))
		if err != nil {
			return s, err
		}
		s.RW += n
	}
	s.Root = s.RW
	if c.ImageID == "" {
		return s, nil
	}
	n, ok := m.roots[c.ImageID.String()]
	if !ok {
		n = m.e.unpackedSize(c.ImageID.String())
		m.roots[c.ImageID.String()] = n
	}
	s.Root += n
	return s, nil
}

// tree measures a directory ourselves where we may, else as the ids that own
// what is in it.
func (m *measurer) tree(c Container, dir string) (int64, error) { return m.measure(c, dir, false) }

func (m *measurer) measure(c Container, dir string, taken bool) (int64, error) {
	n, err := treeSize(dir, taken)
	if !errors.Is(err, fs.ErrPermission) {
		return n, err
	}
	s, err := m.stage(c.Map)
	if err != nil {
		return 0, err
	}
	rel, err := filepath.Rel(m.e.root, dir)
	if err != nil {
		return 0, err
	}
	var out []int64
	if err := s.Call(m.ctx, sizesOp, sizesRequest{[]string{"/" + rel}, taken}, &out); err != nil || len(out) != 1 {
		return 0, errors.Join(err, errWrongAnswer(len(out)))
	}
	return out[0], nil
}

func errWrongAnswer(n int) error {
	if n == 1 {
		return nil
	}
	return fmt.Errorf("the store process gave %d sizes for one directory", n)
}

func (m *measurer) stage(ids userns.Map) (*storeStage, error) {
	key, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	s := m.stages[string(key)]
	if s == nil {
		s = m.e.stage(m.ctx, ids)
		m.stages[string(key)] = s
	}
	return s, nil
}

func (m *measurer) close() error {
	var err error
	for _, s := range m.stages {
		err = errors.Join(err, s.Close())
	}
	return err
}

// unpackedSize adds up what an image's layers take, as far as they are known:
// that of an image that is gone is 0.
func (e *Engine) unpackedSize(id string) int64 {
	img, err := e.lookupImage(id)
	if err != nil {
		return 0
	}
	var total int64
	for _, chain := range img.ChainIDs {
		records, _ := filepath.Glob(filepath.Join(e.root, "layers", chain.Encoded(), "*", "record.json"))
		for _, f := range records {
			var r images.LayerRecord
			if data, err := os.ReadFile(f); err == nil && json.Unmarshal(data, &r) == nil {
				total += r.Bytes
				break // the same for all map classes
			}
		}
	}
	return total
}
