package images

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	goodManifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:` + hex64 + `","size":7},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:` + hex64 + `","size":3}]}`
	goodIndex    = `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + hex64 + `","size":7,"platform":{"os":"linux","architecture":"amd64"}}]}`
)

func TestParseDocument(t *testing.T) {
	swap := func(s, from, to string) string {
		if !strings.Contains(s, from) {
			t.Fatalf("%q is not in the document", from)
		}
		return strings.Replace(s, from, to, 1)
	}
	deep := strings.Repeat("[", 10000) + strings.Repeat("]", 10000)
	for _, c := range []struct {
		what, doc, announced string
		kind                 error  // nil: it is fine
		says                 string // in the error
	}{
		{"manifest", goodManifest, ocispec.MediaTypeImageManifest, nil, ""},
		{"index", goodIndex, ocispec.MediaTypeImageIndex, nil, ""},
		{"no announcement", goodManifest, "", nil, ""},
		{"charset", goodIndex, ocispec.MediaTypeImageIndex + "; charset=utf-8", nil, ""},
		{"not JSON", "hello", "", ErrCorrupt, "not JSON"},
		{"nothing", "", "", ErrCorrupt, "not JSON"},
		{"cut off", goodManifest[:100], "", ErrCorrupt, "not JSON"},
		{"two documents", goodManifest + goodIndex, "", ErrCorrupt, "more than one JSON"},
		{"duplicate key", swap(goodManifest, `"config":`, `"layers":[],"config":`), "", ErrCorrupt, `"layers" stands twice`},
		{"duplicate in other case", swap(goodManifest, `"config":`, `"Layers":[],"config":`), "", ErrCorrupt, "stands twice"},
		{"duplicate deep", swap(goodManifest, `"size":3`, `"size":3,"size":4`), "", ErrCorrupt, "stands twice"},
		{"10,000 deep", swap(goodManifest, `"config":`, `"x":`+deep+`,"config":`), "", ErrCorrupt, "deep"},
		{"manifest and index", swap(goodManifest, `"config":`, `"manifests":[],"config":`), "", ErrCorrupt, "at once"},
		{"lie: says index", goodManifest, ocispec.MediaTypeImageIndex, ErrCorrupt, "the content is a manifest"},
		{"lie: says manifest", goodIndex, ocispec.MediaTypeImageManifest, ErrCorrupt, "the content is an index"},
		{"says two things", goodManifest, dockerManifest, ErrCorrupt, "announced as"},
		{"unknown type", swap(goodManifest, "application/vnd.oci.image.manifest.v1+json", "application/x-evil"), "", ErrUnsupported, "application/x-evil"},
		{"unknown announcement", goodManifest, "text/html", ErrUnsupported, "text/html"},
		{"schema 1", `{"schemaVersion":1,"name":"x","fsLayers":[{"blobSum":"sha256:00"}]}`, "", ErrUnsupported, "schema 1"},
		{"schema 1 announced", goodManifest, dockerSchema1Sig, ErrUnsupported, "schema 1"},
		{"schema 3", swap(goodManifest, `:2,`, `:3,`), "", ErrUnsupported, "schemaVersion 3"},
		{"helm chart", swap(goodManifest, "application/vnd.oci.image.config.v1+json", "application/vnd.cncf.helm.config.v1+json"), "", ErrUnsupported, "helm"},
		{"unknown layer", swap(goodManifest, "layer.v1.tar+gzip", "layer.v1.tar+brotli"), "", ErrUnsupported, "brotli"},
		{"bad digest", swap(goodManifest, hex64, "../../etc/passwd"), "", ErrUnsupported, "digest"},
		{"sha512", swap(goodManifest, "sha256:"+hex64, "sha512:"+hex64+hex64), "", ErrUnsupported, "only sha256"},
		{"negative size", swap(goodManifest, `"size":3`, `"size":-3`), "", ErrCorrupt, "size -3"},
		{"size not a number", swap(goodManifest, `"size":3`, `"size":"3"`), "", ErrCorrupt, "not the JSON"},
		{"configuration of gigabytes", swap(goodManifest, `"size":7`, `"size":7000000000`), "", ErrTooLarge, "7000000000"},
		{"manifest of gigabytes", swap(goodIndex, `"size":7`, `"size":7000000000`), "", ErrTooLarge, "7000000000"},
		{"501 layers", swap(goodManifest, `"layers":[`, `"layers":[`+strings.Repeat(`{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:`+hex64+`","size":1},`, 500)), "", ErrTooLarge, "501 layers"},
		{"5 MiB", goodManifest + strings.Repeat(" ", 5<<20), "", ErrTooLarge, "4 MiB"},
		{"no configuration", `{"schemaVersion":2,"layers":[]}`, "", ErrCorrupt, "no configuration"},
	} {
		_, err := parseDocument([]byte(c.doc), c.announced)
		if c.kind == nil {
			if err != nil {
				t.Errorf("%s: %v", c.what, err)
			}
			continue
		}
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want %v with %q", c.what, err, c.kind, c.says)
		}
	}
}

