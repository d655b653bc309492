package engine

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"coracle/images"
	"coracle/internal/ctrlog"
	"coracle/spec"

	"github.com/opencontainers/go-digest"
)

// Filter chooses containers by KEY=VALUE words, as docker's and podman's --filter
// does: of several values of a key one must fit (of label all), and of several
// keys all. The zero Filter lets all pass.
type Filter struct{ conditions []condition }

type condition func(Container) bool

// Match says whether a container passes.
func (f Filter) Match(c Container) bool {
	for _, fits := range f.conditions {
		if !fits(c) {
			return false
		}
	}
	return true
}

// FilterWorld is what the words of a filter may refer to.
type FilterWorld struct {
	Container func(name string) (Container, error)
	Image     func(name string) (*images.Image, error)
	Networks  func() map[string][]string // by the containers' ids
	Now       time.Time
}

// Filter reads the words.
func (e *Engine) Filter(words []string) (Filter, error) {
	return ParseFilter(words, FilterWorld{Container: e.find, Image: e.lookupImage, Networks: e.Memberships, Now: time.Now()})
}

func (e *Engine) lookupImage(name string) (*images.Image, error) {
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	return store.Lookup(name)
}

// UnknownFilterError is a key that no filter has.
type UnknownFilterError struct {
	Key   string
	Known []string
}

func (e *UnknownFilterError) Error() string { return fmt.Sprintf("there is no filter %q", e.Key) }

// filterKeys are the filters of containers. Source: podman-ps(1), --filter.
func filterKeys() map[string]func(FilterWorld, []string) (condition, error) {
	ancestor := func(w FilterWorld, values []string) (condition, error) { return byImage(w, values) }
	before := byOther(func(c, other time.Time) bool { return c.Before(other) })
	since := byOther(func(c, other time.Time) bool { return c.After(other) })
	return map[string]func(FilterWorld, []string) (condition, error){
		"ancestor": ancestor, "image": ancestor,
		"annotation":     ofPairs(func(c Container) map[string]string { return c.Annotations }, false),
		"before":         before,
		"exited":         byExitCode,
		"health":         byHealth,
		"id":             byID,
		"label":          ofPairs(func(c Container) map[string]string { return c.Labels }, false),
		"label!":         ofPairs(func(c Container) map[string]string { return c.Labels }, true),
		"name":           byName,
		"network":        byNetwork,
		"restart-policy": byWord(func(c Container) []string { return []string{c.Restart.String(), cmp.Or(c.Restart.Name, "no")} }),
		"since":          since,
		"status":         byStatus,
		"until":          byMoment,
		"volume":         byVolume,
	}
}

// FilterKeys are the names of the filters, sorted.
func FilterKeys() []string { return slices.Sorted(maps.Keys(filterKeys())) }

// ParseFilter reads the words of --filter.
func ParseFilter(words []string, w FilterWorld) (Filter, error) {
	values := map[string][]string{}
	var keys []string
	for _, word := range words {
		key, value, found := strings.Cut(word, "=")
		switch {
		case !found:
			return Filter{}, &Error{Op: "filter by " + strconv.Quote(word), Err: errors.New("it has no value"), Help: "KEY=VALUE, as in --filter name=web"}
		case key == "pod":
			return Filter{}, &Error{Op: "filter by " + word, Err: errors.New("there are no pods")}
		case filterKeys()[key] == nil:
			return Filter{}, &UnknownFilterError{Key: key, Known: FilterKeys()}
		case values[key] == nil:
			keys = append(keys, key)
		}
		values[key] = append(values[key], value)
	}
	var f Filter
	for _, key := range keys {
		c, err := filterKeys()[key](w, values[key])
		if err != nil {
			return Filter{}, fmt.Errorf("filter by %s: %w", key, err)
		}
		f.conditions = append(f.conditions, c)
	}
	return f, nil
}

// patterns are regular expressions, which may match any part.
func patterns(values []string) (func(string) bool, error) {
	var all []*regexp.Regexp
	for _, v := range values {
		re, err := regexp.Compile(v)
		if err != nil {
			return nil, fmt.Errorf("%q is no regular expression: %w", v, err)
		}
		all = append(all, re)
	}
	return func(s string) bool {
		return slices.ContainsFunc(all, func(re *regexp.Regexp) bool { return re.MatchString(s) })
	}, nil
}

// byName takes docker's names with a slash before them, too.
func byName(_ FilterWorld, values []string) (condition, error) {
	fits, err := patterns(values)
	return func(c Container) bool { return fits(c.Name) || fits("/"+c.Name) }, err
}

// byID takes beginnings of ids, and regular expressions.
func byID(_ FilterWorld, values []string) (condition, error) {
	isHex := func(v string) bool { return v != "" && strings.Trim(v, "0123456789abcdef") == "" }
	var plain []string
	for _, v := range values {
		if isHex(v) {
			plain = append(plain, v)
		}
	}
	fits, err := patterns(slices.DeleteFunc(slices.Clone(values), isHex))
	return func(c Container) bool {
		return slices.ContainsFunc(plain, func(v string) bool { return strings.HasPrefix(c.ID, v) }) || fits(c.ID)
	}, err
}

// ofPairs takes KEY and KEY=VALUE; without is the reverse. All that are given
// must fit, which is docker's and podman's rule for labels.
func ofPairs(pairs func(Container) map[string]string, without bool) func(FilterWorld, []string) (condition, error) {
	return func(_ FilterWorld, values []string) (condition, error) {
		return func(c Container) bool {
			for _, v := range values {
				key, want, valued := strings.Cut(v, "=")
				got, has := pairs(c)[key]
				if (has && (!valued || got == want)) == without {
					return false
				}
			}
			return true
		}, nil
	}
}

