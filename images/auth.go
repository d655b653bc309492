package images

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coracle/internal/later/registries"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/credentials"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
)

// authFiles are the places of credentials, the first that knows the registry
// wins: what the user names, podman's (containers-auth.json(5)), docker's.
// must says that the file has to be there.
func authFiles(named string) (paths []string, must string) {
	if named != "" {
		return []string{named}, named
	}
	if p := os.Getenv("REGISTRY_AUTH_FILE"); p != "" {
		return []string{p}, p
	}
	home, _ := os.UserHomeDir()
	if p := os.Getenv("XDG_RUNTIME_DIR"); p != "" {
		paths = append(paths, filepath.Join(p, "containers/auth.json"))
	}
	if p := cmp.Or(os.Getenv("XDG_CONFIG_HOME"), filepath.Join(home, ".config")); filepath.IsAbs(p) {
		paths = append(paths, filepath.Join(p, "containers/auth.json"))
	}
	if p := cmp.Or(os.Getenv("DOCKER_CONFIG"), filepath.Join(home, ".docker")); filepath.IsAbs(p) {
		paths = append(paths, filepath.Join(p, "config.json"))
	}
	return paths, ""
}

// credentialsFor finds what to say to the reference's registry; anonymous when
// nothing is known.
func credentialsFor(ref Reference, authFile string) (authn.Authenticator, error) {
	registries.Ready()
	paths, must := authFiles(authFile)
	if must == "" {
		if c, err := environmentLogin(ref); err != nil || c != (types.AuthConfig{}) {
			return authenticator(c), err
		}
	}
	for _, p := range paths {
		f, err := os.Open(p)
		if errors.Is(err, fs.ErrNotExist) && p != must {
			continue
		}
		if err != nil {
			return nil, fail(nil, "read the credentials").because(err).hint("%s", authFileHint(authFile, p))
		}
		cf, err := config.LoadFromReader(f)
		f.Close()
		if err != nil {
			return nil, fail(nil, "read the credentials in %s", p).because(err).hint("mend or remove the file")
		}
		c, key, err := loginFor(cf, ref)
		if err != nil {
			return nil, fail(nil, "get the credentials for %s", key).because(err).hint("check the credential helper that %s names", p)
		}
		if c != (types.AuthConfig{}) {
			return authenticator(c), nil
		}
	}
	return authn.Anonymous, nil
}

func authenticator(c types.AuthConfig) authn.Authenticator {
	return authn.FromConfig(authn.AuthConfig{Username: c.Username, Password: c.Password, Auth: c.Auth,
		IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken})
}

// environmentLogin is what $DOCKER_AUTH_CONFIG has for a registry: the content of a file,
// as docker and the jobs of GitLab have it.
func environmentLogin(ref Reference) (types.AuthConfig, error) {
	text := os.Getenv("DOCKER_AUTH_CONFIG")
	if text == "" {
		return types.AuthConfig{}, nil
	}
	cf, err := config.LoadFromReader(strings.NewReader(text))
	if err != nil { // which may quote it
		return types.AuthConfig{}, fail(nil, "read the credentials in $DOCKER_AUTH_CONFIG: it is not what docker's config.json has").hint("mend it, or take it out of the environment")
	}
	cf.CredentialHelpers, cf.CredentialsStore = nil, ""
	c, _, err := loginFor(cf, ref)
	return c, err
}

// loginFor finds the login of a file that is for an image; key is the one that it was
// looked for under.
func loginFor(cf *configfile.ConfigFile, ref Reference) (c types.AuthConfig, key string, err error) {
	for _, key = range authKeys(ref) {
		// A helper is a process: ask it for the registry only, and for what it is said to have.
		c, there := cf.AuthConfigs[key]
		if !there && cf.CredentialHelpers[key] == "" && strings.HasPrefix(key, ref.Domain+"/") {
			continue
		}
		if h := helperOf(cf, key); h != "" {
			c, err = credentials.NewNativeStore(cf, h).Get(key)
		}
		if c.ServerAddress = ""; err != nil || c != (types.AuthConfig{}) {
			return c, key, err
		}
	}
	for _, key = range slices.Sorted(maps.Keys(cf.AuthConfigs)) {
		if addressOf(key, ref.Domain) {
			c = cf.AuthConfigs[key]
			c.ServerAddress = ""
			return c, key, nil
		}
	}
	return types.AuthConfig{}, "", nil
}

// addressOf says whether a key is the address of a registry: https://REGISTRY/v1/ and the
// like, as old versions of docker and other programs write it. REGISTRY/NAME is for
// images of that name, and for no others.
func addressOf(key, domain string) bool {
	stripped := strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	host, path, ok := strings.Cut(stripped, "/")
	if host == legacyDomain {
		host = defaultDomain
	}
	return host == domain && (stripped != key || ok && (path == "" || path == "v1/" || path == "v2/"))
}

// spellings are the keys of a file by which loginFor finds what Login keeps under key.
func spellings(cf *configfile.ConfigFile, key string) []string {
	domain, same := key, []string{key}
	if key == authn.DefaultAuthKey {
		domain, same = defaultDomain, authKeys(Reference{Domain: defaultDomain})
	}
	var out []string
	for have := range cf.AuthConfigs {
		if slices.Contains(same, have) || addressOf(have, domain) {
			out = append(out, have)
		}
	}
	return out
}

func authFileHint(named, path string) string {
	switch {
	case named != "":
		return "check --authfile"
	case os.Getenv("REGISTRY_AUTH_FILE") != "":
		return "check $REGISTRY_AUTH_FILE"
	}
	return "check the permissions of " + path
}

// authKeys are the keys that may hold a repository's credentials, the most
// special first.
func authKeys(ref Reference) []string {
	registries.Ready()
	var keys []string
	for n := ref.Name(); ref.Path != "" && strings.Contains(n, "/"); n = n[:strings.LastIndexByte(n, '/')] {
		keys = append(keys, n)
	}
	keys = append(keys, ref.Domain)
	if ref.Domain == defaultDomain {
		keys = append(keys, authn.DefaultAuthKey, legacyDomain)
	}
	return keys
}
