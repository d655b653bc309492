package cli

import (
	"fmt"
	"slices"
	"strings"
)

// choices looks at the values of flags and arguments that take one of a few, and
// says which was likely meant.
func (p *parser) choices(s split) error {
	check := func(f field, name, value string) error {
		enum := f.tag.Get("enum")
		if list := strings.Split(enum, ","); enum != "" && !slices.Contains(list, value) {
			named := slices.DeleteFunc(list, func(c string) bool { return c == "" })
			e := &usageError{msg: fmt.Sprintf("%s must be one of %s, and not %q", name, strings.Join(named, ", "), value)}
			if near := nearest(value, named); near != "" {
				e.hint = fmt.Sprintf("did you mean %s?", near)
			}
			return e
		}
		return nil
	}
	args := s.args
	for _, f := range p.fields {
		if !f.isArg || len(args) == 0 || f.value.Kind().String() == "slice" {
			continue
		}
		if err := check(f, f.tag.Get("name"), args[0]); err != nil {
			return err
		}
		args = args[1:]
	}
	for _, word := range s.flags {
		name, value, _ := strings.Cut(word[2:], "=")
		i := slices.IndexFunc(p.fields, func(f field) bool { return f.isCalled(name) })
		if i < 0 {
			continue
		}
		if err := check(p.fields[i], "--"+name, value); err != nil {
			return err
		}
	}
	return nil
}

// nearest is the name that typed was most likely meant to be, "" when none
// is close: at most a third of its letters may be wrong.
func nearest(typed string, names []string) string {
	best, bestDistance := "", max(1, len(typed)/3)+1
	for _, name := range names {
		d := distance(typed, name)
		if len(typed) >= 3 && strings.HasPrefix(name, typed) {
			d = 1
		}
		if d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// distance counts the letters to add, drop, change or swap with their
// neighbour to get from a to b.
func distance(a, b string) int {
	before := make([]int, len(b)+1)
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
