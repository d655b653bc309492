package images

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"coracle/internal/later/registries"

	"github.com/docker/cli/cli/config"
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
		for _, key := range authKeys(ref) {
			// A helper is a process: ask it for the registry only.
			if _, ok := cf.AuthConfigs[key]; !ok && strings.HasPrefix(key, ref.Domain+"/") {
				continue
			}
			c, err := cf.GetAuthConfig(key)
			if err != nil {
				return nil, fail(nil, "get the credentials for %s", key).because(err).hint("check the credential helper that %s names", p)
			}
			if c.ServerAddress = ""; c != (types.AuthConfig{}) {
				return authn.FromConfig(authn.AuthConfig{Username: c.Username, Password: c.Password, Auth: c.Auth,
					IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken}), nil
			}
		}
	}
	return authn.Anonymous, nil
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
	for n := ref.Name(); strings.Contains(n, "/"); n = n[:strings.LastIndexByte(n, '/')] {
		keys = append(keys, n)
	}
	keys = append(keys, ref.Domain)
	if ref.Domain == defaultDomain {
		keys = append(keys, authn.DefaultAuthKey, legacyDomain)
	}
	return keys
}
