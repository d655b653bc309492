package images

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coracle/internal/later/registries"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/credentials"
	"github.com/docker/cli/cli/config/types"
	"github.com/docker/docker-credential-helpers/client"
	helpers "github.com/docker/docker-credential-helpers/credentials"
	"github.com/google/go-containerregistry/pkg/authn"
)

// LoginOptions say who logs in. The password goes nowhere but to the registry
// and into the file or to the helper that keeps it.
type LoginOptions struct {
	Access
	Username, Password string
}

// loginFile is where login writes: what is named, else docker's file, which
// podman reads, too.
func loginFile(named string) (string, error) {
	paths, must := authFiles(named)
	if must != "" {
		return must, nil
	}
	if len(paths) == 0 {
		return "", fail(nil, "there is no place for credentials").hint("set HOME, DOCKER_CONFIG or REGISTRY_AUTH_FILE")
	}
	return paths[len(paths)-1], nil
}

// registryKey checks a registry's name and gives its key in the files.
func registryKey(registry string) (domain, key string, err error) {
	registries.Ready()
	registry = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(registry, "https://"), "http://"), "/")
	if registry == "" || registry == defaultDomain || strings.HasPrefix(registry, legacyDomain) {
		return defaultDomain, authn.DefaultAuthKey, nil
	}
	domain, _, _ = strings.Cut(registry, "/")
	if why := checkDomain(domain); why != "" {
		return "", "", fail(ErrInvalidReference, "%s is no registry: %s", quote(registry), why)
	}
	return domain, registry, nil
}

// Login asks the registry whether it knows the user, and keeps the credentials.
// It returns the place where they are.
func Login(ctx context.Context, registry string, o LoginOptions) (string, error) {
	registries.Ready()
	domain, key, err := registryKey(registry)
	if err != nil {
		return "", err
	}
	path, err := loginFile(o.AuthFile)
	if err != nil {
		return "", err
	}
	if strings.Contains(o.Username, ":") {
		return "", fail(nil, "log in to %s: the user's name %s has a colon in it, where the password would begin", domain, quote(o.Username))
	}
	o.login = authn.FromConfig(authn.AuthConfig{Username: o.Username, Password: o.Password})
	if err := tryLogin(ctx, domain, o.Access); err != nil {
		return "", fmt.Errorf("log in to %s: %w", domain, err)
	}
	return changeAuth(path, key, &types.AuthConfig{Username: o.Username, Password: o.Password})
}

// tryLogin asks for what only those may see who are known.
func tryLogin(ctx context.Context, domain string, a Access) error {
	ref := Reference{Transport: Docker, Domain: domain}
	a, err := permitted(ref, a)
	if err != nil {
		return err
	}
	s, err := connect(ctx, ref, a, nil)
	if err == nil {
		defer s.close()
		err = s.retry(ctx, func() error {
			resp, err := s.ask(ctx, http.MethodGet, s.base, nil, nil, http.StatusOK)
			if err == nil {
				resp.Body.Close()
			}
			return err
		})
	}
	if errors.Is(err, ErrNotFound) {
		return fail(nil, "the registry does not know this user and password")
	}
	return err
}

// Logout forgets the credentials of a registry, and says whether there were any.
// others are the files of other programs that have some, too.
func Logout(registry, authFile string) (removed bool, others []string, err error) {
	path, err := loginFile(authFile)
	if err != nil {
		return false, nil, err
	}
	_, key, err := registryKey(registry)
	if err != nil {
		return false, nil, err
	}
	if removed, err = hasAuth(path, key); err == nil && removed {
		if _, err = changeAuth(path, key, nil); err != nil {
			err = fmt.Errorf("log out of %s: %w", registry, err)
		}
	}
	return removed, elsewhere(path, authFile, func(p string) bool {
		had, err := hasAuth(p, key)
		return had && err == nil
	}), err
}

// elsewhere are the files beside path that have credentials, as has says: they are
// other programs', and stay.
func elsewhere(path, authFile string, has func(path string) bool) []string {
	paths, _ := authFiles(authFile)
	return slices.DeleteFunc(paths, func(p string) bool { return p == path || !has(p) })
}

// LoggedIn says as whom.
func LoggedIn(registry, authFile string) (string, error) {
	registries.Ready()
	domain, key, err := registryKey(registry)
	if err != nil {
		return "", err
	}
	ref := Reference{Domain: domain}
	if key != authn.DefaultAuthKey {
		_, ref.Path, _ = strings.Cut(key, "/")
	}
	auth, err := credentialsFor(ref, authFile)
	if err != nil {
		return "", err
	}
	c, err := auth.Authorization()
	if err != nil || c.Username == "" {
		return "", fail(ErrNotFound, "not logged in to %s", domain).hint("coracle login %s", domain)
	}
	return c.Username, nil
}