func byWord(words func(Container) []string) func(FilterWorld, []string) (condition, error) {
	return func(_ FilterWorld, values []string) (condition, error) {
		return func(c Container) bool { return wants(values, words(c)...) }, nil
	}
}

// byNetwork takes names of networks, all that a container is part of, and modes of
// --network.
func byNetwork(w FilterWorld, values []string) (condition, error) {
	members := w.Networks()
	return func(c Container) bool { return wants(values, c.NetworkWords(members)...) }, nil
}

// StatusWords are the states that --filter status= knows. Some never occur
// here, so that nothing has them.
func StatusWords() []string {
	return []string{"configured", "created", "dead", "exited", "initialized", "paused", "removing", "restarting", "running", "stopped", "stopping", "unknown"}
}

func byStatus(_ FilterWorld, values []string) (condition, error) {
	for _, v := range values {
		if !slices.Contains(StatusWords(), v) {
			return nil, &Error{Err: fmt.Errorf("there is no state %q", v), Help: strings.Join(StatusWords(), ", ")}
		}
	}
	return func(c Container) bool { return wants(values, c.stateWords()...) }, nil
}

// HealthWords are the states of health that --filter health= knows; none is that
// of a container without a check.
func HealthWords() []string { return []string{"healthy", "none", "starting", "unhealthy"} }

func byHealth(_ FilterWorld, values []string) (condition, error) {
	for _, v := range values {
		if !slices.Contains(HealthWords(), v) {
			return nil, &Error{Err: fmt.Errorf("there is no state of health %q", v), Help: strings.Join(HealthWords(), ", ")}
		}
	}
	return func(c Container) bool { return wants(values, cmp.Or(c.Health, "none")) }, nil
}

func byExitCode(_ FilterWorld, values []string) (condition, error) {
	var codes []int
	for _, v := range values {
		n, err := strconv.ParseUint(v, 10, 8)
		if err != nil {
			return nil, &Error{Err: fmt.Errorf("%q is no exit code", v), Help: "a number from 0 to 255"}
		}
		codes = append(codes, int(n))
	}
	return func(c Container) bool { return c.Status == Stopped && slices.Contains(codes, c.ExitCode) }, nil
}

// byVolume takes names of volumes, and sources and destinations of all that is
// mounted, as podman does.
func byVolume(_ FilterWorld, values []string) (condition, error) {
	return func(c Container) bool {
		return slices.ContainsFunc(c.Mounts, func(m spec.Mounted) bool {
			return m.Name != "" && wants(values, m.Name) || wants(values, m.Source, m.Destination)
		})
	}, nil
}

// byOther compares with when other containers were made.
func byOther(fits func(c, other time.Time) bool) func(FilterWorld, []string) (condition, error) {
	return func(w FilterWorld, values []string) (condition, error) {
		var others []time.Time
		for _, v := range values {
			c, err := w.Container(v)
			if err != nil {
				return nil, err
			}
			others = append(others, c.Created)
		}
		return func(c Container) bool {
			return slices.ContainsFunc(others, func(other time.Time) bool { return fits(c.Created, other) })
		}, nil
	}
}

func byMoment(w FilterWorld, values []string) (condition, error) {
	var last time.Time
	for _, v := range values {
		t, err := ctrlog.ParseTime(v, w.Now, true)
		if err != nil {
			return nil, err
		}
		if t.After(last) {
			last = t
		}
	}
	return func(c Container) bool { return c.Created.Before(last) }, nil
}

// byImage takes names and ids of images: containers of them and of images that
// have all their layers below their own. An image that is gone is known by what
// its containers were made with.
func byImage(w FilterWorld, values []string) (condition, error) {
	tops := map[digest.Digest]bool{}
	ids := map[digest.Digest]bool{}
	for _, v := range values {
		if img, err := w.Image(v); err == nil {
			ids[img.ID] = true
			if n := len(img.ChainIDs); n > 0 {
				tops[img.ChainIDs[n-1]] = true
			}
		} else if !errors.Is(err, images.ErrNotFound) && !errors.Is(err, images.ErrInvalidReference) { // else it may be what a container was made with
			return nil, err
		}
	}
	descends := map[digest.Digest]bool{}
	return func(c Container) bool {
		if ids[c.ImageID] || slices.ContainsFunc(values, c.isOf) {
			return true
		}
		if c.ImageID == "" || len(tops) == 0 {
			return false
		}
		known, ok := descends[c.ImageID]
		if !ok {
			if img, err := w.Image(c.ImageID.String()); err == nil {
				known = slices.ContainsFunc(img.ChainIDs, func(id digest.Digest) bool { return tops[id] })
			}
			descends[c.ImageID] = known
		}
		return known
	}, nil
}

// isOf says whether the container was made of an image by this name, or by
// the beginning of this id.
func (c Container) isOf(image string) bool {
	if image == c.Image {
		return true
	}
	hex := strings.TrimPrefix(image, "sha256:")
	return len(hex) >= 3 && c.ImageID != "" && strings.HasPrefix(c.ImageID.Encoded(), hex)
}

// NetworkWord is the kind of network that the container was made with.
func (c Container) NetworkWord() string { return cmp.Or(c.Network, "none") }

// NetworkWords are what it is part of; members are Memberships.
func (c Container) NetworkWords(members map[string][]string) []string {
	if named(c.Network) {
		return members[c.ID] // it may have left the one that it was made with
	}
	return append([]string{c.NetworkWord()}, members[c.ID]...)
}
