package images

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"coracle/images/layer"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// recordFile has a LayerRecord.
const recordFile = "record.json"

// LayerRecord is what is kept beside an unpacked layer, in record.json.
type LayerRecord struct {
	DiffID  digest.Digest
	MaxUID  uint32 // the greatest owner in the layer: the map must reach it
	MaxGID  uint32
	Bytes   int64 // of the uncompressed archive
	Entries int64
	Skipped int64        // entries and xattrs that were left out …
	Skips   []layer.Skip // … and why, the first of them
}

// layerDir is the directory of one layer and class, relative to the root.
func layerDir(chain digest.Digest, class string) string {
	return "layers/" + chain.Encoded() + "/" + class
}

func (s *Store) hasLayer(chain digest.Digest, class string) bool {
	return unix.Access(filepath.Join(s.root, layerDir(chain, class), "fs"), unix.F_OK) == nil
}

// Layers makes sure that all layers of the image are unpacked for the map
// class, and gives their absolute directories, topmost first. Where all are,
// it costs a system call for each. stage is asked for only when there is
// something to unpack, and stays the caller's. The image may be run by the
// time it returns; several processes may ask for the same at once.
func (s *Store) Layers(ctx context.Context, img *Image, class string, stage func() (layer.Stage, error)) ([]string, error) {
	if err := checkClass(class); err != nil {
		return nil, err
	}
	root := s.root
	switch {
	case s.hasLayers(img, class):
	case s.additionalLayers(img, class) != "":
		root = s.additionalLayers(img, class)
	default:
		own, err := s.Own(ctx, img, class, stage)
		if err != nil {
			return nil, err
		}
		img = own
		lease, err := s.lease(ctx, imageDigests(img))
		if err != nil {
			return nil, err
		}
		defer lease.Release()
		if err := s.unpackAll(ctx, img, class, stage, s.openLayer(img)); err != nil {
			return nil, s.explainBlob(img, err)
		}
	}
	dirs := make([]string, 0, len(img.ChainIDs))
	for _, c := range slices.Backward(img.ChainIDs) {
		dirs = append(dirs, filepath.Join(root, layerDir(c, class), "fs"))
	}
	return dirs, nil
}

// openLayer opens the blob of a layer that the store has.
func (s *Store) openLayer(img *Image) func(context.Context, int) (*blob, error) {
	return func(_ context.Context, i int) (*blob, error) {
		f, err := os.Open(s.blobPath(img.Layers[i].Digest))
		if os.IsNotExist(err) {
			return nil, fail(ErrCorrupt, "the layer %s is missing from the store", img.Layers[i].Digest).hint("pull the image again")
		}
		return &blob{file: f}, err
	}
}

func (s *Store) hasLayers(img *Image, class string) bool {
	for _, c := range img.ChainIDs {
		if !s.hasLayer(c, class) {
			return false
		}
	}
	return true
}

// LayerRecords gives what is known of the image's unpacked layers, bottom first.
func (s *Store) LayerRecords(img *Image, class string) ([]LayerRecord, error) {
	out := make([]LayerRecord, len(img.ChainIDs))
	for i, c := range img.ChainIDs {
		root := s.root
		if !s.hasLayer(c, class) {
			root = cmp.Or(s.additionalLayers(img, class), root)
		}
		data, err := os.ReadFile(filepath.Join(root, layerDir(c, class), recordFile))
		if err != nil {
			return nil, fmt.Errorf("read the record of the layer %s: %w", c, err)
		}
		if err := json.Unmarshal(data, &out[i]); err != nil {
			return nil, fmt.Errorf("read the record of the layer %s: %w", c, err)
		}
	}
	return out, nil
}

func checkClass(class string) error {
	if class == "" || strings.ContainsAny(class, "/\x00") || strings.HasPrefix(class, ".") || strings.Contains(class, ".tmp-") {
		return fmt.Errorf("map class %q cannot be a directory name", class)
	}
	return nil
}