func readAuth(path string) (map[string]json.RawMessage, *configfile.ConfigFile, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = []byte("{}"), nil
	}
	if err != nil {
		return nil, nil, err
	}
	doc := map[string]json.RawMessage{}
	if len(bytes.TrimSpace(data)) > 0 {
		if err := json.Unmarshal(data, &doc); err != nil {
			return nil, nil, fail(nil, "read the credentials in %s", path).because(err).hint("mend or remove the file")
		}
	}
	cf := configfile.New(path)
	if err := json.Unmarshal(data, cf); err != nil && len(bytes.TrimSpace(data)) > 0 {
		return nil, nil, fail(nil, "read the credentials in %s", path).because(err).hint("mend or remove the file")
	}
	return doc, cf, nil
}

func helperOf(cf *configfile.ConfigFile, key string) string {
	if h := cf.CredentialHelpers[key]; h != "" {
		return h
	}
	return cf.CredentialsStore
}

// hasAuth says whether a file has credentials for a registry, or its helper.
func hasAuth(path, key string) (bool, error) {
	_, cf, err := readAuth(path)
	if err != nil {
		return false, err
	}
	h := helperOf(cf, key)
	for _, k := range spellings(cf, key) {
		if h == "" || cf.AuthConfigs[k] != (types.AuthConfig{}) { // docker notes there what a helper keeps
			return true, nil
		}
	}
	if h == "" {
		return false, nil
	}
	c, err := credentials.NewNativeStore(cf, h).Get(key)
	if err != nil {
		return false, helperFailed(h, err)
	}
	return c.Username != "" || c.IdentityToken != "", nil
}

// changeAuth sets or removes a registry's credentials: by the helper that the
// file names, else in the file, whose other content stays as it is. What the file has
// of the registry otherwise goes: nothing is left of an old password.
func changeAuth(path, key string, c *types.AuthConfig) (string, error) {
	registries.Ready()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	path, l, err := lockAuth(path)
	if err != nil {
		return "", err
	}
	defer l.Release()
	doc, cf, err := readAuth(path)
	if err != nil {
		return "", err
	}
	auths := map[string]json.RawMessage{}
	if raw := doc["auths"]; raw != nil {
		if err := json.Unmarshal(raw, &auths); err != nil {
			return "", fail(nil, "read the credentials in %s", path).because(err)
		}
	}
	old := spellings(cf, key)
	for _, k := range old {
		delete(auths, k)
	}
	if h := helperOf(cf, key); h != "" {
		err := tellHelper(h, key, c)
		part := c != nil && cf.CredentialHelpers[key] == "" && key != authn.DefaultAuthKey && strings.Contains(key, "/")
		if part { // of a registry: a helper for all is asked for those that are noted, as docker does it
			auths[key] = json.RawMessage("{}")
		}
		if (part || len(old) > 0) && (err == nil || c == nil) {
			err = errors.Join(err, writeAuths(path, doc, auths))
		}
		return "docker-credential-" + h, err
	}
	if c != nil {
		auths[key], err = json.Marshal(map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password))})
		if err != nil {
			return "", err
		}
	}
	return path, writeAuths(path, doc, auths)
}

// tellHelper has a helper keep credentials, or with nil forget those that it has.
func tellHelper(helper, key string, c *types.AuthConfig) error {
	// Not docker's store for it, which writes the file, too, and leaves out
	// what docker does not know.
	program := client.NewShellProgramFunc("docker-credential-" + helper)
	var err error
	if c != nil {
		err = client.Store(program, &helpers.Credentials{ServerURL: key, Username: c.Username, Secret: c.Password})
	} else if _, err = client.Get(program, key); err == nil {
		err = client.Erase(program, key)
	}
	if err == nil || c == nil && helpers.IsErrCredentialsNotFound(err) {
		return nil
	}
	return helperFailed(helper, err)
}

// lockAuth locks a file of credentials for a change, and gives the path of what
// is to be replaced: a link of the user's stays one.
func lockAuth(path string) (string, *Lock, error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	l, err := Acquire(context.Background(), path+".lock")
	return path, l, err
}

// writeAuths replaces the credentials in a file, and nothing else.
func writeAuths(path string, doc, auths map[string]json.RawMessage) (err error) {
	if doc["auths"], err = json.Marshal(auths); err != nil {
		return err
	}
	out, err := json.MarshalIndent(doc, "", "\t")
	if err != nil {
		return err
	}
	return replacePrivate(path, append(out, '\n'))
}

// replacePrivate writes a file that only its owner may read, as old or new.
func replacePrivate(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".coracle-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
