package layer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
)

// The way of a layer's bytes: one goroutine reads and decompresses, a second
// hashes, and the caller's parses the archive and writes files. They hand
// chunks to one another and never copy them. Few and large: what is in flight
// is bounded by chunkCount, whatever the layer's size.
const (
	chunkSize  = 256 << 10
	chunkCount = 6
	readAhead  = 128 << 10
)

// ratioFloor is where the ratio begins to count: below it no bomb is worth the
// name, and small layers of zeros are common.
const ratioFloor = 1 << 30

type chunk struct {
	buf  []byte // chunkSize
	n    int
	last chan struct{} // given back by the hasher when it is done with it
}

// stream is the uncompressed archive. It is read by one goroutine; after any
// error, and in the end, close must be called.
type stream struct {
	cancel context.CancelFunc
	ctx    context.Context
	out    chan *chunk
	free   chan *chunk
	hashed chan *chunk

	cur  *chunk
	rest []byte // of cur
	err  error  // why the producer stopped; read after out is closed
	eof  error  // sticky

	total   int64 // uncompressed bytes produced; read after out is closed
	sum     hash.Hash
	alg     digest.Algorithm
	sumDone chan struct{}
	blob    *blobReader
}

// blobReader reads a blob with pread, or a pipe as it comes, counts, hashes when asked, and keeps its
// own errors apart from those a decompressor makes of bad data.
type blobReader struct {
	f        *os.File
	pipe     bool
	off      int64
	sum      hash.Hash // nil: not asked for
	err      error
	progress func(int64)
	told     int64
}

func (b *blobReader) Read(p []byte) (int, error) {
	n, err := b.read(p)
	b.off += int64(n)
	if b.sum != nil {
		b.sum.Write(p[:n])
	}
	if b.progress != nil && (b.off-b.told >= 1<<20 || err != nil) {
		b.told = b.off
		b.progress(b.off)
	}
	if err != nil && err != io.EOF {
		b.err = fmt.Errorf("read the blob at byte %d: %w", b.off, err)
		err = b.err
	}
	if n > 0 && err == io.EOF {
		err = nil // ReadAt says both at once; a decompressor wants them apart
	}
	return n, err
}

func (b *blobReader) read(p []byte) (int, error) {
	if b.pipe {
		return b.f.Read(p)
	}
	return b.f.ReadAt(p, b.off)
}

// newStream starts reading r.Blob. The two goroutines end with close.
func newStream(ctx context.Context, r *Request) (*stream, error) {
	st, err := r.Blob.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the blob: %w", err)
	}
	b := &blobReader{f: r.Blob, pipe: st.Mode()&os.ModeNamedPipe != 0, progress: r.Progress}
	if r.Verify {
		if err := r.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("digest %q: %w", r.Digest, err)
		}
		b.sum = r.Digest.Algorithm().Hash()
	}
	alg := digest.SHA256
	if r.DiffID != "" {
		if err := r.DiffID.Validate(); err != nil {
			return nil, fmt.Errorf("diffID %q: %w", r.DiffID, err)
		}
		alg = r.DiffID.Algorithm()
	}
	buf := bufio.NewReaderSize(b, readAhead)
	dec, err := decompress(buf, r.MediaType)
	if err != nil {
		return nil, b.explain(err)
	}
	s := &stream{
		out: make(chan *chunk), hashed: make(chan *chunk, chunkCount),
		free: make(chan *chunk, chunkCount), sum: alg.Hash(), alg: alg,
		sumDone: make(chan struct{}), blob: b,
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	for range chunkCount {
		s.free <- &chunk{last: make(chan struct{}, 1)}
	}
	go s.produce(dec, limitsOf(r.Limits))
	go s.hash()
	return s, nil
}

// produce fills chunks until the archive ends.
func (s *stream) produce(dec io.ReadCloser, lim Limits) {
	defer close(s.out)
	defer close(s.hashed)
	defer dec.Close()
	for {
		var c *chunk
		select {
		case c = <-s.free:
		case <-s.ctx.Done():
			s.err = s.ctx.Err()
			return
		}
		err := c.fill(dec)
		s.total += int64(c.n)
		if c.n > 0 {
			s.hashed <- c // never blocks: it has room for all chunks
			select {
			case s.out <- c:
			case <-s.ctx.Done():
				s.err = s.ctx.Err()
				return
			}
		}
		if s.err = lim.check(s.total, s.blob.off); s.err != nil {
			return
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			s.err = s.blob.explain(err)
			return
		}
	}
}

