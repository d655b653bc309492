package images

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"coracle/internal/later/registries"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	maxTries     = 4
	stallTimeout = 60 * time.Second // without a single byte; Access.Stall changes it
)

// Access says how a registry is talked to. The zero value verifies TLS and
// finds credentials and certificates where docker and podman keep them.
type Access struct {
	TLSVerify *bool         // nil: TLS is verified; plain HTTP passes on loopback only
	CertDir   string        // authorities (*.crt) and client certificates (*.cert, *.key); "": certs.d
	AuthFile  string        // credentials; "": $REGISTRY_AUTH_FILE, podman's files, docker's
	Retry     *int          // tries after the first one; nil: maxTries in all
	Delay     time.Duration // before each of them; 0: longer each time
	Stall     time.Duration // how long nothing may come, or be taken; 0: stallTimeout

	login authn.Authenticator // instead of what the files have
}

func (a Access) tries() int {
	if a.Retry == nil {
		return maxTries
	}
	return *a.Retry + 1
}

// registrySource talks to a registry by the OCI distribution specification.
type registrySource struct {
	ref    Reference // where it is
	as     Reference // how it was asked for: another where there are mirrors
	access Access
	client *http.Client
	base   string // http(s)://host/v2/path
	idle   *http.Transport
	stall  time.Duration

	known *servedRoot // the manifest, where it has been asked for already
}

type servedRoot struct {
	raw       []byte
	mediaType string
}

func newRegistrySource(ctx context.Context, ref Reference, a Access) (*registrySource, error) {
	registries.Ready()
	return connect(ctx, ref, a, []string{"repository:" + ref.Path + ":" + transport.PullScope})
}

// connect settles scheme and authentication, for the scopes that are asked for.
func connect(ctx context.Context, ref Reference, a Access, scopes []string) (*registrySource, error) {
	registries.Ready()
	insecure := a.TLSVerify != nil && !*a.TLSVerify
	allowHTTP := insecure || (a.TLSVerify == nil && isLoopback(ref.Domain))
	stall := cmp.Or(a.Stall, stallTimeout)
	idle := newTransport(insecure, stall)
	if err := useCertificates(idle.TLSClientConfig, ref.Domain, a.CertDir); err != nil {
		return nil, err
	}
	guard := &schemeGuard{inner: idle, host: ref.Domain, allow: allowHTTP, stall: stall}
	nameOpts := []name.Option{name.WeakValidation}
	if allowHTTP {
		nameOpts = append(nameOpts, name.Insecure)
	}
	reg, err := name.NewRegistry(ref.Domain, nameOpts...)
	if err != nil {
		return nil, fail(ErrInvalidReference, "invalid image reference %q", ref.String()).because(err)
	}
	auth := a.login
	if auth == nil {
		if auth, err = credentialsFor(ref, a.AuthFile); err != nil {
			return nil, err
		}
	}
	s := &registrySource{ref: ref, as: ref, access: a, idle: idle, stall: stall}
	err = s.retry(ctx, func() error {
		rt, err := transport.NewWithContext(ctx, reg, auth, guard, scopes)
		if err != nil {
			return explainRegistry(ref, err)
		}
		s.client = &http.Client{Transport: rt, CheckRedirect: fewRedirects}
		return nil
	})
	if err != nil {
		idle.CloseIdleConnections()
		return nil, err
	}
	scheme := "https"
	if guard.sawHTTP.Load() {
		scheme = "http" // what the ping settled on; the transport rewrites it alike
	}
	s.base = scheme + "://" + reg.RegistryStr() + "/v2/" + ref.Path
	return s, nil
}

func newTransport(insecure bool, stall time.Duration) *http.Transport {
	dial := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dial.DialContext,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: stall,
		MaxIdleConnsPerHost:   parallelBlobs + 2,
		IdleConnTimeout:       30 * time.Second,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true,                                                                    // a digest is of the bytes as they are
		ReadBufferSize:        128 << 10,                                                               // layers come in large pieces
		TLSClientConfig:       &tls.Config{InsecureSkipVerify: insecure, MinVersion: tls.VersionTLS12}, //nolint:gosec // only on --tls-verify=false
	}
}

func fewRedirects(_ *http.Request, via []*http.Request) error {
	if len(via) >= 5 {
		return errors.New("more than 5 redirects")
	}
	return nil
}

