package images

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// registriesConf is what containers-registries.conf(5) says, of the system and of
// the user: mirrors, other places, aliases of short names.
type registriesConf struct {
	search     []string // for short names without an alias
	enforcing  bool     // several of them are not tried in turn
	aliases    map[string]string
	registries []registryConf
}

type registryConf struct {
	prefix, location  string
	insecure, blocked bool
	digestOnly        bool // mirrors are asked for digests only
	mirrors           []mirrorConf
}

type mirrorConf struct {
	location string
	insecure bool
	from     string // pull-from-mirror: all, digest-only, tag-only
}

// registriesFiles are the files in the order in which they are read; the later
// ones win. What the environment names stands instead of the first of them, and what the
// administrator has put beside it holds all the same.
func registriesFiles() []string {
	own := os.Getenv("XDG_CONFIG_HOME")
	if home, err := os.UserHomeDir(); err == nil && own == "" {
		own = filepath.Join(home, ".config")
	}
	var files []string
	named := os.Getenv("CONTAINERS_REGISTRIES_CONF")
	if named != "" {
		files = []string{named}
	}
	for _, p := range []string{filepath.Join(own, "containers/registries.conf"), "/etc/containers/registries.conf", "/usr/share/containers/registries.conf"} {
		if _, err := os.Stat(p); named == "" && err == nil && filepath.IsAbs(p) {
			files = append(files, p)
			break
		}
	}
	for _, dir := range []string{"/etc/containers/registries.conf.d", filepath.Join(own, "containers/registries.conf.d")} {
		more, _ := filepath.Glob(filepath.Join(dir, "*.conf"))
		slices.Sort(more)
		files = append(files, more...)
	}
	return files
}

func readRegistries() (*registriesConf, error) {
	c := &registriesConf{aliases: map[string]string{}}
	for _, path := range registriesFiles() {
		data, err := readBounded(path, maxManifest)
		if errors.Is(err, fs.ErrNotExist) && path != os.Getenv("CONTAINERS_REGISTRIES_CONF") {
			continue
		}
		var doc map[string]any
		if err == nil {
			doc, err = readTOML(data)
		}
		if err == nil {
			err = checkConf(doc)
		}
		if err != nil {
			return nil, fail(nil, "read %s", path).because(err).hint("mend the file: see containers-registries.conf(5)")
		}
		c.take(doc)
	}
	return c, nil
}

// take adds what a file says.
func (c *registriesConf) take(doc map[string]any) {
	if list := stringsIn(doc["unqualified-search-registries"]); list != nil {
		c.search = list
	}
	if mode, ok := doc["short-name-mode"].(string); ok {
		c.enforcing = mode == "enforcing"
	}
	aliases, _ := doc["aliases"].(map[string]any)
	for short, full := range aliases {
		if full == "" {
			delete(c.aliases, short)
		} else if full, ok := full.(string); ok {
			c.aliases[short] = full
		}
	}
	for _, t := range tablesIn(doc["registry"]) {
		r := registryConf{prefix: placeIn(t["prefix"]), location: placeIn(t["location"]), insecure: t["insecure"] == true, blocked: t["blocked"] == true, digestOnly: t["mirror-by-digest-only"] == true}
		if r.prefix == "" {
			r.prefix = r.location
		}
		for _, m := range tablesIn(t["mirror"]) {
			r.mirrors = append(r.mirrors, mirrorConf{placeIn(m["location"]), m["insecure"] == true, stringIn(m["pull-from-mirror"])})
		}
		c.registries = slices.DeleteFunc(c.registries, func(old registryConf) bool { return old.prefix == r.prefix })
		c.registries = append(c.registries, r)
	}
}

func stringIn(v any) string { s, _ := v.(string); return s }

// placeIn is a registry, or a part of one: a slash in the end says nothing more.
func placeIn(v any) string { return strings.TrimRight(stringIn(v), "/") }

