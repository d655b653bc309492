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

// referrers lists the manifests that are about a subject: by the registry's API,
// or where it has none by the tag.
func (s *registrySource) referrers(ctx context.Context, subject digest.Digest) ([]ocispec.Descriptor, error) {
	var raw []byte
	err := s.retry(ctx, func() error {
		resp, err := s.do(ctx, http.MethodGet, "/referrers/"+string(subject), http.Header{"Accept": {ocispec.MediaTypeImageIndex}})
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		raw, err = io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
		return err
	})
	if errors.Is(err, ErrNotFound) {
		raw, _, err = s.fetchManifest(ctx, referrersTag(subject))
		if errors.Is(err, ErrNotFound) {
			return nil, nil
		}
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
