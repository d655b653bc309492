package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// cosigned is testdata/cosign/signatures.json: what a registry serves after cosign has signed
// there (see make beside it).
type cosigned struct {
	Name, Other string // of the image; a key that has signed nothing
	Sets        []cosignedSet
}

type cosignedSet struct {
	Way, Kind, Key string
	Digest         digest.Digest
	Serves         map[string]string // by tag or digest
}

func readCosigned(t *testing.T) (all cosigned) {
	t.Helper()
	raw, err := os.ReadFile("testdata/cosign/signatures.json")
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil || len(all.Sets) < 7 {
		t.Fatal(len(all.Sets), err)
	}
	return all
}

// served is a registry that has the set, in which old is new wherever it stands, and what refers
// to a document refers to what has become of it.
func (set cosignedSet) served(t *testing.T, prefix, old, new string) *fakeRegistry {
	t.Helper()
	docs := map[string]string{}
	for name, text := range set.Serves {
		docs[name] = text
	}
	for range docs { // from the innermost outwards
		for name, text := range docs {
			changed := strings.ReplaceAll(text, old, new)
			if d := digest.FromString(changed).String(); strings.Contains(name, ":") && d != name {
				delete(docs, name)
				for other, text := range docs {
					docs[other] = strings.ReplaceAll(text, name, d)
				}
				name = d
			}
			docs[name] = changed
		}
	}
	reg := newRegistry(t)
	for name, text := range docs {
		var kind struct{ MediaType string }
		if json.Unmarshal([]byte(text), &kind) != nil || !isManifestType(kind.MediaType) {
			kind.MediaType = "application/octet-stream"
		}
		reg.extra[name] = served{kind.MediaType, []byte(text)}
		reg.extra[digest.FromString(text).String()] = reg.extra[name]
	}
	reg.meddle = func(w http.ResponseWriter, r *http.Request) bool { // as Debian's registry: only by tags
		if strings.Contains(r.URL.Path, "/referrers/") {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	}
	conf := filepath.Join(t.TempDir(), "registries.conf")
	write(t, conf, fmt.Appendf(nil, "[[registry]]\nprefix = %q\nlocation = \"%s/x\"\ninsecure = true\n", prefix, reg.host()))
	t.Setenv("CONTAINERS_REGISTRIES_CONF", conf)
	return reg
}

// value is what a field has in one of the documents, as it is written there.
func (set cosignedSet) value(t *testing.T, field string) string {
	t.Helper()
	for _, text := range set.Serves {
		if _, rest, ok := strings.Cut(text, `"`+field+`":"`); ok {
			v, _, _ := strings.Cut(rest, `"`)
			return v
		}
	}
	t.Fatalf("%s %s: no %s", set.Way, set.Kind, field)
	return ""
}

// other is a word of the same length that differs in the middle.
func other(s string) string {
	i := len(s) / 2
	c := byte('b')
	if s[i] == c {
		c = 'd'
	}
	return s[:i] + string(c) + s[i+1:]
}

// What cosign itself has signed is taken, in each of its ways and with each kind of key; nothing
// else is: another key, a signature or a statement that was changed, another image.
func TestCosign(t *testing.T) {
	all := readCosigned(t)
	stranger, err := ParseKey([]byte(all.Other))
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range all.Sets {
		t.Run(set.Way+"-"+set.Kind, func(t *testing.T) {
			key, err := ParseKey([]byte(set.Key))
			if err != nil {
				t.Fatal(err)
			}
			s := newStore(t)
			verify := func(name string, keys ...Key) error {
				d, good, err := s.Verify(t.Context(), name, keys, Access{})
				if err == nil && (d != set.Digest || len(good) != 1 || good[0].Fingerprint != key.Fingerprint) {
					t.Errorf("%s by %v", d, good)
				}
				return err
			}
			tag := all.Name + ":1"
			set.served(t, all.Name, "", "")
			if err := errors.Join(verify(tag, key), verify(tag, stranger, key), verify(all.Name+"@"+string(set.Digest), key)); err != nil {
				t.Error(err)
			}
			if err := verify(tag, stranger); !errors.Is(err, ErrUnsigned) {
				t.Errorf("by another key: %v", err)
			}
			signature, statement := signatureAnnotation, "docker-manifest-digest"
			if set.Way == "bundle" {
				signature, statement = "sig", "payload"
			}
			for _, field := range []string{signature, statement} {
				was := set.value(t, field)
				set.served(t, all.Name, was, other(was))
				if err := verify(tag, key); !errors.Is(err, ErrUnsigned) {
					t.Errorf("%s was changed: %v", field, err)
				}
			}
			// Of another image, put where this one's would be.
			reg := set.served(t, all.Name, "", "")
			image := strings.Replace(set.Serves["1"], "amd64", "arm64", 1) + " "
			d := digest.FromString(image)
			reg.extra["1"] = served{ocispec.MediaTypeImageManifest, []byte(image)}
			for name, e := range reg.extra {
				if at := referrersTag(set.Digest); strings.HasPrefix(name, at) {
					reg.extra[referrersTag(d)+strings.TrimPrefix(name, at)] = e
				}
			}
			if err := verify(tag, key); !errors.Is(err, ErrUnsigned) {
				t.Errorf("of another image: %v", err)
			}
		})
	}
}

// A bundle names no repository. So it tells that the key's owner has signed the image, but not
// that it is the one by that name, which a policy wants to know.
func TestCosignNames(t *testing.T) {
	all := readCosigned(t)
	t.Setenv("HOME", t.TempDir())
	policy := filepath.Join(os.Getenv("HOME"), ".config/containers/policy.json")
	if err := os.MkdirAll(filepath.Dir(policy), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, set := range all.Sets {
		key, err := ParseKey([]byte(set.Key))
		if err != nil {
			t.Fatal(err)
		}
		set.served(t, "registry.example.org/another", "", "")
		_, _, err = newStore(t).Verify(t.Context(), "registry.example.org/another:1", []Key{key}, Access{})
		if (err == nil) != (set.Way == "bundle") {
			t.Errorf("%s %s under another name: %v", set.Way, set.Kind, err)
		}
		write(t, policy, fmt.Appendf(nil, `{"default":[{"type":"sigstoreSigned","keyData":%s}]}`, must(json.Marshal([]byte(set.Key)))))
		for _, name := range []string{"registry.example.org/another", all.Name} {
			set.served(t, name, "", "")
			_, err = newStore(t).Pull(t.Context(), name+":1", PullOptions{})
			if signed := !errors.Is(err, ErrUnsigned); signed != (set.Way != "bundle" && name == all.Name) {
				t.Errorf("%s %s, by a policy, as %s: %v", set.Way, set.Kind, name, err)
			}
		}
	}
}

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}
