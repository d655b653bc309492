package cli

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"coracle/images"
)

func itoa64(n int64) string { return strconv.FormatInt(n, 10) }

// imageTest says whether a name of an image is to be listed.
type imageTest func(img images.Listed, r imageRow) bool

// filter makes one predicate of NAME and all --filter.
func (c *imagesCmd) filter(all func() (engineAPI, error)) (imageTest, error) {
	var tests []imageTest                  // all of which must fit
	alternatives := map[string]imageTest{} // of several values of a key one
	for _, f := range c.Filter {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			return nil, &usageError{msg: fmt.Sprintf("images: the filter %q is not KEY=VALUE", f), hint: imageFilterKeys}
		}
		t, err := imageFilter(key, value, all)
		if err != nil {
			return nil, err
		}
		switch key {
		case "reference", "id", "digest":
			alternatives[key] = either(alternatives[key], t)
		default:
			tests = append(tests, t)
		}
	}
	for _, t := range alternatives {
		tests = append(tests, t)
	}
	if c.Name != "" {
		t, err := imageFilter("reference", c.Name, all)
		if err != nil {
			return nil, err
		}
		tests = append(tests, t)
	}
	return func(img images.Listed, r imageRow) bool {
		return !slices.ContainsFunc(tests, func(t imageTest) bool { return !t(img, r) })
	}, nil
}

func either(a, b imageTest) imageTest {
	if a == nil {
		return b
	}
	return func(img images.Listed, r imageRow) bool { return a(img, r) || b(img, r) }
}

const imageFilterKeys = "reference=, dangling=, label=, before=, since=, until=, id= and digest= are understood"

func imageFilter(key, value string, open func() (engineAPI, error)) (imageTest, error) {
	switch key {
	case "reference":
		if _, err := path.Match(value, ""); err != nil {
			return nil, &usageError{msg: fmt.Sprintf("images: the pattern %q: %v", value, err), hint: "* ? and [a-z] are understood"}
		}
		return func(_ images.Listed, r imageRow) bool { return matchesName(value, r) }, nil
	case "dangling":
		if value != "true" && value != "false" {
			return nil, &usageError{msg: fmt.Sprintf("images: the filter dangling=%s: it is either true or false", value)}
		}
		return func(_ images.Listed, r imageRow) bool { return (r.Repository == "<none>") == (value == "true") }, nil
	case "id":
		want := strings.TrimPrefix(value, "sha256:")
		return func(img images.Listed, _ imageRow) bool { return strings.HasPrefix(img.ID.Encoded(), want) }, nil
	case "digest":
		want := strings.TrimPrefix(value, "sha256:")
		return func(img images.Listed, _ imageRow) bool {
			return strings.HasPrefix(img.Digest.Encoded(), want) || strings.HasPrefix(img.Source.Encoded(), want)
		}, nil
	case "label":
		name, want, has := strings.Cut(value, "=")
		return func(img images.Listed, _ imageRow) bool {
			got, ok := img.Labels[name]
			return ok && (!has || got == want)
		}, nil
	case "until":
		at, err := pastTime(value)
		return func(img images.Listed, _ imageRow) bool { return img.Created.Before(at) }, err
	case "before", "since", "after":
		return besideImage(key, value, open)
	}
	return nil, &usageError{msg: fmt.Sprintf("images: unknown filter %q", key),
		hint: imageFilterKeys}
}

// pastTime reads a time, or how long ago it was.
func pastTime(value string) (time.Time, error) {
	if d, err := time.ParseDuration(value); err == nil {
		return time.Now().Add(-d), nil
	}
	if n, err := strconv.ParseInt(value, 10, 64); err == nil {
		return time.Unix(n, 0), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, value, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, &usageError{msg: fmt.Sprintf("images: the filter until=%s: it is no time", value), hint: "10m, 24h, 2026-01-31, 2026-01-31T12:00:00Z or seconds since 1970"}
}

// besideImage compares with when another image was made.
func besideImage(key, name string, open func() (engineAPI, error)) (imageTest, error) {
	e, err := open()
	if err != nil {
		return nil, err
	}
	other, err := e.Image(name)
	if err != nil {
		return nil, doing("images", key+"="+name, err)
	}
	return func(img images.Listed, _ imageRow) bool {
		if key == "before" {
			return img.Created.Before(other.Created)
		}
		return img.Created.After(other.Created)
	}, nil
}

// sortRows orders by what --sort says; the newest stands first without it.
func (c *imagesCmd) sortRows(rows []imageRow) {
	slices.SortStableFunc(rows, func(x, y imageRow) int {
		switch c.Sort {
		case "id":
			return cmp.Compare(x.ID, y.ID)
		case "repository":
			return cmp.Compare(x.Repository, y.Repository)
		case "size":
			return cmp.Compare(x.Bytes, y.Bytes)
		case "tag":
			return cmp.Compare(x.Tag, y.Tag)
		}
		return 0
	})
}

// printTree shows each image with its names above the platforms that it has.
func (c *imagesCmd) printTree(a *app, e engineAPI, list []images.Listed) error {
	t := table{titles: []string{"IMAGE", "ID", "SIZE", ""}, flex: []bool{true}, noHeading: c.NoHeading}
	for _, img := range list {
		names := img.Names
		if len(names) == 0 {
			names = []string{"<none>"}
		}
		for _, n := range names {
			t.rows = append(t.rows, []string{n, shortID(img.ID.String(), c.NoTrunc), humanSize(img.Size), ""})
		}
		full, err := e.Image(append(img.Names, img.ID.String())[0])
		if err != nil {
			return err
		}
		variants, err := e.Variants(full)
		if err != nil {
			return err
		}
		for i, v := range variants {
			mark, here := "├─ ", ""
			if i == len(variants)-1 {
				mark = "└─ "
			}
			if !v.Here {
				here = "not here"
			}
			t.rows = append(t.rows, []string{mark + cmp.Or(v.Platform, "(no image)"), shortID(v.Digest.String(), c.NoTrunc), humanSize(v.Size), here})
		}
	}
	t.write(a.out, a.width())
	return nil
}
