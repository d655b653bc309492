package images

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"

	"coracle/internal/later/registries"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/docker/docker-credential-helpers/client"
	helpers "github.com/docker/docker-credential-helpers/credentials"
	"github.com/google/go-containerregistry/pkg/authn"
)

// LoggedOut says what LogoutAll did.
type LoggedOut struct {
	File    string   // whose logins they were
	Removed []string // the registries, or the repositories, that they were for
	Others  []string // files of other programs that have logins, too
}

// LogoutAll forgets all credentials of the file that Logout would change, in it and
// with the helpers that it names. A helper that fails keeps no other from it.
func LogoutAll(authFile string) (LoggedOut, error) {
	registries.Ready()
	path, err := loginFile(authFile)
	if err != nil {
		return LoggedOut{}, err
	}
	out := LoggedOut{File: path, Others: elsewhere(path, authFile, func(p string) bool {
		_, cf, err := readAuth(p)
		return err == nil && len(keysWithLogin(cf)) > 0
	})}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	path, l, err := lockAuth(path)
	if err != nil {
		return out, err
	}
	defer l.Release()
	doc, cf, err := readAuth(path)
	if err != nil {
		return out, err
	}
	removed, failed := eraseAll(cf)
	if len(cf.AuthConfigs) > 0 {
		if err := writeAuths(path, doc, map[string]json.RawMessage{}); err != nil {
			failed = append(failed, err)
		} else {
			removed = append(removed, keysWithLogin(cf)...)
		}
	}
	for i, key := range removed {
		if key == authn.DefaultAuthKey {
			removed[i] = defaultDomain
		}
	}
	slices.Sort(removed)
	out.Removed = slices.Compact(removed)
	return out, errors.Join(failed...)
}

// eraseAll has the helpers forget what they keep for this file: of one that is named
// for a registry that registry, of the one for all registries all that it lists.
func eraseAll(cf *configfile.ConfigFile) (removed []string, failed []error) {
	erase := func(helper string, keys []string, known bool) {
		program := client.NewShellProgramFunc("docker-credential-" + helper)
		for _, key := range keys {
			var err error
			if !known {
				_, err = client.Get(program, key)
			}
			if err == nil {
				err = client.Erase(program, key)
			}
			switch {
			case err == nil:
				removed = append(removed, key)
			case !helpers.IsErrCredentialsNotFound(err):
				failed = append(failed, helperFailed(helper, err))
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(cf.CredentialHelpers)) {
		if h := cf.CredentialHelpers[key]; h != "" {
			erase(h, []string{key}, false)
		}
	}
	if h := cf.CredentialsStore; h != "" {
		list, err := client.List(client.NewShellProgramFunc("docker-credential-" + h))
		if err != nil {
			failed = append(failed, helperFailed(h, err))
		}
		erase(h, slices.Sorted(maps.Keys(list)), true)
	}
	return removed, failed
}

func helperFailed(helper string, err error) error {
	return fail(nil, "ask the credential helper docker-credential-%s", helper).because(err)
}

// keysWithLogin: docker has an empty entry in the file for what a helper keeps.
func keysWithLogin(cf *configfile.ConfigFile) (keys []string) {
	for key, c := range cf.AuthConfigs {
		if c != (types.AuthConfig{}) {
			keys = append(keys, key)
		}
	}
	return keys
}
