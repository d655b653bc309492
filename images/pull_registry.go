package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// openRegistry connects to where the image is: a mirror that has it, or its own
// registry.
func openRegistry(ctx context.Context, ref Reference, a Access) (*registrySource, error) {
	conf, err := readRegistries()
	if err != nil {
		return nil, err
	}
	places, err := conf.endpoints(ref)
	if err != nil {
		return nil, err
	}
	var failed []error
	for i, e := range places {
		src, err := newRegistrySource(ctx, e.ref, e.access(a))
		if err == nil && i < len(places)-1 {
			src.known = &servedRoot{}
			if src.known.raw, src.known.mediaType, err = src.fetchManifest(ctx, src.wanted()); err != nil {
				src.close()
			}
		}
		if err == nil {
			src.as = ref
			return src, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if failed = append(failed, err); len(places) > 1 {
			failed[i] = fmt.Errorf("%s: %w", e.ref.Domain, err)
		}
	}
	if len(failed) == 1 {
		return nil, failed[0]
	}
	return nil, errors.Join(failed...)
}

// maxTagPages bounds a list of tags, which may go on for ever.
const maxTagPages = 1000

// Tags lists the tags of a repository.
func (s *Store) Tags(ctx context.Context, name string, a Access) ([]string, error) {
	ref, err := ParseReference(name)
	if err != nil {
		return nil, err
	}
	if ref.Transport != Docker || ref.Digest != "" || strings.Contains(strings.TrimPrefix(name, ref.Domain), ":") {
		return nil, fail(ErrInvalidReference, "%s: the name of a repository has neither tag nor digest", quote(name))
	}
	src, err := openRegistryTags(ctx, ref, a)
	if err != nil {
		return nil, fmt.Errorf("list the tags of %s: %w", name, err)
	}
	defer src.close()
	tags, err := src.tags(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the tags of %s: %w", name, err)
	}
	return tags, nil
}

func openRegistryTags(ctx context.Context, ref Reference, a Access) (*registrySource, error) {
	conf, err := readRegistries()
	if err != nil {
		return nil, err
	}
	refs, err := conf.full(ref)
	if err != nil {
		return nil, err
	}
	places, err := conf.endpoints(refs[0])
	if err != nil {
		return nil, err
	}
	own := places[len(places)-1]
	return newRegistrySource(ctx, own.ref, own.access(a))
}

func (s *registrySource) tags(ctx context.Context) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	next := s.base + "/tags/list?n=1000"
	for range maxTagPages {
		page, link, err := s.tagPage(ctx, next)
		if err != nil {
			return nil, err
		}
		before := len(seen)
		for _, t := range page {
			if !seen[t] && checkTag(t) == "" {
				out = append(out, t)
			}
			seen[t] = true
		}
		if link == "" {
			return out, nil
		}
		if len(seen) == before {
			return nil, fail(ErrCorrupt, "the registry's list of tags goes in a circle")
		}
		next = link
	}
	return nil, fail(ErrTooLarge, "the registry's list of tags does not end")
}

// tagPage is a page of the list, and where the next one is.
func (s *registrySource) tagPage(ctx context.Context, at string) (tags []string, next string, err error) {
	err = s.retry(ctx, func() error {
		resp, err := s.ask(ctx, http.MethodGet, at, nil, nil, http.StatusOK)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		raw, err := readDocument(resp, "list of tags")
		if err != nil {
			return err
		}
		if next, err = nextPage(resp, "list of tags"); err != nil {
			return err
		}
		var page struct {
			Tags []string `json:"tags"`
		}
		err = strictJSON(raw, &page)
		tags = page.Tags
		return err
	})
	return tags, next, err
}

// nextPage is where a list goes on: at the registry, or nowhere.
func nextPage(resp *http.Response, what string) (string, error) {
	u := linkNext(resp.Header.Get("Link"))
	if u == "" {
		return "", nil
	}
	to, err := resp.Request.URL.Parse(u)
	if err != nil || to.Host != resp.Request.URL.Host {
		return "", fail(ErrCorrupt, "the registry's %s goes on elsewhere", what)
	}
	return to.String(), nil
}

// linkNext reads <URL>; rel="next".
func linkNext(h string) string {
	u, rel, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(h), "<"), ">")
	if !ok || !strings.Contains(rel, "next") {
		return ""
	}
	return u
}

// wholeIndex is an index with all that it lists.
type wholeIndex struct {
	desc  ocispec.Descriptor
	docs  [][]byte // of manifests and indexes, the innermost first
	blobs []ocispec.Descriptor
	seen  map[digest.Digest]bool
}

// collect fetches the documents of an index.
func (w *wholeIndex) collect(ctx context.Context, src source, raw []byte, depth int) error {
	if depth > maxIndexNesting {
		return fail(ErrCorrupt, "indexes are nested more than %d deep", maxIndexNesting)
	}
	doc, err := parseLenient(raw)
	if err != nil {
		return err
	}
	if doc.Manifests == nil {
		w.blobs = append(append(w.blobs, doc.Config), doc.Layers...)
		w.docs = append(w.docs, raw)
		return nil
	}
	if len(doc.Manifests) > maxIndexImages {
		return fail(ErrTooLarge, "the index lists %d images, more than %d", len(doc.Manifests), maxIndexImages)
	}
	for _, m := range doc.Manifests {
		if w.seen[m.Digest] {
			continue
		}
		w.seen[m.Digest] = true
		sub, err := src.manifest(ctx, m)
		if err == nil {
			err = checkContent(sub, m)
		}
		if err == nil {
			err = w.collect(ctx, src, sub, depth+1)
		}
		if err != nil {
			return err
		}
	}
	w.docs = append(w.docs, raw)
	return nil
}

func (w *wholeIndex) digests() []digest.Digest {
	out := []digest.Digest{w.desc.Digest}
	for _, b := range w.blobs {
		out = append(out, b.Digest)
	}
	for _, d := range w.docs {
		out = append(out, sha256Of(d))
	}
	return out
}

// fetchAll brings the blobs, then the documents.
func (p *pull) fetchAll(ctx context.Context, w *wholeIndex) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelBlobs)
	done := map[digest.Digest]bool{}
	for _, d := range w.blobs {
		if done[d.Digest] || isForeign(d.MediaType) {
			continue
		}
		done[d.Digest] = true
		g.Go(func() error {
			b, err := p.fetch(gctx, d)
			if err != nil {
				return err
			}
			defer b.close()
			return b.finish()
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, doc := range w.docs {
		if err := p.s.putBytes(ctx, doc); err != nil {
			return err
		}
	}
	return nil
}

// foreignBlob fetches a layer from where its URLs say, without credentials.
func (s *registrySource) foreignBlob(ctx context.Context, d ocispec.Descriptor, at int64) (io.ReadCloser, error) {
	client := &http.Client{Transport: &schemeGuard{inner: s.idle, host: s.ref.Domain, allow: false, stall: s.stall}, CheckRedirect: fewRedirects}
	for _, u := range d.URLs {
		if !strings.HasPrefix(u, "https://") {
			continue
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
		if err != nil {
			continue
		}
		resp, err := client.Do(req)
		if err != nil {
			continue
		}
		if resp.StatusCode == http.StatusOK {
			// No range is asked for: what is there already is passed over.
			if _, err = io.CopyN(io.Discard, resp.Body, at); err == nil {
				return resp.Body, nil
			}
		}
		resp.Body.Close()
	}
	return nil, fail(ErrNotFound, "the layer %s is not to be distributed, and none of the %d addresses that it names serves it", d.Digest, len(d.URLs))
}
