package images

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"syscall"

	"coracle/images/layer"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// intake is the layer of an import. What is read goes two ways at once: into
// the store as a blob, and through a pipe to who unpacks it, or only hashes it.
type intake struct {
	s      *Store
	blob   *tempFile
	desc   ocispec.Descriptor
	diffID digest.Digest
	class  string
	batch  *batch // nil: it is not unpacked
}

const pipeSize = 1 << 20 // what the kernel lets anyone have

// takeLayer reads the archive to its end.
func (s *Store) takeLayer(ctx context.Context, r io.Reader, o ImportOptions) (_ *intake, err error) {
	t, err := s.newTemp()
	if err != nil {
		return nil, err
	}
	in := &intake{s: s, blob: t, class: o.Class}
	defer func() {
		if err != nil {
			in.end(ctx)
		}
	}()
	buf := bufio.NewReaderSize(r, 64<<10)
	head, err := buf.Peek(512)
	if err != nil && err != io.EOF {
		return nil, err
	}
	kind := sniff(head)
	switch {
	case o.ours:
		err = nil
	case kind == plain:
		err = (&tarCheck{head}).err()
	case kind == otherwise:
		err = otherCompression()
	default:
		err = nil
	}
	if err != nil {
		return nil, err
	}
	if o.ours {
		kind = plain
	}
	if o.Stage != nil {
		if err := in.startUnpacking(ctx, o); err != nil {
			return nil, err
		}
	}
	switch {
	case in.batch != nil:
		err = in.storeAnd(ctx, in.unpack, buf, kind)
	case kind != plain:
		err = in.storeAnd(ctx, in.hash, buf, kind)
	default:
		err = in.store(ctx, buf, kind, io.Discard)
		in.diffID = in.desc.Digest
	}
	if err == nil && kind == plain && in.diffID != in.desc.Digest {
		err = notARoot("it changed on its way")
	}
	return in, err
}

// storeAnd stores what it reads, and has it consumed at the same time.
func (in *intake) storeAnd(ctx context.Context, consume func(context.Context, *os.File) error, r io.Reader, kind compression) error {
	pr, pw, err := os.Pipe()
	if err != nil {
		return err
	}
	_, _ = unix.FcntlInt(pw.Fd(), unix.F_SETPIPE_SZ, pipeSize) // the default is only slower
	consumed := make(chan error, 1)
	go func() {
		defer pr.Close()
		consumed <- consume(ctx, pr)
	}()
	err = in.store(ctx, r, kind, pw)
	pw.Close()
	// When the consumer stops early it knows why, and we only that it has.
	if cerr := <-consumed; cerr != nil && (err == nil || errors.Is(err, syscall.EPIPE)) {
		err = cerr
	}
	return err
}

// store writes what is read into the blob, and into w. A plain archive stays
// plain, so that the import of a Debian root takes as long as tar and a sync:
// zstd's fastest level would take more than twice, gzip's four times the
// processor time. The price is disk, three times of what they would make;
// whoever minds compresses the archive first. A plain layer has one digest
// for ever, whatever a compressor's next version does, and everybody reads it.
func (in *intake) store(ctx context.Context, r io.Reader, kind compression, w io.Writer) error {
	switch kind {
	case gzipped:
		in.desc.MediaType = ocispec.MediaTypeImageLayerGzip
	case zstandard:
		in.desc.MediaType = ocispec.MediaTypeImageLayerZstd
	default:
		in.desc.MediaType = ocispec.MediaTypeImageLayer
	}
	v := newVerifier("", -1) // counts and hashes what is stored
	if _, err := copyContext(ctx, io.MultiWriter(in.blob, w, v), r); err != nil {
		return err
	}
	in.desc.Digest, in.desc.Size = digest.NewDigestFromBytes(digest.SHA256, v.sum.Sum(nil)), v.n
	return nil
}

