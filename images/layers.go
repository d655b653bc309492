package images

import (
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
	if !s.hasLayers(img, class) {
		lease, err := s.lease(ctx, imageDigests(img))
		if err != nil {
			return nil, err
		}
		defer lease.release()
		open := func(_ context.Context, i int) (*blob, error) {
			f, err := os.Open(s.blobPath(img.Layers[i].Digest))
			if os.IsNotExist(err) {
				return nil, fail(ErrCorrupt, "the layer %s is missing from the store", img.Layers[i].Digest).hint("pull the image again")
			}
			return &blob{file: f}, err
		}
		if err := s.unpackAll(ctx, img, class, stage, open); err != nil {
			return nil, s.explainBlob(img, err)
		}
	}
	dirs := make([]string, 0, len(img.ChainIDs))
	for _, c := range slices.Backward(img.ChainIDs) {
		dirs = append(dirs, filepath.Join(s.root, layerDir(c, class), "fs"))
	}
	return dirs, nil
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
		data, err := os.ReadFile(filepath.Join(s.root, layerDir(c, class), "record.json"))
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
// own: it takes the layer's lock, unpacks, waits for the layer below to be
// finished, finishes, and gives the layer its name. A goroutine that holds a
// lock waits only for layers below its own, here and in other processes: so
// there is no circle.
type unpacking struct {
	s     *Store
	img   *Image
	class string
	stage layer.Stage
	slots chan struct{} // bounds what is unpacked at the same time
	done  []chan struct{}
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
	u := s.newUnpacking(img, class, st)
	g, ctx := errgroup.WithContext(ctx)
	for i := range img.ChainIDs {
		g.Go(func() error { return u.layer(ctx, i, open) })
	}
	return g.Wait()
}

func (s *Store) newUnpacking(img *Image, class string, st layer.Stage) *unpacking {
	u := &unpacking{s: s, img: img, class: class, stage: st, slots: make(chan struct{}, max(2, min(runtime.NumCPU(), 6))),
		done: make([]chan struct{}, len(img.ChainIDs))}
	for i := range u.done {
		u.done[i] = make(chan struct{})
	}
	return u
}

func (u *unpacking) layer(ctx context.Context, i int, open func(context.Context, int) (*blob, error)) (err error) {
	defer func() {
		if err == nil {
			close(u.done[i])
		}
	}()
	chain := u.img.ChainIDs[i]
	if u.s.hasLayer(chain, u.class) {
		return nil
	}
	l, err := u.s.acquire(ctx, "layer-"+chain.Encoded()+"-"+u.class)
	if err != nil {
		return err
	}
	defer l.release()
	if u.s.hasLayer(chain, u.class) {
		return nil
	}
	if err := u.clean(ctx, chain); err != nil {
		return err
	}
	tmp, err := u.makeTemp(chain)
	if err != nil {
		return err
	}
	if err := u.fill(ctx, i, tmp, open); err != nil {
		// The request is over, the temporary directory has to go nevertheless.
		u.stage.Remove(context.WithoutCancel(ctx), tmp) //nolint:errcheck // the next one to unpack it removes it
		os.Remove(filepath.Join(u.s.root, "layers", chain.Encoded()))
		return explainWrite(fmt.Errorf("unpack the layer %s: %w", u.img.Layers[i].Digest, err), u.s.root)
	}
	return nil
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

func (u *unpacking) makeTemp(chain digest.Digest) (string, error) {
	parent := filepath.Join(u.s.root, "layers", chain.Encoded())
	for range 10 {
		if err := os.MkdirAll(parent, 0o755); err != nil {
			return "", explainWrite(err, u.s.root)
		}
		tmp, err := os.MkdirTemp(parent, u.class+".tmp-")
		if os.IsNotExist(err) {
			continue // a garbage collection saw the parent empty
		}
		if err != nil {
			return "", explainWrite(err, u.s.root)
		}
		rel, err := filepath.Rel(u.s.root, tmp)
		if err != nil {
			return "", err
		}
		return rel, os.Chmod(tmp, 0o755) //nolint:gosec // mapped ids must be able to pass
	}
	return "", fmt.Errorf("make a directory in %s: others remove it", parent)
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
	select {
	case u.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	dir, single := tmp+"/fs", singleID(u.class)
	desc := u.img.Layers[i]
	req := layer.Request{Blob: f, MediaType: desc.MediaType, DiffID: u.img.DiffIDs[i], Digest: desc.Digest, Size: desc.Size, Dir: dir, Record: single}
	res, err := u.stage.Unpack(ctx, req)
	<-u.slots
	if err != nil {
		return err
	}
	if i > 0 {
		select {
		case <-u.done[i-1]:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	var lowers []string
	for _, c := range slices.Backward(u.img.ChainIDs[:i]) {
		lowers = append(lowers, layerDir(c, u.class)+"/fs")
	}
	if err := u.stage.Finish(ctx, layer.FinishRequest{Dir: dir, Lowers: lowers, Record: single}); err != nil {
		return err
	}
	return u.publish(i, tmp, res)
}

// singleID says whether a class is that of a map with one id (userns.Map.Class).
func singleID(class string) bool { return strings.HasPrefix(class, "single") }

func (u *unpacking) publish(i int, tmp string, r layer.Result) error {
	data, err := json.Marshal(LayerRecord{DiffID: r.DiffID, MaxUID: r.MaxUID, MaxGID: r.MaxGID, Bytes: r.Bytes, Entries: r.Entries, Skipped: r.Skipped, Skips: r.Skips})
	if err != nil {
		return err
	}
	abs := filepath.Join(u.s.root, tmp)
	if err := os.WriteFile(filepath.Join(abs, "record.json"), data, 0o644); err != nil { //nolint:gosec // the directory is ours, and not in use yet
		return err
	}
	final := filepath.Join(u.s.root, layerDir(u.img.ChainIDs[i], u.class))
	if err := os.Rename(abs, final); err != nil {
		return err
	}
	return syncDir(filepath.Dir(final))
}
