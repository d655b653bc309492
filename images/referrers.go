package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func bytesOpener(raw []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }
}

func (s *registrySource) askManifest(ctx context.Context, what, mediaType string, body *upload) (*http.Response, error) {
	resp, err := s.ask(ctx, http.MethodPut, s.base+"/manifests/"+what, http.Header{"Content-Type": {mediaType}}, body, http.StatusCreated, http.StatusOK, http.StatusAccepted)
	if err == nil {
		resp.Body.Close()
	}
	return resp, err
}

// referrersTag is the tag under which registries without the referrers API keep
// the list (distribution-spec v1.1, "Referrers Tag Schema").
func referrersTag(subject digest.Digest) string { return strings.Replace(string(subject), ":", "-", 1) }

// refer notes in the referrers tag that a manifest is about the subject, for a
// registry that does not do so itself.
func (k *registrySink) refer(ctx context.Context, subject ocispec.Descriptor, raw []byte, d ocispec.Descriptor) error {
	idx := newIndex()
	old, _, err := k.s.fetchManifest(ctx, referrersTag(subject.Digest))
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return err
	default:
		if err := strictJSON(old, idx); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(idx.Manifests, func(x ocispec.Descriptor) bool { return x.Digest == d.Digest }) {
		return nil
	}
	l, err := parseLenient(raw)
	if err != nil {
		return err
	}
	d.ArtifactType, d.Annotations = l.ArtifactType, l.Annotations
	if d.ArtifactType == "" {
		d.ArtifactType = l.Config.MediaType
	}
	idx.Manifests = append(idx.Manifests, d)
	list, err := json.Marshal(idx)
	if err != nil {
		return err
	}
	_, err = k.putManifest(ctx, referrersTag(subject.Digest), list, ocispec.MediaTypeImageIndex)
	return err
}

// maxReferrerPages bounds a list of referrers, which may go on for ever.
const maxReferrerPages = 20

// errNoReferrers: the registry has no such API.
var errNoReferrers = errors.New("no referrers API")

// referrers lists the manifests that are about a subject: by the registry's API,
// or where it has none by the tag.
func (s *registrySource) referrers(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
	var out []ocispec.Descriptor
	next := s.base + "/referrers/" + string(subject)
	for range maxReferrerPages {
		l, link, err := s.referrersPage(ctx, next)
		if errors.Is(err, errNoReferrers) || errors.Is(err, ErrNotFound) {
			return s.referrersOfTag(ctx, subject)
		}
		if err != nil {
			return nil, err
		}
		if out = append(out, l.Manifests...); link == "" {
			break
		}
		next = link
	}
	return out, nil
}

// referrersPage is a page of the list, and where the next one is. Registries without the API, and
// what stands before them, have many words for that (distribution-spec asks for 404).
func (s *registrySource) referrersPage(ctx context.Context, at string) (l *lenient, next string, err error) {
	var raw []byte
	err = s.retry(ctx, func() error {
		resp, err := s.ask(ctx, http.MethodGet, at, http.Header{"Accept": {ocispec.MediaTypeImageIndex}}, nil,
			http.StatusOK, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusNotImplemented)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK || isWebPage(resp) {
			return errNoReferrers
		}
		if next, err = nextPage(resp, "list of referrers"); err == nil {
			raw, err = readDocument(resp, "list of referrers")
		}
		return err
	})
	if err != nil {
		return nil, "", err
	}
	l, err = parseLenient(raw)
	return l, next, err
}

func (s *registrySource) referrersOfTag(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
	raw, _, err := s.fetchManifest(ctx, referrersTag(subject))
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l, err := parseLenient(raw)
	if err != nil {
		return nil, err
	}
	return l.Manifests, nil
}
