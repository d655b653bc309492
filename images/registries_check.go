package images

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// confValue says what a key of registries.conf is to be: what is something else would
// be passed over without a word, and another registry be asked.
type confValue struct {
	what string
	is   func(any) bool
}

func isText(v any) bool   { _, ok := v.(string); return ok }
func isSwitch(v any) bool { _, ok := v.(bool); return ok }
func isTable(v any) bool  { _, ok := v.(map[string]any); return ok }

// isPlace: a registry, or a part of one. What is an address, podman refuses as well: it would
// be the place of no image.
func isPlace(v any) bool { return isText(v) && !strings.Contains(stringIn(v), "://") }

// isPrefix: also *.DOMAIN, with nothing behind it.
func isPrefix(v any) bool {
	wild, ok := strings.CutPrefix(stringIn(v), "*")
	return isPlace(v) && !strings.Contains(wild, "*") && (!ok || strings.HasPrefix(wild, ".") && checkDomain(wild[1:]) == "" && !strings.ContainsAny(wild, ":["))
}

// isAliases: names without a tag or a digest, which the short name has.
func isAliases(v any) bool {
	table, ok := v.(map[string]any)
	for _, full := range table {
		name, text := full.(string)
		ref, err := ParseReference(name)
		ok = ok && text && (name == "" || err == nil && ref.Transport == Docker && !ref.Short && !strings.ContainsAny(name[strings.LastIndexByte(name, '/')+1:], ":@"))
	}
	return ok
}

func isListOf(is func(any) bool) func(any) bool {
	return func(v any) bool {
		list, ok := v.([]any)
		return ok && !slices.ContainsFunc(list, func(x any) bool { return !is(x) })
	}
}

func isOneOf(words ...string) func(any) bool {
	return func(v any) bool { s, ok := v.(string); return ok && slices.Contains(words, s) }
}

// What the keys of each table want. Functions: as variables they would be made at each start.
func confTop() map[string]confValue {
	return map[string]confValue{
		"unqualified-search-registries": {`a list of names, as ["docker.io"]`, isListOf(isPlace)},
		"short-name-mode":               {"enforcing, permissive or disabled", isOneOf("", "enforcing", "permissive", "disabled")},
		"aliases":                       {"a table, [aliases], of short names and whole ones without a tag", isAliases},
		"registry":                      {"a list of tables: [[registry]]", isListOf(isTable)},
		"registries":                    {"of version 1 of the format, which is read no more: [[registry]] and unqualified-search-registries are what it has now", func(any) bool { return false }},
	}
}

func confRegistry() map[string]confValue {
	return map[string]confValue{
		"prefix": {"a name, or *.DOMAIN for those below it", isPrefix}, "location": {"a name", isPlace},
		"insecure": {"true or false", isSwitch}, "blocked": {"true or false", isSwitch}, "mirror-by-digest-only": {"true or false", isSwitch},
		"mirror": {"a list of tables: [[registry.mirror]]", isListOf(isTable)},
	}
}

func confMirror() map[string]confValue {
	return map[string]confValue{
		"location": {"a name", isPlace}, "insecure": {"true or false", isSwitch},
		"pull-from-mirror": {"all, digest-only or tag-only", isOneOf("all", "digest-only", "tag-only")},
	}
}

// checkConf finds the first value that is not what its key wants. Keys that are not
// known may be of a newer version.
func checkConf(doc map[string]any) error {
	if err := checkKeys(doc, confTop()); err != nil {
		return err
	}
	for _, r := range tablesIn(doc["registry"]) {
		if err := checkKeys(r, confRegistry()); err != nil {
			return fmt.Errorf("[[registry]]: %w", err)
		}
		if placeIn(r["prefix"]) == "" && placeIn(r["location"]) == "" {
			return fmt.Errorf("[[registry]]: neither prefix nor location says which it is")
		}
		for _, m := range tablesIn(r["mirror"]) {
			if err := checkKeys(m, confMirror()); err != nil {
				return fmt.Errorf("[[registry.mirror]]: %w", err)
			}
		}
	}
	return nil
}

func checkKeys(table map[string]any, known map[string]confValue) error {
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if want, ok := known[key]; ok && !want.is(table[key]) {
			return fmt.Errorf("%s is %s", key, want.what)
		}
	}
	return nil
}

// permitted is how a registry may be talked to that nothing is pulled from: what is
// blocked not at all, and what is called insecure without TLS. The location is for pulling.
func permitted(ref Reference, a Access) (Access, error) {
	conf, err := readRegistries()
	if err != nil {
		return a, err
	}
	r, _ := conf.match(ref)
	switch {
	case r == nil:
	case r.blocked:
		return a, fail(nil, "%s is blocked by registries.conf", r.prefix)
	default:
		a = endpoint{insecure: r.insecure}.access(a)
	}
	return a, nil
}
