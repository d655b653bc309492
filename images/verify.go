package images

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrUnsigned is an image without a signature by a key that was asked for.
var ErrUnsigned = errors.New("no signature by that key")

const (
	signatureLayer      = "application/vnd.dev.cosign.simplesigning.v1+json"
	signatureAnnotation = "dev.cosignproject.cosign/signature"
	maxSignature        = 1 << 20
	maxSignatures       = 200
)

// Key is a public key that signatures are checked with.
type Key struct {
	public crypto.PublicKey
	// Fingerprint is the digest of the key's DER form.
	Fingerprint digest.Digest
}

// ParseKey reads a public key in PEM: ECDSA, RSA or Ed25519.
func ParseKey(text []byte) (Key, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" {
		return Key{}, fail(nil, "it is no public key in PEM").hint("cosign public-key --key cosign.key prints one")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return Key{}, fail(nil, "read the public key").because(err)
	}
	switch public.(type) {
	case *ecdsa.PublicKey, *rsa.PublicKey, ed25519.PublicKey:
		return Key{public, sha256Of(block.Bytes)}, nil
	}
	return Key{}, fail(ErrUnsupported, "public keys of the kind %T are not understood", public)
}

// ReadKey reads a public key from a file.
func ReadKey(path string) (Key, error) {
	text, err := readBounded(path, maxSignature)
	if err != nil {
		return Key{}, fail(nil, "read the key %s", path).because(err)
	}
	k, err := ParseKey(text)
	if err != nil {
		return k, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// signed says whether sig is the key's signature of the payload.
func (k Key) signed(payload, sig []byte) bool {
	sum := sha256.Sum256(payload)
	switch p := k.public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(p, sum[:], sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(p, crypto.SHA256, sum[:], sig) == nil
	case ed25519.PublicKey:
		// cosign signs the digest (Ed25519ph, RFC 8032 section 5.1), openssl the payload. Neither can
		// be taken for the other.
		long := sha512.Sum512(payload)
		return ed25519.Verify(p, payload, sig) || ed25519.VerifyWithOptions(p, long[:], sig, &ed25519.Options{Hash: crypto.SHA512}) == nil
	}
	return false
}

// simpleSigning is what cosign signs: the manifest's digest, and a name
// (containers/image, docs/atomic-signature.md).
type simpleSigning struct {
	Critical struct {
		Type  string `json:"type"`
		Image struct {
			Digest digest.Digest `json:"docker-manifest-digest"`
		} `json:"image"`
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
	} `json:"critical"`
}

// Verify asks the registry for signatures of an image, as cosign keeps them, and
// gives the keys among those given by which one is good. A signature that names a
// repository must name the image's; a bundle names none. Without any the error is ErrUnsigned; where the registry cannot be asked it is an error, too.
func (s *Store) Verify(ctx context.Context, name string, keys []Key, a Access) (digest.Digest, []Key, error) {
	refs, err := meanings(name)
	if err != nil {
		return "", nil, err
	}
	ref := refs[0]
	if ref.Transport != Docker {
		return "", nil, fail(ErrUnsupported, "verify %s: signatures are kept in registries", name)
	}
	src, err := openRegistry(ctx, ref, a)
	if err != nil {
		return "", nil, fmt.Errorf("verify %s: %w", name, err)
	}
	defer src.close()
	raw, _, err := src.root(ctx)
	if err != nil {
		return "", nil, fmt.Errorf("verify %s: %w", name, err)
	}
	d := sha256Of(raw)
	if ref.Digest != "" && ref.Digest != d {
		return "", nil, fail(ErrCorrupt, "verify %s: the registry serves %s", name, d)
	}
	good, err := src.signers(ctx, d, ref, true, keys)
	if err != nil {
		return d, nil, fmt.Errorf("verify %s: %w", name, err)
	}
	return d, good, nil
}

// signers finds the keys that have signed a manifest under that name; with bundles also
// those that have signed it under none.
func (s *registrySource) signers(ctx context.Context, d digest.Digest, as Reference, bundles bool, keys []Key) ([]Key, error) {
	layers, err := s.signatureLayers(ctx, d)
	if err != nil {
		return nil, err
	}
	var good []Key
	for _, l := range layers {
		payload, err := s.signaturePayload(ctx, l)
		if err != nil {
			return nil, err
		}
		i := -1
		if l.MediaType == bundleLayer {
			if bundles {
				i = bundleSigner(payload, d, keys)
			}
		} else if sig, err := base64.StdEncoding.DecodeString(l.Annotations[signatureAnnotation]); err == nil && speaksOf(payload, d, as) {
			i = slices.IndexFunc(keys, func(k Key) bool { return k.signed(payload, sig) })
		}
		if i >= 0 && !slices.ContainsFunc(good, func(k Key) bool { return k.Fingerprint == keys[i].Fingerprint }) {
			good = append(good, keys[i])
		}
	}
	if len(layers) == 0 {
		return nil, fail(ErrUnsigned, "%s has no signatures", d).hint("cosign sign makes them")
	}
	if len(good) == 0 {
		return nil, fail(ErrUnsigned, "%s has %d signatures, none of it by a key that is asked for", d, len(layers))
	}
	return good, nil
}

// signatureLayers are the signatures under cosign's tag, and those that refer to
// the manifest.
func (s *registrySource) signatureLayers(ctx context.Context, d digest.Digest) ([]ocispec.Descriptor, error) {
	var docs [][]byte
	raw, _, err := s.fetchManifest(ctx, referrersTag(d)+".sig")
	switch {
	case err == nil:
		docs = append(docs, raw)
	case !errors.Is(err, ErrNotFound):
		return nil, err
	}
	list, err := s.referrers(ctx, d)
	if err != nil {
		return nil, err
	}
	for _, r := range list[:min(len(list), maxSignatures)] {
		if raw, err := s.manifest(ctx, r); err == nil && checkContent(raw, r) == nil {
			docs = append(docs, raw)
		}
	}
	var out []ocispec.Descriptor
	for _, raw := range docs {
		m, err := parseLenient(raw)
		if err != nil {
			return nil, err
		}
		for _, l := range m.Layers {
			if (l.MediaType == signatureLayer || l.MediaType == bundleLayer) && len(out) < maxSignatures {
				out = append(out, l)
			}
		}
	}
	return out, nil
}

func (s *registrySource) signaturePayload(ctx context.Context, l ocispec.Descriptor) ([]byte, error) {
	if err := checkDescriptor(l, maxSignature); err != nil {
		return nil, err
	}
	return readAll(ctx, s, l)
}

// speaksOf says whether a payload is about that manifest, under that name.
// cosign leaves the tag out of it.
func speaksOf(payload []byte, d digest.Digest, as Reference) bool {
	var p simpleSigning
	if strictJSON(payload, &p) != nil || p.Critical.Image.Digest != d {
		return false
	}
	if p.Critical.Type != "cosign container image signature" && p.Critical.Type != "atomic container signature" {
		return false
	}
	ref, err := ParseReference(p.Critical.Identity.Reference)
	return err == nil && ref.Transport == Docker && ref.Name() == as.Name()
}

// policyFile is policy.json(5), as far as it is understood: what is not makes
// an error, never an exception.
type policyFile struct {
	Default    []policyRule                       `json:"default"`
	Transports map[string]map[string][]policyRule `json:"transports"`
}

type policyRule struct {
	Type           string          `json:"type"`
	KeyPath        string          `json:"keyPath"`
	KeyPaths       []string        `json:"keyPaths"`
	KeyData        []byte          `json:"keyData"`
	KeyDatas       [][]byte        `json:"keyDatas"`
	SignedIdentity json.RawMessage `json:"signedIdentity"`
}