// hash reads a compressed archive that is not unpacked now.
func (in *intake) hash(ctx context.Context, r *os.File) error {
	u, _, err := decompress(r)
	if err != nil {
		return err
	}
	defer u.Close()
	check, content := &tarCheck{}, sha256.New()
	if _, err := copyContext(ctx, io.MultiWriter(check, content), u); err != nil {
		return fail(ErrCorrupt, "uncompress the archive").because(err)
	}
	if _, err := copyContext(ctx, io.Discard, r); err != nil {
		return err
	}
	in.diffID = digest.NewDigestFromBytes(digest.SHA256, content.Sum(nil))
	return check.err()
}

// startUnpacking makes a directory for the layer. Its chain id is known in the
// end; until then it has a name, and a lock, that nobody else has.
func (in *intake) startUnpacking(ctx context.Context, o ImportOptions) error {
	if err := checkClass(o.Class); err != nil {
		return err
	}
	st, err := o.Stage()
	if err != nil {
		return err
	}
	if in.batch, err = in.s.newBatch(st); err != nil {
		return err
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	name := "import-" + hex.EncodeToString(id[:])
	l, err := in.s.acquire(ctx, "layer-"+name+"-"+o.Class)
	if err != nil {
		return err
	}
	f := &fresh{lock: l}
	in.batch.fresh = append(in.batch.fresh, f)
	f.tmp, err = in.s.makeTemp("layers/"+name, o.Class)
	return err
}

func (in *intake) unpack(ctx context.Context, r *os.File) error {
	tmp, single := in.batch.fresh[0].tmp, singleID(in.class)
	res, err := in.batch.stage.Unpack(ctx, layer.Request{Blob: r, Dir: tmp + "/fs", Record: single, Limits: in.s.opts.Limits})
	if err == nil {
		err = in.batch.stage.Finish(ctx, layer.FinishRequest{Dir: tmp + "/fs", Record: single})
	}
	if badLayer(err) {
		err = notARoot("it cannot be unpacked").because(err)
	}
	if err != nil {
		return err
	}
	in.diffID = res.DiffID
	return in.s.writeRecord(tmp, res)
}

// publish gives blob and layer their names.
func (in *intake) publish(ctx context.Context) error {
	s := in.s
	if in.batch != nil {
		f := in.batch.fresh[0]
		l, err := s.acquire(ctx, "layer-"+in.diffID.Encoded()+"-"+in.class)
		if err != nil {
			return err
		}
		defer l.Release()
		if !s.hasLayer(in.diffID, in.class) { // the lowest layer's chain id is its diffID
			f.final = layerDir(in.diffID, in.class)
			old := f.tmp
			if err := in.batch.publish(); err != nil {
				return err
			}
			in.s.dropParent(old)
		}
	}
	if s.hasBlob(in.desc.Digest, in.desc.Size) {
		return nil
	}
	return in.blob.keep(s.blobPath(in.desc.Digest))
}

// end drops what publish did not keep.
func (in *intake) end(ctx context.Context) {
	if in.batch != nil {
		in.batch.end(ctx)
	}
	in.blob.discard()
	in.blob.Close()
}

func notARoot(why string) *Error {
	return fail(ErrCorrupt, "%s", why).hint("import takes the tar of a root file system, plain or compressed with gzip or zstd")
}

// tarCheck looks at the first block of what should be a tar.
type tarCheck struct{ head []byte }

func (c *tarCheck) Write(p []byte) (int, error) {
	if need := 512 - len(c.head); need > 0 {
		c.head = append(c.head, p[:min(need, len(p))]...)
	}
	return len(p), nil
}

// err checks the header's sum, as POSIX pax defines it: the bytes of the
// block, with spaces where the sum stands.
func (c *tarCheck) err() error {
	bad := notARoot("it is not a tar archive")
	if len(c.head) < 512 {
		return bad
	}
	var sum, signed, want int64
	for i, b := range c.head {
		if i >= 148 && i < 156 {
			b = ' '
		}
		sum, signed = sum+int64(b), signed+int64(int8(b)) //nolint:gosec // old tars add signed bytes
	}
	for _, b := range c.head[148:156] {
		if b >= '0' && b <= '7' {
			want = want*8 + int64(b-'0')
		}
	}
	if want != sum && want != signed {
		return bad
	}
	return nil
}