// unpacking is one image being unpacked. Each layer has a goroutine of its
// own: it takes the layer's lock, unpacks, waits for the layers below to be
// finished, and finishes; publish then names them all. Locks are taken from
// the bottom up and held to the end: two images share their lowest layers or
// none, so there is no circle.
type unpacking struct {
	*batch
	img   *Image
	class string
	turns *turns          // bounds what is unpacked at the same time
	held  []chan struct{} // closed when a layer's lock is held, or not needed any more
	done  []chan struct{} // closed when a layer is finished
	dirs  []string        // where a layer is, relative to the root; set when it is done
}

// badLayer says whether unpacking failed for what the layer is.
func badLayer(err error) bool {
	for _, kind := range [...]error{layer.ErrDigest, layer.ErrDiffID, layer.ErrMediaType, layer.ErrTruncated, layer.ErrCorrupt, layer.ErrBadEntry} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// explainBlob: what the store has was checked when it came. If it is another
// thing now, it has been damaged since.
func (s *Store) explainBlob(img *Image, err error) error {
	if badLayer(err) && s.dropDamaged(img) {
		return fail(ErrCorrupt, "the image was damaged in the store").because(err).hint("pull it again")
	}
	return err
}

// dropDamaged removes the layers that no longer have their digest, so that
// the next pull fetches them; false when there are none.
func (s *Store) dropDamaged(img *Image) bool {
	found := false
	for _, d := range img.Layers {
		f, err := os.Open(s.blobPath(d.Digest))
		if err != nil {
			continue
		}
		v := newVerifier(d.Digest, d.Size)
		_, err = io.Copy(v, f)
		f.Close()
		if err == nil {
			err = v.check()
		}
		if errors.Is(err, ErrCorrupt) && os.Remove(s.blobPath(d.Digest)) == nil {
			found = true
		}
	}
	return found
}

// unpackAll runs open for every layer whose directory is missing, and unpacks
// what it opens.
func (s *Store) unpackAll(ctx context.Context, img *Image, class string, stage func() (layer.Stage, error),
	open func(ctx context.Context, i int) (*blob, error),
) error {
	st, err := stage()
	if err != nil {
		return fmt.Errorf("start the store process: %w", err)
	}
	u, err := s.newUnpacking(img, class, st)
	if err != nil {
		return err
	}
	defer u.end(ctx)
	g, ctx := errgroup.WithContext(ctx)
	for i := range img.ChainIDs {
		g.Go(func() error { return u.layer(ctx, i, open) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return u.publish()
}

func (s *Store) newUnpacking(img *Image, class string, st layer.Stage) (*unpacking, error) {
	b, err := s.newBatch(st)
	if err != nil {
		return nil, err
	}
	n := len(img.ChainIDs)
	b.fresh = make([]*fresh, 0, n)
	u := &unpacking{batch: b, img: img, class: class, turns: newTurns(max(2, min(runtime.NumCPU(), 6))),
		held: make([]chan struct{}, n), done: make([]chan struct{}, n), dirs: make([]string, n)}
	for i := range n {
		u.held[i], u.done[i] = make(chan struct{}), make(chan struct{})
	}
	return u, nil
}

func (u *unpacking) layer(ctx context.Context, i int, open func(context.Context, int) (*blob, error)) error {
	f, err := u.take(ctx, i)
	if err != nil {
		return err
	}
	if f != nil {
		if err := u.fill(ctx, i, f.tmp, open); err != nil {
			return explainWrite(fmt.Errorf("unpack the layer %s: %w", u.img.Layers[i].Digest, err), u.s.root)
		}
	}
	close(u.done[i])
	return nil
}

// take gets the lock of a layer and a directory for it; nil when it is there.
func (u *unpacking) take(ctx context.Context, i int) (*fresh, error) {
	if i > 0 {
		if err := waitFor(ctx, u.held[i-1]); err != nil {
			return nil, err
		}
	}
	chain := u.img.ChainIDs[i]
	f := &fresh{final: layerDir(chain, u.class)}
	u.dirs[i] = f.final
	if !u.s.hasLayer(chain, u.class) {
		l, err := u.s.acquire(ctx, "layer-"+chain.Encoded()+"-"+u.class)
		if err != nil {
			return nil, err
		}
		if u.s.hasLayer(chain, u.class) {
			l.Release()
		} else {
			f.lock = l
			u.fresh = append(u.fresh, f) // only the one whose turn it is does
		}
	}
	close(u.held[i])
	if f.lock == nil {
		return nil, nil
	}
	if err := u.clean(ctx, chain); err != nil {
		return nil, err
	}
	tmp, err := u.s.makeTemp("layers/"+chain.Encoded(), u.class)
	f.tmp, u.dirs[i] = tmp, tmp
	return f, err
}

func waitFor(ctx context.Context, c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// clean removes what a process left that died while it unpacked this layer.
func (u *unpacking) clean(ctx context.Context, chain digest.Digest) error {
	parent := filepath.Join("layers", chain.Encoded())
	entries, err := os.ReadDir(filepath.Join(u.s.root, parent))
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, e := range entries {
		if class, _, ok := strings.Cut(e.Name(), ".tmp-"); ok && class == u.class {
			if err := u.stage.Remove(ctx, filepath.Join(parent, e.Name())); err != nil {
				return fmt.Errorf("remove the leftover %s: %w", e.Name(), err)
			}
		}
	}
	return nil
}

// makeTemp makes the directory for a layer in parent, both relative to the root.
func (s *Store) makeTemp(parent, class string) (string, error) {
	dir := filepath.Join(s.root, parent)
	spread(filepath.Dir(dir))
	for range 10 {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", explainWrite(err, s.root)
		}
		spread(dir)
		tmp, err := os.MkdirTemp(dir, class+".tmp-")
		if os.IsNotExist(err) {
			continue // a garbage collection saw the parent empty
		}
		if err != nil {
			return "", explainWrite(err, s.root)
		}
		return filepath.Join(parent, filepath.Base(tmp)), os.Chmod(tmp, 0o755) //nolint:gosec // mapped ids must be able to pass
	}
	return "", fmt.Errorf("make a directory in %s: others remove it", dir)
}

func (u *unpacking) fill(ctx context.Context, i int, tmp string, open func(context.Context, int) (*blob, error)) error {
	b, err := open(ctx, i)
	if err != nil {
		return err
	}
	defer b.close()
	if b.temp == nil {
		return u.unpackAndFinish(ctx, i, tmp, b.file)
	}
	// To the disk and into the directory at the same time.
	durable := make(chan error, 1)
	go func() { durable <- b.finish() }()
	err = u.unpackAndFinish(ctx, i, tmp, b.file)
	if derr := <-durable; err == nil {
		err = derr
	}
	return err
}

func (u *unpacking) unpackAndFinish(ctx context.Context, i int, tmp string, f *os.File) error {
	desc := u.img.Layers[i]
	if err := u.turns.take(ctx, desc.Size); err != nil {
		return err
	}
	read := int64(0)
	told := func(n int64) { u.early.add(n-read, u.root); read = n }
	req := layer.Request{Blob: f, MediaType: desc.MediaType, DiffID: u.img.DiffIDs[i], Digest: desc.Digest, Size: desc.Size, Dir: tmp + "/fs", Record: singleID(u.class), Limits: u.s.opts.Limits, Progress: told}
	res, err := u.stage.Unpack(ctx, req)
	u.turns.give()
	if err != nil {
		return err
	}
	var lowers []string
	for j := range i {
		if err := waitFor(ctx, u.done[j]); err != nil {
			return err
		}
		lowers = append(lowers, u.dirs[j]+"/fs")
	}
	slices.Reverse(lowers)
	if err := u.stage.Finish(ctx, layer.FinishRequest{Dir: req.Dir, Lowers: lowers, Record: req.Record}); err != nil {
		return err
	}
	return u.s.writeRecord(tmp, res)
}

// singleID says whether a class is that of a map with one id (userns.Map.Class).
func singleID(class string) bool { return strings.HasPrefix(class, "single") }

// writeRecord puts record.json beside a layer that has no name yet.
func (s *Store) writeRecord(tmp string, r layer.Result) error {
	data, err := json.Marshal(LayerRecord{DiffID: r.DiffID, MaxUID: r.MaxUID, MaxGID: r.MaxGID, Bytes: r.Bytes, Entries: r.Entries, Skipped: r.Skipped, Skips: r.Skips})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.root, tmp, recordFile), data, 0o644) //nolint:gosec // the directory is ours, and not in use yet
}
