package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// chunkSize is that of chunked uploads, which a registry is sent when it did not
// take a blob in one piece.
const chunkSize = 16 << 20

// upload is the body of a request: a piece of a blob. Where the registry takes
// no more bytes for a while it is given up.
type upload struct {
	open  func() (io.ReadCloser, error)
	at    int64 // where the piece begins
	size  int64
	seen  func([]byte)
	stall time.Duration
	stop  context.CancelCauseFunc
}

func (u *upload) attach(req *http.Request) (err error) {
	req.ContentLength = u.size
	if req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	if u.size == 0 {
		req.Body = http.NoBody
		return nil
	}
	req.GetBody = u.body
	req.Body, err = u.body()
	return err
}

func (u *upload) body() (io.ReadCloser, error) {
	r, err := u.open()
	if err != nil {
		return nil, err
	}
	if u.at > 0 {
		if s, ok := r.(io.Seeker); ok {
			_, err = s.Seek(u.at, io.SeekStart)
		} else {
			_, err = io.CopyN(io.Discard, r, u.at)
		}
		if err != nil {
			r.Close()
			return nil, err
		}
	}
	b := &uploadBody{r: r, left: u.size, u: u}
	b.watch = time.AfterFunc(u.stall, func() { u.stop(fmt.Errorf("the registry takes nothing for %s", u.stall)) })
	return b, nil
}

type uploadBody struct {
	r     io.ReadCloser
	left  int64
	u     *upload
	watch *time.Timer
}

func (b *uploadBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		b.watch.Stop() // from here on the answer is waited for
		return 0, io.EOF
	}
	b.watch.Reset(b.u.stall)
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	b.u.seen(p[:n])
	if b.left == 0 {
		b.watch.Stop()
	} else if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (b *uploadBody) Close() error {
	b.watch.Stop()
	return b.r.Close()
}

// uploading is one blob on its way to a registry.
type uploading struct {
	s     *registrySource
	x     part
	seen  func([]byte)
	froms []string // repositories of the registry that may have it
	chunk int64
}

// session begins an upload; "" says that the blob is there now, taken from
// another repository.
func (u *uploading) session(ctx context.Context) (string, error) {
	for _, from := range append(u.froms, "") {
		q := ""
		if from != "" {
			q = "?" + url.Values{"mount": {string(u.x.desc.Digest)}, "from": {from}}.Encode()
		}
		resp, err := u.s.ask(ctx, http.MethodPost, u.s.base+"/blobs/uploads/"+q, nil, nil, http.StatusCreated, http.StatusAccepted)
		if err != nil && from != "" {
			continue // it may not be read there: an ordinary upload follows
		}
		if err != nil {
			return "", err
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusCreated && from != "" {
			return "", nil
		}
		return u.location(resp)
	}
	return "", nil
}

// location is where the upload goes on.
func (u *uploading) location(resp *http.Response) (string, error) {
	to, err := resp.Request.URL.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" {
		return "", fail(nil, "ask the registry %s: it does not say where the upload goes on", u.s.ref.Domain)
	}
	// The scheme guard sees to it that no https becomes http.
	return to.String(), nil
}

// whole sends the blob in one piece.
func (u *uploading) whole(ctx context.Context) error {
	at, err := u.session(ctx)
	if err != nil || at == "" {
		return err
	}
	return u.put(ctx, at, 0, u.x.desc.Size)
}

// put ends an upload with the rest of the blob, which may be nothing.
func (u *uploading) put(ctx context.Context, at string, from, size int64) error {
	to, err := url.Parse(at)
	if err != nil {
		return err
	}
	q := to.Query()
	q.Set("digest", string(u.x.desc.Digest))
	to.RawQuery = q.Encode()
	resp, err := u.piece(ctx, http.MethodPut, to.String(), nil, from, size, http.StatusCreated, http.StatusNoContent)
	if err != nil {
		return err
	}
	resp.Body.Close()
	return nil
}

func (u *uploading) piece(ctx context.Context, method, at string, h http.Header, from, size int64, ok ...int) (*http.Response, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	body := &upload{open: u.x.open, at: from, size: size, seen: u.seen, stall: u.s.stall, stop: stop}
	resp, err := u.s.ask(ctx, method, at, h, body, ok...)
	if why := context.Cause(ctx); err != nil && why != nil {
		err = why
	}
	return resp, err
}

// chunks sends the blob piece by piece. When one does not arrive, the registry
// is asked how far it got, and the upload goes on from there.
func (u *uploading) chunks(ctx context.Context) error {
	at, err := u.session(ctx)
	if err != nil || at == "" {
		return err
	}
	var done int64
	for tries := 0; done < u.x.desc.Size; {
		n := min(u.chunk, u.x.desc.Size-done)
		h := http.Header{"Content-Range": {fmt.Sprintf("%d-%d", done, done+n-1)}}
		resp, err := u.piece(ctx, http.MethodPatch, at, h, done, n, http.StatusAccepted, http.StatusNoContent, http.StatusCreated)
		if err == nil {
			resp.Body.Close()
			if at, err = u.location(resp); err != nil {
				return err
			}
			done += n
			tries = 0
			continue
		}
		if tries++; tries >= u.s.access.tries() || !worthRetry(ctx, err) {
			return fmt.Errorf("after %d of %d bytes: %w", done, u.x.desc.Size, err)
		}
		u.s.pause(ctx, tries, err)
		if done, at, err = u.progress(ctx, at); err != nil {
			return err
		}
	}
	return u.put(ctx, at, done, 0)
}

// progress asks how much of an upload has arrived.
func (u *uploading) progress(ctx context.Context, at string) (int64, string, error) {
	resp, err := u.s.ask(ctx, http.MethodGet, at, nil, nil, http.StatusNoContent, http.StatusAccepted)
	if err != nil {
		return 0, "", err
	}
	resp.Body.Close()
	if next, err := u.location(resp); err == nil {
		at = next
	}
	_, last, _ := strings.Cut(strings.TrimPrefix(resp.Header.Get("Range"), "bytes="), "-")
	n, err := strconv.ParseInt(last, 10, 64)
	if err != nil || n < 0 || n >= u.x.desc.Size {
		return 0, at, nil
	}
	if n > 0 {
		n++ // the last byte's number; 0 means both none and one
	}
	return n, at, nil
}

// send uploads the blob: whole, and when that fails in pieces.
func (u *uploading) send(ctx context.Context) error {
	err := u.whole(ctx)
	var te *transport.Error
	tooMuch := errors.As(err, &te) && (te.StatusCode == http.StatusRequestEntityTooLarge || te.StatusCode == http.StatusMethodNotAllowed)
	if err == nil || !tooMuch && !worthRetry(ctx, err) {
		return err
	}
	if !tooMuch {
		u.s.pause(ctx, 1, err)
	}
	return u.s.retry(ctx, func() error { return u.chunks(ctx) })
}
