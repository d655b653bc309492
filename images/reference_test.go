package images

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
)

const hex64 = "e6693c20186f837fc393390135d8a598a96a833917917789d63766cab6c59582"

func TestParseReference(t *testing.T) {
	long := strings.Repeat("a", 255)
	ok := map[string]string{
		// distribution/reference's normalize_test.go and reference_test.go
		"test":                                         "docker.io/library/test:latest",
		"test:8080":                                    "docker.io/library/test:8080",
		"docker/docker":                                "docker.io/docker/docker:latest",
		"library/debian":                               "docker.io/library/debian:latest",
		"debian":                                       "docker.io/library/debian:latest",
		"docker.io/docker/docker":                      "docker.io/docker/docker:latest",
		"docker.io/library/debian":                     "docker.io/library/debian:latest",
		"docker.io/debian":                             "docker.io/library/debian:latest",
		"index.docker.io/docker/docker":                "docker.io/docker/docker:latest",
		"index.docker.io/library/debian":               "docker.io/library/debian:latest",
		"127.0.0.1:5000/docker/docker":                 "127.0.0.1:5000/docker/docker:latest",
		"127.0.0.1:5000/library/debian":                "127.0.0.1:5000/library/debian:latest",
		"127.0.0.1:5000/debian":                        "127.0.0.1:5000/debian:latest",
		"192.168.0.1":                                  "docker.io/library/192.168.0.1:latest",
		"192.168.0.1:80":                               "docker.io/library/192.168.0.1:80",
		"192.168.0.1:8/debian":                         "192.168.0.1:8/debian:latest",
		"localhost/debian":                             "localhost/debian:latest",
		"localhost:5000/a/b/c:v1":                      "localhost:5000/a/b/c:v1",
		"[::1]:5000/debian":                            "[::1]:5000/debian:latest",
		"[2001:db8::1]/debian":                         "[2001:db8::1]/debian:latest",
		"thisisthesongthatneverends.com/debian":        "thisisthesongthatneverends.com/debian:latest",
		"foo.com/bar:TAG_1.x-y":                        "foo.com/bar:TAG_1.x-y",
		"test.com:8080/foo":                            "test.com:8080/foo:latest",
		"foo__bar/b--z/a-_":                            "",
		"foo__bar/b--z/a.b_c":                          "docker.io/foo__bar/b--z/a.b_c:latest",
		"xn--n3h.com/myimage:xn--n3h.com":              "xn--n3h.com/myimage:xn--n3h.com",
		"Foo/bar":                                      "Foo/bar:latest",
		"FOO.com/bar":                                  "FOO.com/bar:latest",
		"busybox@sha256:" + hex64:                      "docker.io/library/busybox@sha256:" + hex64,
		"busybox:1@sha256:" + hex64:                    "docker.io/library/busybox:1@sha256:" + hex64,
		"docker://busybox":                             "docker.io/library/busybox:latest",
		"docker:dind":                                  "docker.io/library/docker:dind",
		long[:247]:                                     "docker.io/library/" + long[:247] + ":latest",
		"a:" + long[:128]:                              "docker.io/library/a:" + long[:128],
		"oci:/tmp/x":                                   "oci:/tmp/x",
		"oci:/tmp/x:tag":                               "oci:/tmp/x:tag",
		"oci-archive:x.tar:docker.io/library/y:latest": "oci-archive:x.tar:docker.io/library/y:latest",
		"docker-archive:x.tar:y":                       "docker-archive:x.tar:docker.io/library/y:latest",
		"docker-archive:x.tar:@0":                      "docker-archive:x.tar:@0",
		"docker-archive:x.tar:@012":                    "docker-archive:x.tar:@12",
		"oci:/tmp/x:@1":                                "oci:/tmp/x:@1",
		"dir:/tmp/a:b":                                 "dir:/tmp/a:b",
	}
	bad := []string{
		"", "https://github.com/docker/docker", "docker/Docker", "-docker", "-docker/docker", "-docker.io/docker/docker",
		"docker///docker", "docker.io/docker/Docker", "docker.io/docker///docker", hex64, "Docker", "a//b", "/a", "a/", "a:", "a:b:c",
		"a:-b", "a:.b", "a b", "a:t g", "a@", "a@sha256:12", "a@sha256:" + strings.ToUpper(hex64), "a@md5:" + hex64[:32], "a@sha256:" + hex64 + "0",
		"a@sha256:" + hex64 + "@sha256:" + hex64, "_a", "a_", "a___b", "a..b", "a.-b", "foo.com:port/a", "foo.com:99999/a", "foo.com:/a", "-foo.com/a", "foo-.com/a",
		"[::1/a", "[::1]x/a", "[zz::]/a", "[fe80::1%25eth0]:5000/debian", "ä", "a/ä", "a\x00b", "a\nb", long + "/a", "a:" + long, "oci:", "dir:", "oci-archive::x", "docker-archive:f:BAD",
		"docker-archive:f:@", "docker-archive:f:@x", "docker-archive:f:@-1", "docker-archive:f:@+1", "docker-archive:f:@1:a", "docker-archive:f:@99999999999999999999",
		"docker://", "../a", "./a", "a/../b", "~/a",
	}
	for in, want := range ok {
		got, err := ParseReference(in)
		if want == "" {
			if err == nil {
				t.Errorf("%q parses as %s", in, got)
			}
			continue
		}
		if err != nil || got.String() != want {
			t.Errorf("%q: %q, %v; want %q", in, got.String(), err, want)
		}
	}
	for _, in := range bad {
		if got, err := ParseReference(in); !errors.Is(err, ErrInvalidReference) {
			t.Errorf("%q parses as %q, %v", in, got.String(), err)
		}
	}
}

