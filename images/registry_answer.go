package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// leastPerMinute is what a registry has to send while it is waited for: with less, a byte now
// and then, a pull would never end. The slowest modems sent thirty times as much.
const leastPerMinute = 1 << 10

// silence: nothing came for so long, or fewer than these bytes. It is a net.Error, and worth
// another try.
type silence struct {
	host  string
	time  time.Duration
	least int64
}

func (e *silence) Error() string {
	if e.least > 0 {
		return fmt.Sprintf("%s sends less than %d bytes in %s", e.host, e.least, e.time)
	}
	return fmt.Sprintf("%s sends nothing for %s", e.host, e.time)
}
func (*silence) Timeout() bool   { return true }
func (*silence) Temporary() bool { return true }

// heard is an answer's body that is given up when nothing comes, or next to nothing. The clock
// runs only while somebody waits for it: a reader that is slow is no server that is silent.
type heard struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  *time.Timer
	stall  time.Duration
	host   string

	waited time.Duration // since least came for the last time
	got    int64         // meanwhile
	least  int64         // that has to come in stall
}

// listen sends a request whose answer may not fall silent.
func listen(inner http.RoundTripper, req *http.Request, stall time.Duration) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	resp, err := inner.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	h := &heard{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, stall: stall, host: req.URL.Host,
		least: max(1, int64(leastPerMinute*stall/time.Minute))}
	h.watch = time.AfterFunc(stall, func() { cancel(&silence{host: h.host, time: stall}) })
	h.watch.Stop()
	resp.Body = h
	return resp, nil
}

func (h *heard) Read(p []byte) (int, error) {
	began := time.Now()
	h.watch.Reset(h.stall)
	n, err := h.ReadCloser.Read(p)
	h.watch.Stop()
	h.waited, h.got = h.waited+time.Since(began), h.got+int64(n)
	if h.got >= h.least {
		h.waited, h.got = 0, 0
	} else if h.waited >= h.stall && err == nil {
		h.cancel(&silence{host: h.host, time: h.stall, least: h.least})
	}
	var quiet *silence
	if err != nil && err != io.EOF && errors.As(context.Cause(h.ctx), &quiet) {
		err = quiet
	}
	return n, err
}

func (h *heard) Close() error {
	h.watch.Stop()
	err := h.ReadCloser.Close()
	h.cancel(nil)
	return err
}

// checkStatus is transport.CheckError for answers of any size. Of what is not JSON, as the
// page of a proxy, the status says enough.
func checkStatus(resp *http.Response, ok ...int) error {
	most := int64(60 << 10) // less than what CheckError fails at
	if !strings.Contains(resp.Header.Get("Content-Type"), "json") {
		most = 200
	}
	if isWebPage(resp) {
		most = 0
	}
	bounded := *resp
	bounded.Body = io.NopCloser(io.LimitReader(resp.Body, most))
	return transport.CheckError(&bounded, ok...)
}

// readDocument reads a manifest or the like, which is small.
func readDocument(resp *http.Response, what string) ([]byte, error) {
	if isWebPage(resp) {
		return nil, fail(ErrCorrupt, "%s answers with a web page (text/html), and no %s", quote(resp.Request.URL.Host), what).
			hint("is it a registry? A proxy, or a page to log in, may stand before it")
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("read the %s: %w", what, err)
	}
	if len(raw) > maxManifest {
		return nil, fail(ErrTooLarge, "the %s that %s serves has more than 4 MiB", what, quote(resp.Request.URL.Host))
	}
	return raw, nil
}

func isWebPage(resp *http.Response) bool {
	return strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html")
}

// goesOn says whether an answer begins at that place of the blob, as it was asked to.
func goesOn(resp *http.Response, at int64) bool {
	if resp.StatusCode != http.StatusPartialContent || strings.HasPrefix(resp.Header.Get("Content-Type"), "multipart/") {
		return false
	}
	var from int64
	// Where the header is missing or unreadable, the digest decides.
	_, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &from)
	return err != nil || from == at
}
