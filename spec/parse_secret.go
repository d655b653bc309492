package spec

import (
	"encoding/csv"
	"path"
	"strings"
)

// SecretUse is one --secret: which one, and where it goes. The data is the
// engine's to add, at the start and not before.
type SecretUse struct {
	Name   string `json:"name"`
	ID     string `json:"id"`
	Env    string `json:"env,omitempty"`    // the variable, for type=env
	Target string `json:"target,omitempty"` // the file, absolute, for type=mount
	UID    uint32 `json:"uid"`
	GID    uint32 `json:"gid"`
	Mode   uint32 `json:"mode"`
}

// SecretsDir is where secrets are that have no place of their own: a tmpfs.
const SecretsDir = "/run/secrets"

// parseSecret reads NAME[,type=mount|env,target=,uid=,gid=,mode=]; the first
// word may be source=NAME.
func parseSecret(s string) (SecretUse, error) {
	u := SecretUse{Mode: 0o444}
	words, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil {
		return u, bad("not a name with KEY=VALUE: %v", err)
	}
	kind, target, mounted := "mount", "", ""
	for i, word := range words {
		key, value, pair := strings.Cut(word, "=")
		if i == 0 && !pair {
			u.Name = word
			continue
		}
		switch key {
		case "source", "src", "id":
			u.Name = value
		case "type":
			if value != "mount" && value != "env" {
				return u, bad("unknown type %q", value).hint("it may be mount or env")
			}
			kind = value
		case "target":
			target = value
		case "uid", "gid":
			id, ok := parseID(value)
			if !ok {
				return u, bad("%s needs a number, not %q", key, value)
			}
			if key == "uid" {
				u.UID = id
			} else {
				u.GID = id
			}
			mounted = key
		case "mode":
			mode, err := parseMode(value, 0o777)
			if err != nil {
				return u, err
			}
			u.Mode, mounted = mode, key
		default:
			return u, bad("unknown key %q", key).hint("keys are type, target, uid, gid, mode")
		}
	}
	if !isName(u.Name) {
		return u, bad("%q is not the name of a secret", u.Name)
	}
	if kind == "env" {
		if mounted != "" {
			return u, bad("a variable has no %s", mounted).hint("leave out %s, or type=env", mounted)
		}
		return u.variable(target)
	}
	return u.file(target)
}

func (u SecretUse) variable(name string) (SecretUse, error) {
	u.Mode, u.Env = 0, orElse(name, u.Name)
	if strings.ContainsAny(u.Env, "=\x00") {
		return u, bad("%q is not the name of a variable", u.Env)
	}
	return u, nil
}

func (u SecretUse) file(target string) (SecretUse, error) {
	if target == "" {
		target = u.Name
	}
	if !path.IsAbs(target) {
		if clean := path.Clean(target); clean == "." || clean == ".." || strings.HasPrefix(clean, "../") {
			return u, bad("the target %q is outside %s", target, SecretsDir)
		}
		target = path.Join(SecretsDir, target)
	}
	var err error
	u.Target, err = cleanDestination(target)
	if err == nil && (u.Target == SecretsDir || strings.HasPrefix(SecretsDir+"/", u.Target+"/")) {
		err = bad("the target %s is a directory of secrets", u.Target)
	}
	return u, err
}

// secrets takes --secret.
func (g *generator) secrets() error {
	seen := make(map[string]bool)
	for _, s := range g.opt.Secrets {
		u, err := parseSecret(s)
		if err != nil {
			return refused("--secret", s, err)
		}
		if u.ID, err = g.sources().Secret(u.Name); err != nil {
			return refused("--secret", s, err)
		}
		for _, m := range []struct {
			id   uint32
			ids  bool
			kind string
		}{{u.UID, mapped(g.in.UIDMap, u.UID), "uid"}, {u.GID, mapped(g.in.GIDMap, u.GID), "gid"}} {
			if !m.ids {
				return refuse("--secret", s, "the container has no %s %d", m.kind, m.id)
			}
		}
		place := u.Target + "=" + u.Env
		if seen[place] {
			return refuse("--secret", s, "another secret is there already: %s", orElse(u.Target, u.Env))
		}
		seen[place] = true
		if u.Target != "" && g.userMounted(u.Target) {
			return refuse("--secret", s, "%s is already the destination of a mount", u.Target)
		}
		g.res.Secrets = append(g.res.Secrets, u)
	}
	return nil
}
