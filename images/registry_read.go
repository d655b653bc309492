package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// errPlainHTTP is not worth a second try.
var errPlainHTTP = errors.New("plain HTTP is refused")

// schemeGuard lets requests without TLS pass only to the registry itself, and
// only where that is allowed. It stands below everything that may choose or
// follow a URL.
type schemeGuard struct {
	inner   http.RoundTripper
	host    string
	allow   bool
	stall   time.Duration // how long an answer may be silent
	sawHTTP atomic.Bool   // the registry answered to plain HTTP
}

func (g *schemeGuard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "https" {
		return listen(g.inner, req, g.stall)
	}
	if !g.allow || req.URL.Host != g.host && !isLoopback(req.URL.Host) {
		return nil, fmt.Errorf("%w: %s://%s", errPlainHTTP, req.URL.Scheme, req.URL.Host)
	}
	resp, err := listen(g.inner, req, g.stall)
	if err == nil && req.URL.Host == g.host {
		g.sawHTTP.Store(true)
	}
	return resp, err
}

// blobReader streams a blob. When the connection breaks, or nothing comes, it goes on
// where it was, if the registry can serve ranges.
type blobReader struct {
	ctx   context.Context
	src   *registrySource
	desc  ocispec.Descriptor
	body  io.ReadCloser
	whole bool // no ranges are asked for: the registry gave something else
	at    int64
	end   int64 // of what is asked for; 0: the blob's
	tries int
	came  int64 // since the last of them
}

// errNoRanges: a part of a blob cannot be had.
var errNoRanges = errors.New("the registry serves no parts of blobs")

// blobRange streams a part of a blob, and nothing where the registry can only serve the whole.
func (s *registrySource) blobRange(ctx context.Context, d ocispec.Descriptor, at, n int64) (io.ReadCloser, error) {
	b := &blobReader{ctx: ctx, src: s, desc: d, at: at, end: at + n}
	if err := s.retry(ctx, b.connect); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *blobReader) last() int64 {
	if b.end > 0 {
		return b.end
	}
	return b.desc.Size
}

func (b *blobReader) connect() error {
	b.disconnect()
	h := http.Header{}
	switch {
	case b.end > 0:
		h.Set("Range", fmt.Sprintf("bytes=%d-%d", b.at, b.end-1))
	case b.at > 0 && !b.whole:
		h.Set("Range", fmt.Sprintf("bytes=%d-", b.at))
	}
	resp, err := b.src.do(b.ctx, http.MethodGet, "/blobs/"+string(b.desc.Digest), h)
	if err == nil {
		err = b.take(resp, h.Get("Range") != "")
	} else if b.at > 0 && statusOf(err) == http.StatusRequestedRangeNotSatisfiable {
		err = errNoRanges
	}
	if errors.Is(err, errNoRanges) && b.end == 0 && !b.whole {
		b.whole = true
		return b.connect()
	}
	return err
}

// take begins to read an answer, which is a part of the blob or, where it could be, the whole.
func (b *blobReader) take(resp *http.Response, ranged bool) (err error) {
	defer func() {
		if err != nil {
			resp.Body.Close()
		}
	}()
	part := resp.StatusCode == http.StatusPartialContent
	switch {
	case part && !(ranged && goesOn(resp, b.at)), b.end > 0 && !part:
		return errNoRanges
	case b.at > 0 && !part:
		// It starts again at the beginning: pass over what we have.
		if _, err := io.CopyN(io.Discard, resp.Body, b.at); err != nil {
			return err
		}
	case b.end == 0 && b.at == 0 && resp.ContentLength >= 0 && resp.ContentLength != b.desc.Size:
		return fail(ErrCorrupt, "blob %s: the registry serves %d bytes, the manifest says %d", b.desc.Digest, resp.ContentLength, b.desc.Size)
	}
	b.body = resp.Body
	return nil
}

func (b *blobReader) disconnect() {
	if b.body != nil {
		b.body.Close()
		b.body = nil
	}
}

func (b *blobReader) Read(p []byte) (int, error) {
	for {
		n, err := b.body.Read(p)
		b.at += int64(n)
		if n > 0 {
			// Less is no progress: it could be so at each try, and for ever.
			if b.came += int64(n); b.came >= leastPerMinute {
				b.tries = 0
			}
			return n, nil
		}
		if err == io.EOF && b.at < b.last() {
			err = io.ErrUnexpectedEOF
		}
		if err == nil || err == io.EOF {
			return n, err
		}
		if b.ctx.Err() != nil {
			err = context.Cause(b.ctx)
		}
		if b.tries++; b.tries >= b.src.access.tries() || b.ctx.Err() != nil {
			return 0, fmt.Errorf("after %d of %d bytes: %w", b.at, b.desc.Size, err)
		}
		b.src.pause(b.ctx, b.tries, err)
		b.came = 0
		tries := b.tries
		if err := b.src.retry(b.ctx, b.connect); err != nil {
			return 0, fmt.Errorf("after %d of %d bytes: %w", b.at, b.desc.Size, err)
		}
		b.tries = tries
	}
}

func (b *blobReader) Close() error {
	b.disconnect()
	return nil
}

// explainRegistry says what a failure means for the image, and what to do.
func explainRegistry(ref Reference, err error) error {
	var te *transport.Error
	var known *Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, errPlainHTTP), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fail(nil, "connect to %s", ref.Domain).because(err).
			hint("plain HTTP is used on loopback only; where you trust the network, add --tls-verify=false")
	case strings.Contains(err.Error(), "x509:"), strings.Contains(err.Error(), "tls:"):
		return fail(nil, "connect to %s", ref.Domain).because(err).
			hint("--cert-dir DIR with the registry's authority in DIR/ca.crt, or its place in the system; --tls-verify=false where you trust the network")
	case errors.As(err, &te):
		return explainStatus(ref, te, err)
	}
	return fail(nil, "ask the registry %s", ref.Domain).because(err)
}

// statusOf is the status of an answer that was an error, 0 where it was none.
func statusOf(err error) int {
	var te *transport.Error
	if errors.As(err, &te) {
		return te.StatusCode
	}
	return 0
}

func explainStatus(ref Reference, te *transport.Error, err error) error {
	switch te.StatusCode {
	case http.StatusNotFound:
		return fail(ErrNotFound, "the registry %s has no such image", ref.Domain).because(plainStatus(te)).hint("check the name and the tag")
	case http.StatusUnauthorized, http.StatusForbidden:
		return fail(ErrNotFound, "the registry %s refuses access, or has no such image", ref.Domain).because(plainStatus(te)).
			hint("check the name; a private image needs credentials in ~/.docker/config.json or $REGISTRY_AUTH_FILE (coracle login %s)", ref.Domain)
	case http.StatusTooManyRequests:
		return fail(nil, "the registry says too many requests").because(err).hint("wait a while, or log in")
	}
	return fail(nil, "ask the registry %s", ref.Domain).because(err)
}

// plainStatus keeps the code and drops the URL, which may have secrets in it.
func plainStatus(te *transport.Error) error {
	codes := make([]string, 0, len(te.Errors))
	for _, d := range te.Errors {
		codes = append(codes, strings.Trim(quote(string(d.Code)), `"`))
	}
	return fmt.Errorf("status %d %s", te.StatusCode, strings.Join(codes, ", "))
}
