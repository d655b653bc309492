package images

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Since version 3 cosign keeps a signature as a sigstore bundle among the image's referrers: an
// in-toto statement, about a digest and nothing else, in a DSSE envelope (sigstore
// protobuf-specs v0.3 bundle, secure-systems-lab/dsse v1.0, in-toto Statement v1).
const (
	bundleLayer     = "application/vnd.dev.sigstore.bundle.v0.3+json"
	statementType   = "application/vnd.in-toto+json"
	signedPredicate = "https://sigstore.dev/cosign/sign/v1" // a plain signature; others attest something
	maxEnvelope     = 16                                    // signatures
)

type sigstoreBundle struct {
	MediaType string `json:"mediaType"`
	Envelope  struct {
		Payload     []byte `json:"payload"`
		PayloadType string `json:"payloadType"`
		Signatures  []struct {
			Sig []byte `json:"sig"`
		} `json:"signatures"`
	} `json:"dsseEnvelope"`
}

type inTotoStatement struct {
	Type      string `json:"_type"`
	Predicate string `json:"predicateType"`
	Subject   []struct {
		Digest map[string]string `json:"digest"`
	} `json:"subject"`
}

// bundleSigner is the key by which a bundle has been signed that is about the manifest; -1 for
// none of them.
func bundleSigner(raw []byte, d digest.Digest, keys []Key) int {
	var b sigstoreBundle
	if strictJSON(raw, &b) != nil || b.MediaType != bundleLayer || b.Envelope.PayloadType != statementType || len(b.Envelope.Signatures) > maxEnvelope {
		return -1
	}
	signed := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(statementType), statementType, len(b.Envelope.Payload), b.Envelope.Payload)
	for _, s := range b.Envelope.Signatures {
		if i := slices.IndexFunc(keys, func(k Key) bool { return k.signed(signed, s.Sig) }); i >= 0 && statesSigned(b.Envelope.Payload, d) {
			return i
		}
	}
	return -1
}

// statesSigned says whether a statement says of that manifest that it has been signed.
func statesSigned(payload []byte, d digest.Digest) bool {
	var s inTotoStatement
	if strictJSON(payload, &s) != nil || !strings.HasPrefix(s.Type, "https://in-toto.io/Statement/v") || s.Predicate != signedPredicate {
		return false
	}
	for _, subject := range s.Subject {
		if subject.Digest["sha256"] == d.Encoded() {
			return true
		}
	}
	return false
}
