package images

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	maxTries     = 4
	stallTimeout = 60 * time.Second // without a single byte; PullOptions.stall changes it
)

// registrySource pulls from a registry by the OCI distribution specification.
type registrySource struct {
	ref    Reference
	client *http.Client
	base   string // http(s)://host/v2/path
	idle   *http.Transport
	stall  time.Duration
}

func newRegistrySource(ctx context.Context, ref Reference, o PullOptions) (*registrySource, error) {
	verify := o.TLSVerify
	insecure := verify != nil && !*verify
	allowHTTP := insecure || (verify == nil && isLoopback(ref.Domain))
	stall := cmp.Or(o.stall, stallTimeout)
	idle := newTransport(insecure, stall)
	guard := &schemeGuard{inner: idle, host: ref.Domain, allow: allowHTTP}
	nameOpts := []name.Option{name.WeakValidation}
	if allowHTTP {
		nameOpts = append(nameOpts, name.Insecure)
	}
	reg, err := name.NewRegistry(ref.Domain, nameOpts...)
	if err != nil {
		return nil, fail(ErrInvalidReference, "invalid image reference %q", ref.String()).because(err)
	}
	auth, err := credentials(ref)
	if err != nil {
		return nil, err
	}
	var rt http.RoundTripper
	for try := 1; ; try++ {
		rt, err = transport.NewWithContext(ctx, reg, auth, guard, []string{"repository:" + ref.Path + ":" + transport.PullScope})
		if err == nil {
			break
		}
		if !worthRetry(ctx, err) || try == maxTries {
			idle.CloseIdleConnections()
			return nil, explainRegistry(ref, err)
		}
		pause(ctx, try)
	}
	s := &registrySource{ref: ref, idle: idle, stall: stall, client: &http.Client{Transport: rt, CheckRedirect: fewRedirects}}
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
	what := s.ref.Tag
	if s.ref.Digest != "" {
		what = string(s.ref.Digest)
	}
	raw, mediaType, err := s.fetchManifest(ctx, what)
	return raw, mediaType, err
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
		if raw, err = io.ReadAll(io.LimitReader(resp.Body, maxManifest+1)); err != nil {
			return fmt.Errorf("read the manifest: %w", err)
		}
		if len(raw) > maxManifest {
			return fail(ErrTooLarge, "the manifest of %s has more than 4 MiB", s.ref)
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
	b := &blobReader{ctx: ctx, src: s, desc: d}
	return b, s.retry(ctx, b.connect)
}

func (s *registrySource) do(ctx context.Context, method, path string, h http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range h {
		req.Header[k] = v
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, explainRegistry(s.ref, err)
	}
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		resp.Body.Close()
		if ra := resp.Header.Get("Retry-After"); ra != "" {
			err = &retryAfter{err, ra}
		}
		return nil, explainRegistry(s.ref, err)
	}
	return resp, nil
}

func (s *registrySource) retry(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || try == maxTries || !worthRetry(ctx, err) {
			return err
		}
		var ra *retryAfter
		if errors.As(err, &ra) {
			if sec, e := strconv.Atoi(ra.after); e == nil && sec > 0 {
				wait(ctx, time.Duration(min(sec, 20))*time.Second)
				continue
			}
		}
		pause(ctx, try)
	}
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

func (s *registrySource) names() []string { return []string{s.ref.key()} }

func (s *registrySource) close() error {
	s.idle.CloseIdleConnections()
	return nil
}