func stringsIn(v any) []string {
	list, ok := v.([]any)
	if !ok {
		return nil
	}
	out := []string{}
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func tablesIn(v any) []map[string]any {
	list, _ := v.([]any)
	var out []map[string]any
	for _, x := range list {
		if t, ok := x.(map[string]any); ok {
			out = append(out, t)
		}
	}
	return out
}

// full gives the names that a short one may mean, in the order in which they
// are tried.
func (c *registriesConf) full(ref Reference) ([]Reference, error) {
	if !ref.Short {
		return []Reference{ref}, nil
	}
	short := strings.TrimPrefix(ref.Path, officialRepo)
	list := c.search
	if alias := c.aliases[short]; alias != "" {
		r, err := ParseReference(alias)
		if err != nil || r.Transport != Docker {
			return nil, fail(nil, "the alias %s of registries.conf is no image: %s", quote(short), quote(alias))
		}
		r.Tag, r.Digest = ref.Tag, ref.Digest
		return []Reference{r}, nil
	}
	if len(list) == 0 {
		return []Reference{ref}, nil
	}
	if len(list) > 1 && c.enforcing {
		return nil, fail(ErrAmbiguous, "%s could be of %s", quote(short), strings.Join(list, " or ")).hint("write the whole name, or add it to [aliases] in registries.conf")
	}
	var out []Reference
	for _, domain := range list {
		r, err := ParseReference(domain + "/" + short)
		if err != nil {
			return nil, fail(nil, "unqualified-search-registries of registries.conf has %s", quote(domain)).because(err)
		}
		r.Tag, r.Digest = ref.Tag, ref.Digest
		out = append(out, r)
	}
	return out, nil
}

// endpoint is a place to ask for an image.
type endpoint struct {
	ref      Reference
	insecure bool
}

// access is how it may be asked: what the caller says of TLS counts for more.
func (e endpoint) access(a Access) Access {
	if e.insecure && a.TLSVerify == nil {
		no := false
		a.TLSVerify = &no
	}
	return a
}

// endpoints are the places of an image: mirrors first, then its own.
func (c *registriesConf) endpoints(ref Reference) ([]endpoint, error) {
	r, rest := c.match(ref)
	if r == nil {
		return []endpoint{{ref: ref}}, nil
	}
	if r.blocked {
		return nil, fail(nil, "%s is blocked by registries.conf", r.prefix)
	}
	var out []endpoint
	add := func(location string, insecure bool) error {
		if location == "" {
			out = append(out, endpoint{ref, insecure})
			return nil
		}
		to, err := ParseReference(location + rest)
		if err != nil {
			return fail(nil, "a location of registries.conf is no place for %s", ref.Name()).because(err)
		}
		to.Tag, to.Digest = ref.Tag, ref.Digest
		out = append(out, endpoint{to, insecure})
		return nil
	}
	for _, m := range r.mirrors {
		byDigest := ref.Digest != ""
		if !byDigest && (r.digestOnly || m.from == "digest-only") || byDigest && m.from == "tag-only" {
			continue
		}
		if err := add(m.location, m.insecure); err != nil {
			return nil, err
		}
	}
	return out, add(r.location, r.insecure)
}

// match finds the entry with the longest prefix, and what follows it in the name. As podman
// has it, a host without a port stands for all of its ports.
func (c *registriesConf) match(ref Reference) (best *registryConf, rest string) {
	name := ref.Name()
	for i := range c.registries {
		r := &c.registries[i]
		tail, ok := strings.CutPrefix(name, r.prefix)
		if wild, isWild := strings.CutPrefix(r.prefix, "*"); isWild {
			host, _, _ := strings.Cut(ref.Domain, ":")
			ok = strings.HasSuffix(host, wild)
			tail = name[len(host):]
		}
		ok = ok && (tail == "" || tail[0] == '/' || tail[0] == ':')
		if ok && (best == nil || len(r.prefix) > len(best.prefix)) {
			best, rest = r, tail
		}
	}
	return best, rest
}

// readTOML reads a document into maps, lists, strings and booleans.
func readTOML(data []byte) (map[string]any, error) {
	root := map[string]any{}
	at := root
	var p unstable.Parser
	p.Reset(data)
	for p.NextExpression() {
		n := p.Expression()
		switch n.Kind {
		case unstable.Table, unstable.ArrayTable:
			at = tableAt(root, keyOf(n), n.Kind == unstable.ArrayTable)
		case unstable.KeyValue:
			if err := setValue(at, n); err != nil {
				return nil, err
			}
		}
		if at == nil {
			return nil, errors.New("a table is a value elsewhere")
		}
	}
	return root, p.Error()
}

func keyOf(n *unstable.Node) []string {
	var out []string
	for it := n.Key(); it.Next(); {
		out = append(out, string(it.Node().Data))
	}
	return out
}

// tableAt gives the table of a key, made where it is not there; a list gets one
// more. nil: there is something else.
func tableAt(root map[string]any, key []string, list bool) map[string]any {
	at := root
	for i, k := range key {
		last := i == len(key)-1
		if last && list {
			have, _ := at[k].([]any)
			t := map[string]any{}
			at[k] = append(have, t)
			return t
		}
		switch v := at[k].(type) {
		case nil:
			t := map[string]any{}
			at[k] = t
			at = t
		case map[string]any:
			at = v
		case []any:
			t, ok := v[len(v)-1].(map[string]any)
			if !ok {
				return nil
			}
			at = t
		default:
			return nil
		}
	}
	return at
}

func setValue(at map[string]any, n *unstable.Node) error {
	key := keyOf(n)
	t := tableAt(at, key[:len(key)-1], false)
	if t == nil {
		return fmt.Errorf("%s is a value elsewhere", strings.Join(key, "."))
	}
	t[key[len(key)-1]] = valueOf(n.Value())
	return nil
}

func valueOf(n *unstable.Node) any {
	switch n.Kind {
	case unstable.Bool:
		return string(n.Data) == "true"
	case unstable.Array:
		list := []any{}
		for it := n.Children(); it.Next(); {
			list = append(list, valueOf(it.Node()))
		}
		return list
	case unstable.InlineTable:
		t := map[string]any{}
		for it := n.Children(); it.Next(); {
			if setValue(t, it.Node()) != nil {
				return nil
			}
		}
		return t
	}
	return string(n.Data)
}
