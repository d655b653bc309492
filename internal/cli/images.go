package cli

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"coracle/images"
)

type imagesCmd struct {
	All       bool     `short:"a" help:"Also images without a name: always so; accepted for docker's sake."`
	Quiet     bool     `short:"q" help:"Print ids only."`
	Digests   bool     `help:"Show digests."`
	NoTrunc   bool     `name:"no-trunc" help:"Show whole ids."`
	NoHeading bool     `name:"noheading" short:"n" help:"No heading."`
	Format    string   `placeholder:"FMT" help:"table, json or a Go template."`
	Filter    []string `short:"f" placeholder:"KEY=VALUE" help:"reference, dangling, label, before, since, until, id or digest."`
	Sort      string   `placeholder:"KEY" enum:"created,id,repository,size,tag" default:"created" help:"created, id, repository, size or tag."`
	Tree      bool     `help:"Show the platforms of each image."`

	Name string `arg:"" name:"NAME" optional:""`
}

func (*imagesCmd) Help() string {
	return `NAME, with * and ? if you like, picks the images to list.

  coracle images --filter reference='alpine*'
  coracle images --format '{{.ID}} {{.Repository}}:{{.Tag}}'`
}

// imageRow is one name of an image; an image with several has as many rows.
type imageRow struct {
	Repository   string
	Tag          string
	ID           string `json:"Id"`
	Digest       string
	Names        []string
	CreatedAt    string
	CreatedSince string
	Size         string
	Bytes        int64
	ReadOnly     bool   // in an additional store
	Store        string // which
}

func (c *imagesCmd) run(a *app) (int, error) {
	if c.Tree && (c.Quiet || c.Format != "") {
		return exitOurs, &usageError{msg: "images: --tree has a form of its own, without --quiet and --format"}
	}
	keep, err := c.filter(a.engine)
	if err != nil {
		return exitOurs, err
	}
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	all, err := e.Images()
	if err != nil {
		return exitOurs, err
	}
	slices.SortStableFunc(all, func(x, y images.Listed) int { return y.Created.Compare(x.Created) })
	var rows []imageRow
	var kept []images.Listed
	now := time.Now()
	for _, img := range all {
		before := len(rows)
		for _, row := range c.rows(img, now) {
			if keep(img, row) {
				rows = append(rows, row)
			}
		}
		if len(rows) > before {
			kept = append(kept, img)
		}
	}
	if c.Tree {
		return 0, c.printTree(a, e, kept)
	}
	c.sortRows(rows)
	if c.Quiet {
		printIDs(a, rows)
		return 0, nil
	}
	shared := slices.ContainsFunc(rows, func(r imageRow) bool { return r.ReadOnly })
	return 0, c.listing(shared).print(a, c.Format, rows)
}

func printIDs(a *app, rows []imageRow) {
	var seen []string
	for _, row := range rows {
		if !slices.Contains(seen, row.ID) {
			seen = append(seen, row.ID)
			fmt.Fprintln(a.out, row.ID)
		}
	}
}

func (c *imagesCmd) rows(img images.Listed, now time.Time) []imageRow {
	row := imageRow{
		Repository:   "<none>",
		Tag:          "<none>",
		ID:           shortID(img.ID.String(), c.NoTrunc || c.Format == "json"),
		Digest:       img.Digest.String(),
		Names:        img.Names,
		CreatedAt:    img.Created.UTC().Format(time.RFC3339),
		CreatedSince: humanAge(now, img.Created),
		Size:         humanSize(img.Size),
		Bytes:        img.Size,
		ReadOnly:     img.Store != "",
		Store:        img.Store,
	}
	if len(img.Names) == 0 {
		return []imageRow{row}
	}
	var rows []imageRow
	for _, name := range img.Names {
		repository, tag, digest := splitName(name)
		r := row
		r.Repository = repository
		if tag != "" {
			r.Tag = tag
		}
		if digest != "" {
			r.Digest = digest
		}
		rows = append(rows, r)
	}
	return rows
}

// listing has podman's column R/O where there is an image of an additional store.
func (c *imagesCmd) listing(shared bool) listing[imageRow] {
	columns := []column{
		{"Repository", "REPOSITORY", true},
		{"Tag", "TAG", true},
		{"Digest", "DIGEST", false},
		{"ID", "IMAGE ID", false},
		{"CreatedSince", "CREATED", false},
		{"Size", "SIZE", false},
	}
	if !c.Digests && (c.Format == "" || c.Format == "table") {
		columns = slices.Delete(columns, 2, 3)
	}
	if shared {
		columns = append(columns, column{"ReadOnly", "R/O", false})
	}
	return listing[imageRow]{
		columns:   columns,
		noHeading: c.NoHeading,
		cells: func(r imageRow) []string {
			cells := []string{r.Repository, r.Tag, r.Digest, r.ID, r.CreatedSince, r.Size}
			if !c.Digests {
				cells = slices.Delete(cells, 2, 3)
			}
			if shared {
				cells = append(cells, strconv.FormatBool(r.ReadOnly))
			}
			return cells
		},
		clean: func(r imageRow) imageRow {
			r.Repository, r.Tag, r.Digest = visible(r.Repository), visible(r.Tag), visible(r.Digest)
			r.Names = slices.Clone(r.Names)
			for i := range r.Names {
				r.Names[i] = visible(r.Names[i])
			}
			return r
		},
	}
}

// matchesName matches the pattern with all the ways in which one may write
// the name: with and without tag, registry and library/.
func matchesName(pattern string, r imageRow) bool {
	if r.Repository == "<none>" {
		return false
	}
	forms := []string{r.Repository}
	if rest, ok := strings.CutPrefix(r.Repository, "docker.io/"); ok {
		forms = append(forms, rest, strings.TrimPrefix(rest, "library/"))
	}
	forms = append(forms, path.Base(r.Repository))
	for _, form := range forms {
		for _, full := range []string{form, form + ":" + r.Tag, form + "@" + r.Digest} {
			if ok, _ := path.Match(pattern, full); ok {
				return true
			}
		}
	}
	return false
}
