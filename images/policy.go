package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// policyPaths are the user's policy and the system's; the first that is there
// counts (containers-policy.json(5)).
func policyPaths() []string {
	var out []string
	if home, err := os.UserHomeDir(); err == nil {
		out = append(out, filepath.Join(home, ".config/containers/policy.json"))
	}
	return append(out, "/etc/containers/policy.json")
}

// readPolicy gives the policy, nil where there is none.
func readPolicy() (*policyFile, error) {
	for _, path := range policyPaths() {
		raw, err := readBounded(path, maxManifest)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var p policyFile
		if err == nil {
			err = strictJSON(raw, &p)
		}
		if err != nil {
			return nil, fail(nil, "read the policy %s", path).because(err).hint("mend the file: see containers-policy.json(5)")
		}
		return &p, nil
	}
	return nil, nil
}

// rules are those for an image: of the scope that says most about it, of its
// transport, or the default.
func (p *policyFile) rules(ref Reference) []policyRule {
	scopes := p.Transports[string(ref.Transport)]
	if ref.Transport == Docker {
		for n := ref.String(); ; {
			if r, ok := scopes[n]; ok {
				return r
			}
			i := strings.LastIndexAny(n, "/")
			if c := strings.LastIndexAny(n, ":@"); c > i && c > len(ref.Domain) {
				i = c
			}
			if i < 0 {
				break
			}
			n = n[:i]
		}
		for d := ref.Domain; ; {
			_, rest, ok := strings.Cut(d, ".")
			if !ok {
				break
			}
			if r, ok := scopes["*."+rest]; ok {
				return r
			}
			d = rest
		}
	}
	if ref.Transport != Docker {
		// The scopes are paths, of what is there in truth: a link to it is no way round. "/" is
		// the last that is asked for.
		n, err := filepath.Abs(ref.File)
		if real, rerr := filepath.EvalSymlinks(n); rerr == nil {
			n = real
		}
		for ; err == nil; n = filepath.Dir(n) {
			if r, ok := scopes[n]; ok {
				return r
			}
			if n == "/" {
				break
			}
		}
	}
	if r, ok := scopes[""]; ok {
		return r
	}
	return p.Default
}

// keySets are what an image must be signed by: a key of each set. reject is an
// error, and so is a requirement that cannot be checked here.
func (p *policyFile) keySets(ref Reference) ([][]Key, error) {
	rules := p.rules(ref)
	if len(rules) == 0 {
		return nil, fail(ErrUnsigned, "the policy has no rule for %s", ref)
	}
	var out [][]Key
	for _, r := range rules {
		switch r.Type {
		case "insecureAcceptAnything":
		case "reject":
			return nil, fail(ErrUnsigned, "the policy rejects %s", ref).hint("containers-policy.json(5) says who may be trusted: ~/.config/containers/policy.json or /etc/containers/policy.json")
		case "sigstoreSigned":
			keys, err := r.keys()
			if err != nil {
				return nil, err
			}
			out = append(out, keys)
		default:
			return nil, fail(ErrUnsupported, "the policy wants %s of %s, which cannot be checked here", quote(r.Type), ref).hint("sigstoreSigned with keyPath or keyData, reject and insecureAcceptAnything are understood")
		}
	}
	return out, nil
}

func (r policyRule) keys() ([]Key, error) {
	if len(r.SignedIdentity) > 0 {
		var id struct {
			Type string `json:"type"`
		}
		if json.Unmarshal(r.SignedIdentity, &id) != nil || id.Type != "matchRepository" && id.Type != "matchRepoDigestOrExact" {
			return nil, fail(ErrUnsupported, "the policy's signedIdentity %s cannot be checked here", quote(id.Type)).hint("matchRepository is understood")
		}
	}
	var out []Key
	paths, datas := r.KeyPaths, r.KeyDatas
	if r.KeyPath != "" {
		paths = append(paths, r.KeyPath)
	}
	if len(r.KeyData) > 0 {
		datas = append(datas, r.KeyData)
	}
	for _, p := range paths {
		k, err := ReadKey(p)
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	for _, d := range datas {
		k, err := ParseKey(d)
		if err != nil {
			return nil, fmt.Errorf("keyData of the policy: %w", err)
		}
		out = append(out, k)
	}
	if len(out) == 0 {
		return nil, fail(ErrUnsupported, "the policy wants sigstoreSigned without a key, which cannot be checked here").hint("keyPath or keyData names one")
	}
	return out, nil
}

// allowAsked says whether a source may be asked at all: what no signature could make
// good is not looked for.
func allowAsked(ref Reference) error {
	p, err := readPolicy()
	if p == nil || err != nil {
		return err
	}
	_, err = p.keySets(ref)
	return err
}

// allowFetched holds an image that is being pulled to the policy, before any of
// it is stored. It gives the fingerprints of the keys that signed it.
func allowFetched(ctx context.Context, src source, ref Reference, digests ...digest.Digest) ([]digest.Digest, error) {
	p, err := readPolicy()
	if p == nil || err != nil {
		return nil, err
	}
	sets, err := p.keySets(ref)
	if err != nil || len(sets) == 0 {
		return nil, err
	}
	reg, ok := src.(*registrySource)
	if !ok {
		return nil, fail(ErrUnsigned, "the policy wants a signature of %s, and only registries keep any", ref)
	}
	var out []digest.Digest
	for _, keys := range sets {
		var good []Key
		for _, d := range digests { // the index, or the image in it
			if good, err = reg.signers(ctx, d, ref, false, keys); !errors.Is(err, ErrUnsigned) {
				break
			}
		}
		if err != nil {
			return nil, fail(nil, "the policy wants a signature").because(err)
		}
		for _, k := range good {
			out = append(out, k.Fingerprint)
		}
	}
	return out, nil
}

// allowStored holds an image of the store to the policy: by what was found when it
// was pulled. Images that were made here have no registry, and no rule.
func allowStored(img *Image, name string) error {
	p, err := readPolicy()
	if p == nil || err != nil {
		return err
	}
	var last error
	for _, n := range img.Names {
		ref, err := ParseReference(n)
		if err != nil || ref.Transport != Docker || ref.Domain == localDomain {
			continue
		}
		sets, err := p.keySets(ref)
		if err != nil {
			last = err
			continue
		}
		missing := slices.ContainsFunc(sets, func(keys []Key) bool {
			return !slices.ContainsFunc(keys, func(k Key) bool { return slices.Contains(img.Signed, k.Fingerprint) })
		})
		if !missing {
			return nil
		}
		last = fail(ErrUnsigned, "the policy wants a signature of %s, and none was found when it was pulled", ref).hint("pull it again: coracle pull %s", name)
	}
	return last
}