// A path without the word for what is there is told what to say.
func TestReferencePath(t *testing.T) {
	for _, in := range []string{"/srv/root", "./root", "../root:1", "~/root", "docker:///srv"} {
		var e *Error
		if _, err := ParseReference(in); !errors.As(err, &e) || !strings.Contains(e.Help, "rootfs:DIR") || !strings.Contains(e.Text, "it is a path") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestReferenceForms(t *testing.T) {
	r, err := ParseReference("busybox:1@sha256:" + hex64)
	if err != nil {
		t.Fatal(err)
	}
	if r.key() != "docker.io/library/busybox@sha256:"+hex64 || r.Name() != "docker.io/library/busybox" {
		t.Errorf("key %s, name %s", r.key(), r.Name())
	}
	for in, want := range map[string]string{"busybox": "busybox:latest", "me/x:1": "me/x:1", "quay.io/a/b": "quay.io/a/b:latest", "docker.io/library/a/b": "library/a/b:latest"} {
		if r, err := ParseReference(in); err != nil || r.Familiar() != want {
			t.Errorf("Familiar(%s) = %s, %v; want %s", in, r.Familiar(), err, want)
		}
	}
	for in, want := range map[string]string{
		"docker-daemon:busybox:1": "docker save busybox:1 | coracle load", "containers-storage:x": "podman save x | coracle load",
		"sif:x.sif": "oci:DIR", "https://reg.example/x": "leave https:// away", "http://reg.example:5000/x": "leave http:// away",
	} {
		if _, err := ParseReference(in); err == nil || !strings.Contains(hintOf(err), want) {
			t.Errorf("%s: %v, hint %q", in, err, hintOf(err))
		}
	}
	if r, err := ParseReference("docker-daemon"); err != nil || r.Path != "library/docker-daemon" {
		t.Errorf("%v, %v", r, err)
	}
	_, err = ParseReference("quay.io/Me/Tool:V1")
	var hinted interface{ Hint() string }
	if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "quay.io/me/tool:V1") {
		t.Errorf("upper case: %v, hint %q", err, hinted.Hint())
	}
}

// Where go-containerregistry's rules are the same, so are the answers. Its
// rules are looser: what we accept it must accept, with the same parts.
func checkAgainstPeer(t *testing.T, s string) {
	r, err := ParseReference(s)
	if err != nil || r.Transport != Docker {
		return
	}
	if again, err := ParseReference(r.String()); err != nil || again.String() != r.String() {
		t.Errorf("%q gives %q, which gives %q, %v", s, r.String(), again.String(), err)
	}
	if strings.ToLower(r.Domain) != r.Domain && !strings.ContainsAny(r.Domain, ".:") {
		return // to docker an upper-case first part is a registry
	}
	if len(r.Path) < 2 || len(r.Path) > 200 || (r.Digest != "" && r.Digest.Algorithm() != "sha256") {
		return // lengths that it does not have
	}
	peer, err := name.ParseReference(strings.TrimPrefix(s, "docker://"), name.WeakValidation)
	if err != nil {
		if strings.HasPrefix(r.Domain, "[") || strings.Contains(err.Error(), "2-255") || strings.Contains(err.Error(), "registries must be valid") {
			return
		}
		t.Errorf("%q is %s here, the peer says %v", s, r.String(), err)
		return
	}
	if got := strings.Replace(peer.Context().RegistryStr(), "index.docker.io", "docker.io", 1); !strings.EqualFold(got, r.Domain) && strings.ToLower(r.Domain) == r.Domain {
		t.Errorf("%q: registry %s here, %s there", s, r.Domain, got)
	}
	want := peer.Identifier()
	if d := string(r.Digest); r.Tag != want && d != want {
		t.Errorf("%q: tag %q, digest %q here, %s there", s, r.Tag, d, want)
	}
}

func FuzzReference(f *testing.F) {
	for _, s := range []string{"busybox", "a/b:c", "localhost:5000/x@sha256:" + hex64, "docker://quay.io/a/b", "oci:/a:b", "[::1]:5/x", "A.b/c", "docker-archive:x:y", "docker-archive:x:@1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := ParseReference(s); err == nil {
			for _, part := range []string{r.Domain, r.Path, r.Tag} {
				if strings.ContainsAny(part, "\x00\n\r\x1b ") || strings.Contains(part, "..") && part == r.Path {
					t.Errorf("%q has the part %q", s, part)
				}
			}
		}
		checkAgainstPeer(t, s)
	})
}