// isLoopback says whether a registry is on this machine by its name alone:
// a name that DNS answers with 127.0.0.1 is not.
func isLoopback(domain string) bool {
	host := domain
	if h, _, err := net.SplitHostPort(domain); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

func (s *registrySource) root(ctx context.Context) ([]byte, string, error) {
	if s.known != nil {
		return s.known.raw, s.known.mediaType, nil
	}
	return s.fetchManifest(ctx, s.wanted())
}

func (s *registrySource) wanted() string {
	if s.ref.Digest != "" {
		return string(s.ref.Digest)
	}
	return s.ref.Tag
}

func (s *registrySource) manifest(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	raw, mediaType, err := s.fetchManifest(ctx, string(d.Digest))
	if err == nil && isManifestType(mediaType) && isManifestType(d.MediaType) && mediaType != d.MediaType {
		err = fail(ErrCorrupt, "the manifest %s is announced as %s and served as %s", d.Digest, d.MediaType, mediaType)
	}
	return raw, err
}

const acceptManifests = ocispec.MediaTypeImageManifest + ", " + ocispec.MediaTypeImageIndex + ", " + dockerManifest + ", " + dockerIndex

func (s *registrySource) fetchManifest(ctx context.Context, what string) ([]byte, string, error) {
	var raw []byte
	var mediaType string
	err := s.retry(ctx, func() error {
		resp, err := s.do(ctx, http.MethodGet, "/manifests/"+what, http.Header{"Accept": {acceptManifests}})
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if raw, err = readDocument(resp, "manifest"); err != nil {
			return err
		}
		mediaType, _, _ = strings.Cut(resp.Header.Get("Content-Type"), ";")
		return nil
	})
	return raw, strings.TrimSpace(mediaType), err
}

// headDigest asks what the tag points to now, without the manifest; "" when
// the registry does not say.
func (s *registrySource) headDigest(ctx context.Context) (string, error) {
	resp, err := s.do(ctx, http.MethodHead, "/manifests/"+s.ref.Tag, http.Header{"Accept": {acceptManifests}})
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	return resp.Header.Get("Docker-Content-Digest"), nil
}

func (s *registrySource) blob(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	return s.blobFrom(ctx, d, 0)
}

// blobFrom streams a blob from a place on.
func (s *registrySource) blobFrom(ctx context.Context, d ocispec.Descriptor, at int64) (io.ReadCloser, error) {
	b := &blobReader{ctx: ctx, src: s, desc: d, at: at}
	err := s.retry(ctx, b.connect)
	if errors.Is(err, ErrNotFound) && isForeign(d.MediaType) {
		return s.foreignBlob(ctx, d, at)
	}
	return b, err
}

func (s *registrySource) do(ctx context.Context, method, path string, h http.Header) (*http.Response, error) {
	return s.ask(ctx, method, s.base+path, h, nil, http.StatusOK, http.StatusPartialContent)
}

// ask sends a request. Answers with other codes than these are errors.
func (s *registrySource) ask(ctx context.Context, method, url string, h http.Header, body *upload, ok ...int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, fail(nil, "ask the registry %s: it names a place that is no URL", s.ref.Domain)
	}
	for k, v := range h {
		req.Header[k] = v
	}
	if body != nil {
		if err := body.attach(req); err != nil {
			return nil, err
		}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, explainRegistry(s.ref, withoutURL(err))
	}
	if err := checkStatus(resp, ok...); err != nil {
		resp.Body.Close()
		if ra := resp.Header.Get("Retry-After"); ra != "" {
			err = &retryAfter{err, ra}
		}
		return nil, explainRegistry(s.ref, err)
	}
	return resp, nil
}

// withoutURL drops the address from an error: its query may be a signature that
// lets anyone in.
func withoutURL(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		if u, perr := url.Parse(ue.URL); perr == nil && (u.RawQuery != "" || u.User != nil) {
			u.RawQuery, u.User = "", nil
			return &url.Error{Op: ue.Op, URL: u.String(), Err: ue.Err}
		}
	}
	return err
}

func (s *registrySource) retry(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || try >= s.access.tries() || !worthRetry(ctx, err) {
			return err
		}
		s.pause(ctx, try, err)
	}
}

// pause waits before the next try: as long as the registry says, else longer each time.
func (s *registrySource) pause(ctx context.Context, try int, why error) {
	var ra *retryAfter
	if errors.As(why, &ra) {
		if d, ok := ra.wait(time.Now()); ok {
			wait(ctx, d)
			return
		}
	}
	if s.access.Delay > 0 {
		wait(ctx, s.access.Delay)
		return
	}
	pause(ctx, try)
}

// maxRetryAfter bounds how long a registry can make us wait at a time.
const maxRetryAfter = time.Minute

// wait reads Retry-After: seconds, or a date.
func (r *retryAfter) wait(now time.Time) (time.Duration, bool) {
	d := time.Duration(0)
	if sec, err := strconv.Atoi(r.after); err == nil {
		d = time.Duration(min(sec, 3600)) * time.Second
	} else if at, err := http.ParseTime(r.after); err == nil {
		d = at.Sub(now)
	}
	return min(d, maxRetryAfter), d > 0
}

type retryAfter struct {
	error
	after string
}

func (r *retryAfter) Unwrap() error { return r.error }

// worthRetry: what a registry or a network may say differently a moment later.
func worthRetry(ctx context.Context, err error) bool {
	var te *transport.Error
	var ne net.Error
	switch {
	case ctx.Err() != nil, errors.Is(err, ErrTooLarge), errors.Is(err, ErrCorrupt), errors.Is(err, errPlainHTTP):
		return false
	case errors.As(err, &te):
		return te.StatusCode == http.StatusTooManyRequests || te.StatusCode >= 500 && te.StatusCode != http.StatusNotImplemented
	case errors.Is(err, io.ErrUnexpectedEOF):
		return true
	case errors.As(err, &ne):
		var de *net.DNSError
		var oe *net.OpError
		return !errors.As(err, &de) && (!errors.As(err, &oe) || oe.Op != "dial")
	}
	return false
}

func pause(ctx context.Context, try int) { wait(ctx, time.Duration(1<<try)*100*time.Millisecond) }

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (s *registrySource) names() []string { return []string{s.as.key()} }

func (s *registrySource) close() error {
	s.idle.CloseIdleConnections()
	return nil
}

func (s *registrySource) where() Reference { return s.as }