func TestParseConfig(t *testing.T) {
	doc, err := parseDocument([]byte(goodManifest), "")
	if err != nil {
		t.Fatal(err)
	}
	good := `{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:` + hex64 + `"]}}`
	if img, err := parseConfig([]byte(good), doc); err != nil || img.Config.Cmd[0] != "sh" {
		t.Errorf("%v", err)
	}
	for what, bad := range map[string]string{
		"no diffIDs":   strings.Replace(good, `"sha256:`+hex64+`"`, "", 1),
		"bad diffID":   strings.Replace(good, hex64, hex64[1:], 1),
		"another JSON": `{"a":1}`,
		"twice":        strings.Replace(good, `"os":"linux"`, `"os":"linux","OS":"windows"`, 1),
		"a list":       "[]",
	} {
		if _, err := parseConfig([]byte(bad), doc); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	if _, err := parseConfig(make([]byte, maxConfig+1), doc); !errors.Is(err, ErrTooLarge) {
		t.Errorf("9 MiB: %v", err)
	}
}

func TestPlatforms(t *testing.T) {
	entry := func(s string) ocispec.Descriptor {
		p, err := ParsePlatform(s)
		if err != nil {
			t.Fatal(err)
		}
		return ocispec.Descriptor{Digest: "sha256:" + hex64, Platform: &p, MediaType: s}
	}
	for _, c := range []struct{ want, there, get string }{
		{"linux/amd64", "linux/arm64 linux/amd64", "linux/amd64"},
		{"x86_64", "linux/386 linux/amd64", "linux/amd64"},
		{"linux/amd64", "linux/amd64/v3 linux/amd64", "linux/amd64"},
		{"linux/amd64", "linux/amd64/v3", ""},
		{"linux/amd64/v3", "linux/amd64 linux/amd64/v2 linux/amd64/v4", "linux/amd64"},
		{"linux/arm64", "linux/arm/v7 linux/arm64/v8", "linux/arm64/v8"},
		{"aarch64", "linux/arm64", "linux/arm64"},
		{"linux/arm/v7", "linux/arm/v5 linux/arm/v6 linux/arm64", "linux/arm/v6"},
		{"linux/arm/v6", "linux/arm/v7", ""},
		{"linux/riscv64", "linux/amd64 windows/amd64", ""},
	} {
		want, err := ParsePlatform(c.want)
		if err != nil {
			t.Fatal(err)
		}
		var list []ocispec.Descriptor
		for f := range strings.FieldsSeq(c.there) {
			list = append(list, entry(f))
		}
		got, err := choosePlatform(list, want)
		if c.get == "" {
			if !errors.Is(err, ErrPlatform) || !strings.Contains(err.Error(), strings.Fields(c.there)[0]) {
				t.Errorf("%s of %s: %v, %v", c.want, c.there, got.MediaType, err)
			}
		} else if err != nil || got.MediaType != c.get {
			t.Errorf("%s of %s: %s, %v; want %s", c.want, c.there, got.MediaType, err, c.get)
		}
	}
	for _, bad := range []string{"/", "linux/", "a/b/c/d", "linux//v7"} {
		if _, err := ParsePlatform(bad); !errors.Is(err, ErrPlatform) {
			t.Errorf("platform %q: %v", bad, err)
		}
	}
}

func FuzzDocument(f *testing.F) {
	f.Add([]byte(goodManifest), "")
	f.Add([]byte(goodIndex), ocispec.MediaTypeImageIndex)
	// Real ones, by buildah, skopeo and umoci.
	seeds, _ := filepath.Glob("testdata/documents/*.json")
	if len(seeds) == 0 {
		f.Fatal("no seeds in testdata/documents")
	}
	for _, s := range seeds {
		raw, err := os.ReadFile(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, "")
	}
	f.Fuzz(func(t *testing.T, raw []byte, announced string) {
		doc, err := parseDocument(raw, announced)
		if err != nil {
			return
		}
		if doc.isIndex() == (doc.Config != nil) {
			t.Errorf("accepted as both or neither")
		}
		if !doc.isIndex() {
			for _, l := range append(doc.Layers, *doc.Config) {
				if p := blobName(l); strings.Contains(p, "..") || strings.Count(p, "/") != 2 || l.Size < 0 {
					t.Errorf("a blob is %q, %d bytes", p, l.Size)
				}
			}
			if img, err := parseConfig(raw, doc); err == nil {
				newImage(&chosen{raw: raw, doc: doc, from: sha256Of(raw)}, img)
			}
			return
		}
		if d, err := choosePlatform(*doc.Manifests, defaultPlatform()); err == nil && wantSHA256(d.Digest) != nil {
			t.Errorf("chose %q", d.Digest)
		}
	})
}
