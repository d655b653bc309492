package images

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"coracle/internal/later/registries"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// registrySink pushes to a registry.
type registrySink struct {
	s       *registrySource
	froms   map[digest.Digest][]string // repositories there that have a blob
	sent    atomic.Int64
	mounted atomic.Int32
	skipped atomic.Int32

	mu    sync.Mutex
	there []digest.Digest // blobs that the repository has now
}

func (s *Store) pushRegistry(ctx context.Context, idx *index, desc ocispec.Descriptor, to Reference, o PushOptions) (*Pushed, error) {
	froms := s.neighbours(idx, desc, to)
	k, err := newRegistrySink(ctx, to, o.Access, froms)
	if err != nil {
		return nil, err
	}
	defer k.s.close()
	out, err := s.sendTo(ctx, k, desc, o)
	if err != nil {
		return nil, err
	}
	if k.sent.Load() > 0 || k.mounted.Load() > 0 {
		s.rememberSent(to, k.there)
	}
	out.Sent, out.Mounted, out.Skipped = k.sent.Load(), int(k.mounted.Load()), int(k.skipped.Load())
	return out, nil
}

func newRegistrySink(ctx context.Context, to Reference, a Access, froms map[digest.Digest][]string) (*registrySink, error) {
	registries.Ready()
	a, err := permitted(to, a)
	if err != nil {
		return nil, err
	}
	scopes := []string{"repository:" + to.Path + ":" + transport.PushScope}
	for _, list := range froms {
		for _, from := range list {
			if scope := "repository:" + from + ":" + transport.PullScope; !slices.Contains(scopes, scope) {
				scopes = append(scopes, scope)
			}
		}
	}
	src, err := connect(ctx, to, a, scopes)
	if err != nil {
		return nil, err
	}
	return &registrySink{s: src, froms: froms}, nil
}

// maxNeighbours bounds how many repositories are tried for a blob.
const maxNeighbours = 3

// neighbours finds repositories of the same registry that have blobs of the image:
// those of other images of the store that came from there, and those that were pushed to.
func (s *Store) neighbours(idx *index, desc ocispec.Descriptor, to Reference) map[digest.Digest][]string {
	wanted := map[digest.Digest]bool{}
	if s.reach(wanted, desc, 0) != nil {
		return nil
	}
	out := map[digest.Digest][]string{}
	for _, other := range idx.Manifests {
		ref, err := ParseReference(nameOf(other))
		if err != nil || ref.Domain != to.Domain || ref.Path == to.Path {
			continue
		}
		has := map[digest.Digest]bool{}
		if s.reach(has, other, 0) != nil {
			continue
		}
		for d := range has {
			if wanted[d] && len(out[d]) < maxNeighbours && !slices.Contains(out[d], ref.Path) {
				out[d] = append(out[d], ref.Path)
			}
		}
	}
	s.addSent(out, wanted, to)
	return out
}

func (k *registrySink) blob(ctx context.Context, x part, seen func([]byte)) (err error) {
	there, err := k.has(ctx, "/blobs/"+string(x.desc.Digest))
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			k.mu.Lock()
			k.there = append(k.there, x.desc.Digest)
			k.mu.Unlock()
		}
	}()
	if there {
		k.skipped.Add(1)
		return nil
	}
	var n int64
	u := &uploading{s: k.s, x: x, froms: k.froms[x.desc.Digest], chunk: chunkSize, seen: func(b []byte) {
		n += int64(len(b))
		seen(b)
	}}
	if err = u.send(ctx); err != nil {
		return fmt.Errorf("send the blob %s: %w", x.desc.Digest, err)
	}
	k.sent.Add(n)
	if n == 0 && x.desc.Size > 0 {
		k.mounted.Add(1)
	}
	return nil
}

// has asks whether the registry has something.
func (k *registrySink) has(ctx context.Context, path string) (there bool, err error) {
	err = k.s.retry(ctx, func() error {
		resp, err := k.s.ask(ctx, http.MethodHead, k.s.base+path, http.Header{"Accept": {acceptManifests}}, nil, http.StatusOK, http.StatusNotFound)
		if err == nil {
			resp.Body.Close()
			there = resp.StatusCode == http.StatusOK
		}
		return err
	})
	return there, err
}

func (k *registrySink) manifest(ctx context.Context, raw []byte, d ocispec.Descriptor, top bool) error {
	what := string(d.Digest)
	if top && k.s.ref.Tag != "" {
		what = k.s.ref.Tag
	}
	resp, err := k.putManifest(ctx, what, raw, d.MediaType)
	if err != nil {
		return err
	}
	if got := resp.Header.Get("Docker-Content-Digest"); got != "" && got != string(d.Digest) {
		return fail(ErrCorrupt, "the registry took the manifest %s for %s", d.Digest, quote(got))
	}
	var m struct {
		Subject *ocispec.Descriptor `json:"subject"`
	}
	if err := json.Unmarshal(raw, &m); err != nil || m.Subject == nil || resp.Header.Get("OCI-Subject") != "" {
		return err
	}
	return k.refer(ctx, *m.Subject, raw, d)
}

func (k *registrySink) putManifest(ctx context.Context, what string, raw []byte, mediaType string) (resp *http.Response, err error) {
	body := &upload{open: bytesOpener(raw), size: int64(len(raw)), seen: func([]byte) {}, stall: k.s.stall, stop: func(error) {}}
	err = k.s.retry(ctx, func() error {
		resp, err = k.s.askManifest(ctx, what, mediaType, body)
		return err
	})
	return resp, err
}