// fill reads until the chunk is full. Unlike io.ReadFull it keeps the
// decompressor's io.ErrUnexpectedEOF apart from an ordinary short end.
func (c *chunk) fill(r io.Reader) error {
	if c.buf == nil {
		c.buf = make([]byte, chunkSize)
	}
	for c.n = 0; c.n < len(c.buf); {
		n, err := r.Read(c.buf[c.n:])
		c.n += n
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *stream) hash() {
	defer close(s.sumDone)
	for c := range s.hashed {
		s.sum.Write(c.buf[:c.n])
		c.last <- struct{}{}
	}
}

// next returns between 1 and n bytes, good until the next call, or io.EOF.
func (s *stream) next(n int64) ([]byte, error) {
	if len(s.rest) == 0 {
		if err := s.turn(); err != nil {
			return nil, err
		}
	}
	p := s.rest
	if int64(len(p)) > n {
		p = p[:n]
	}
	s.rest = s.rest[len(p):]
	return p, nil
}

// turn goes to the next chunk.
func (s *stream) turn() error {
	if s.eof != nil {
		return s.eof
	}
	if s.cur != nil {
		<-s.cur.last
		s.free <- s.cur
		s.cur = nil
	}
	c, ok := <-s.out
	if !ok {
		s.eof = s.err
		if s.eof == nil {
			s.eof = io.EOF
		}
		return s.eof
	}
	s.cur, s.rest = c, c.buf[:c.n]
	return nil
}

// ended says whether the archive has been read to its proper end.
func (s *stream) ended() bool { return errors.Is(s.eof, io.EOF) }

// full fills p. It is io.EOF when nothing was left, ErrTruncated when too little.
func (s *stream) full(p []byte) error {
	for done := 0; done < len(p); {
		b, err := s.next(int64(len(p) - done))
		if err == io.EOF && done > 0 {
			return ErrTruncated
		}
		if err != nil {
			return err
		}
		done += copy(p[done:], b)
	}
	return nil
}

// discard passes over n bytes.
func (s *stream) discard(n int64) error {
	for n > 0 {
		b, err := s.next(n)
		if err == io.EOF {
			return ErrTruncated
		}
		if err != nil {
			return err
		}
		n -= int64(len(b))
	}
	return nil
}

// finish reads to the end, whatever is there, and checks what was asked for.
func (s *stream) finish(r *Request) (digest.Digest, error) {
	for {
		if _, err := s.next(chunkSize); err == io.EOF {
			break
		} else if err != nil {
			return "", err
		}
	}
	<-s.sumDone
	got := digest.NewDigest(s.alg, s.sum)
	if r.Verify {
		if err := s.blob.verify(r); err != nil {
			return got, err
		}
	}
	if r.DiffID != "" && got != r.DiffID {
		return got, fmt.Errorf("%w: it has %s, expected %s", ErrDiffID, got, r.DiffID)
	}
	return got, nil
}

// close ends the goroutines and waits for them: nobody reads the blob afterwards.
func (s *stream) close() {
	s.cancel()
	for range s.out {
	}
	<-s.sumDone
}

func (b *blobReader) verify(r *Request) error {
	if r.Size != b.off {
		return fmt.Errorf("%w: it has %d bytes, expected %d", ErrDigest, b.off, r.Size)
	}
	if got := digest.NewDigest(r.Digest.Algorithm(), b.sum); got != r.Digest {
		return fmt.Errorf("%w: it has %s, expected %s", ErrDigest, got, r.Digest)
	}
	return nil
}

// limitsOf fills in the defaults.
func limitsOf(l Limits) Limits {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		} else if *v < 0 {
			*v = 1<<63 - 1
		}
	}
	def(&l.Bytes, 256<<30)
	def(&l.Entries, 10_000_000)
	def(&l.Ratio, 200)
	return l
}

// Check says whether so many bytes may have come of so many compressed ones.
func (l Limits) Check(out, in int64) error { return limitsOf(l).check(out, in) }

func (l Limits) check(out, in int64) error {
	if out > l.Bytes {
		return &TooBigError{"bytes", l.Bytes}
	}
	if out > ratioFloor && out/l.Ratio > in {
		return &TooBigError{"ratio", l.Ratio}
	}
	return nil
}
