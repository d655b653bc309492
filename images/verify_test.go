package images

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// pair is a key of a signer.
type pair struct {
	private *ecdsa.PrivateKey
	path    string // of the public key
}

func newPair(t *testing.T) pair {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pub")
	write(t, path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return pair{private, path}
}

func (p pair) key(t *testing.T) Key {
	t.Helper()
	k, err := ReadKey(p.path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sign puts a signature into the registry, as cosign does, that says that d is name.
func (p pair) sign(t *testing.T, reg *fakeRegistry, at, d digest.Digest, name string) {
	t.Helper()
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, name, d)
	sum := sha256.Sum256(payload)
	sig, err := ecdsa.SignASN1(rand.Reader, p.private, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	config := []byte(`{}`)
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: sha256Of(config), Size: 2},
		Layers: []ocispec.Descriptor{{MediaType: signatureLayer, Digest: sha256Of(payload), Size: int64(len(payload)), Annotations: map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(sig)}}}}
	m.SchemaVersion = 2
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	reg.extra[referrersTag(at)+".sig"] = served{ocispec.MediaTypeImageManifest, raw}
	reg.extra[string(sha256Of(payload))] = served{"application/octet-stream", payload}
}

func TestVerify(t *testing.T) {
	m := make3(t, nil)
	good, other := newPair(t), newPair(t)
	for _, c := range []struct {
		name string
		sign func(reg *fakeRegistry)
		ok   bool
	}{
		{"signed", func(reg *fakeRegistry) { good.sign(t, reg, m.desc.Digest, m.desc.Digest, reg.host()+"/x") }, true},
		{"not signed", func(*fakeRegistry) {}, false},
		{"by another key", func(reg *fakeRegistry) { other.sign(t, reg, m.desc.Digest, m.desc.Digest, reg.host()+"/x") }, false},
		{"another image's signature", func(reg *fakeRegistry) { good.sign(t, reg, m.desc.Digest, sha256Of([]byte("old")), reg.host()+"/x") }, false},
		{"another name's signature", func(reg *fakeRegistry) { good.sign(t, reg, m.desc.Digest, m.desc.Digest, reg.host()+"/y") }, false},
		{"a payload that was changed", func(reg *fakeRegistry) {
			good.sign(t, reg, m.desc.Digest, m.desc.Digest, reg.host()+"/x")
			for d, e := range reg.extra {
				if e.mediaType == "application/octet-stream" {
					e.body = append([]byte(" "), e.body[:len(e.body)-1]...)
					reg.extra[d] = e
				}
			}
		}, false},
	} {
		reg := newRegistry(t)
		reg.serve("v1", m)
		c.sign(reg)
		d, keys, err := newStore(t).Verify(t.Context(), reg.host()+"/x:v1", []Key{good.key(t)}, Access{})
		if c.ok != (err == nil) || c.ok && (d != m.desc.Digest || len(keys) != 1) {
			t.Errorf("%s: %s, %d keys, %v", c.name, d, len(keys), err)
		}
	}
	if _, _, err := newStore(t).Verify(t.Context(), "127.0.0.1:1/x", []Key{good.key(t)}, Access{}); err == nil || errors.Is(err, ErrUnsigned) {
		t.Errorf("without a registry: %v", err)
	}
}

// The policy is honoured by a pull, and by the use of what is there.
func TestPolicy(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	policy := filepath.Join(home, ".config/containers/policy.json")
	if err := os.MkdirAll(filepath.Dir(policy), 0o700); err != nil {
		t.Fatal(err)
	}
	m := make3(t, nil)
	good := newPair(t)
	reg := newRegistry(t)
	reg.serve("v1", m)
	name := reg.host() + "/x:v1"
	s := newStore(t)
	set := func(format string, args ...any) { write(t, policy, fmt.Appendf(nil, format, args...)) }
	try := func(want error) {
		t.Helper()
		for _, p := range []Policy{PullAlways, PullMissing} {
			if _, err := s.Pull(t.Context(), name, PullOptions{Policy: p}); !errors.Is(err, want) {
				t.Errorf("%s: %v, not %v", p, err, want)
			}
		}
	}
	set(`{"default":[{"type":"reject"}]}`)
	try(ErrUnsigned)
	set(`{"default":[{"type":"insecureAcceptAnything"}]}`)
	try(nil)
	signedOnly := fmt.Sprintf(`{"default":[{"type":"reject"}],"transports":{"docker":{%q:[{"type":"sigstoreSigned","keyPath":%q,"signedIdentity":{"type":"matchRepository"}}]}}}`, reg.host(), good.path)
	set("%s", signedOnly)
	try(ErrUnsigned) // it is in the store, and was never verified
	if _, err := s.Pull(t.Context(), name, PullOptions{Policy: PullNever}); !errors.Is(err, ErrUnsigned) {
		t.Errorf("used without a signature: %v", err)
	}
	if _, err := s.Pull(t.Context(), "oci:"+m.layout(t), PullOptions{}); !errors.Is(err, ErrUnsigned) {
		t.Errorf("the default is to reject: %v", err)
	}
	good.sign(t, reg, m.desc.Digest, m.desc.Digest, reg.host()+"/x")
	try(nil)
	reg.Close()
	if img, err := s.Pull(t.Context(), name, PullOptions{Policy: PullNever}); err != nil || len(img.Signed) != 1 {
		t.Errorf("what has been verified is used without a registry: %v", err)
	}
	set(`{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/x"}]}`)
	if _, err := s.Pull(t.Context(), name, PullOptions{Policy: PullNever}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("what cannot be checked is refused: %v", err)
	}
	set(`{"default":[`)
	if _, err := s.Pull(t.Context(), name, PullOptions{Policy: PullNever}); err == nil {
		t.Error("a policy that cannot be read accepts")
	}
}

// A policy's scope for files is a path: a link that leads there does not lead round it, and a
// directory that is loaded is what a pull of oci: takes it for.
func TestPolicyPaths(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	policy := filepath.Join(home, ".config/containers/policy.json")
	if err := os.MkdirAll(filepath.Dir(policy), 0o700); err != nil {
		t.Fatal(err)
	}
	dir := make3(t, nil).layout(t)
	link := filepath.Join(home, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for rule, want := range map[string]error{
		`{"default":[{"type":"insecureAcceptAnything"}],"transports":{"oci":{%q:[{"type":"reject"}]}}}`: ErrUnsigned,
		`{"default":[{"type":"reject"}],"transports":{"oci":{%q:[{"type":"insecureAcceptAnything"}]}}}`: nil,
	} {
		write(t, policy, fmt.Appendf(nil, rule, dir))
		for _, path := range []string{dir, link} {
			if _, err := newStore(t).Pull(t.Context(), "oci:"+path, PullOptions{}); !errors.Is(err, want) {
				t.Errorf("%s: pull oci:%s: %v", rule, path, err)
			}
			if _, err := newStore(t).Load(t.Context(), path, nil, PullOptions{}); !errors.Is(err, want) {
				t.Errorf("%s: load %s: %v", rule, path, err)
			}
		}
	}
}
