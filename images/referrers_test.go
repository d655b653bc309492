package images

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A registry without the referrers API has the list under a tag, however it says that it has no
// such API: as old ones and proxies do, with another status, or a page.
func TestReferrersTag(t *testing.T) {
	m := make3(t, nil)
	list := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":3}]}`, ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, sha256Of([]byte("abc")))
	for _, c := range []struct {
		status int
		kind   string
		body   string
		good   bool
	}{
		{http.StatusNotFound, "application/json", `{}`, true},
		{http.StatusBadRequest, "application/json", `{"errors":[{"code":"UNSUPPORTED"}]}`, true},
		{http.StatusMethodNotAllowed, "text/plain", "no", true},
		{http.StatusNotAcceptable, "text/plain", "no", true},
		{http.StatusNotImplemented, "text/plain", "no", true},
		{http.StatusOK, "text/html; charset=utf-8", "<html>", true},
		{http.StatusInternalServerError, "text/plain", "later", false}, // it may have some: nothing is known
		{http.StatusOK, ocispec.MediaTypeImageIndex, `{"manifests":`, false},
	} {
		reg := newRegistry(t)
		reg.serve("v1", m)
		reg.extra[referrersTag(m.desc.Digest)] = served{ocispec.MediaTypeImageIndex, list}
		reg.meddle = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/referrers/") {
				return false
			}
			w.Header().Set("Content-Type", c.kind)
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
			return true
		}
		ref, err := ParseReference(reg.host() + "/x:v1")
		if err != nil {
			t.Fatal(err)
		}
		none := 0
		src, err := newRegistrySource(t.Context(), ref, Access{Retry: &none})
		if err != nil {
			t.Fatal(err)
		}
		got, err := src.referrers(t.Context(), m.desc.Digest)
		src.close() //nolint:errcheck // a client
		if (err == nil) != c.good || c.good && len(got) != 1 {
			t.Errorf("%d %s: %v, %v", c.status, c.kind, got, err)
		}
	}
}

// A list of referrers that goes on is read to its end.
func TestReferrersPages(t *testing.T) {
	m := make3(t, nil)
	reg := newRegistry(t)
	reg.serve("v1", m)
	reg.meddle = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		page := r.URL.Query().Get("page")
		w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
		if page != "2" {
			w.Header().Set("Link", "<"+r.URL.Path+"?page="+map[string]string{"": "1", "1": "2"}[page]+`>; rel="next"`)
		}
		fmt.Fprintf(w, `{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":3}]}`, ocispec.MediaTypeImageManifest, sha256Of([]byte(page)))
		return true
	}
	ref, err := ParseReference(reg.host() + "/x:v1")
	if err != nil {
		t.Fatal(err)
	}
	src, err := newRegistrySource(t.Context(), ref, Access{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.close() //nolint:errcheck // a client
	if list, err := src.referrers(t.Context(), m.desc.Digest); err != nil || len(list) != 3 {
		t.Errorf("%v, %v", list, err)
	}
}
