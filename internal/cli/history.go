package cli

import (
	"time"

	"coracle/images"
)

type historyCmd struct {
	Format    string `placeholder:"FMT" help:"table, json or a Go template."`
	Human     bool   `short:"H" default:"true" placeholder:"false" help:"With --human=false sizes are bytes and times whole."`
	NoTrunc   bool   `name:"no-trunc" help:"Show all of ids and commands."`
	NoHeading bool   `name:"noheading" short:"n" help:"No heading."`
	Quiet     bool   `short:"q" help:"Print ids only."`

	Image string `arg:"" name:"IMAGE"`
}

func (*historyCmd) Help() string {
	return `Lists how an image came to be, the newest step first. Sizes are those of the
layers as they are stored.

  coracle history --format '{{.CreatedBy}}' debian`
}

func (*historyCmd) refused(name string) (refusal, bool) {
	return findRefusal([]refusal{{flags: "platform", reason: "an image is of one platform"}}, name)
}

// stepRow is a step as it is listed.
type stepRow struct {
	ID           string `json:"id"`
	Created      string `json:"created"`
	CreatedSince string `json:"-"`
	CreatedAt    string `json:"-"`
	CreatedBy    string
	Size         string `json:"-"`
	Bytes        int64  `json:"size"`
	Comment      string `json:"comment"`
}

func (c *historyCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	img, err := e.Image(c.Image)
	if err != nil {
		return exitOurs, doing("history", c.Image, err)
	}
	now := time.Now()
	var rows []stepRow
	for i, s := range img.History() {
		rows = append(rows, c.row(img, i, s, now))
	}
	if c.Quiet {
		c.Format, c.NoHeading = "{{.ID}}", true
	}
	return 0, c.listing().print(a, c.Format, rows)
}

// row: only the newest step has an id, as with docker and podman; what was
// between is in no store.
func (c *historyCmd) row(img *images.Image, i int, s images.Step, now time.Time) stepRow {
	r := stepRow{ID: "<missing>", CreatedBy: s.CreatedBy, Comment: s.Comment, Bytes: s.Size, Size: humanSize(s.Size), CreatedSince: humanAge(now, s.Created)}
	if i == 0 {
		r.ID = shortID(img.ID.String(), c.NoTrunc || c.Format == "json")
	}
	if !s.Created.IsZero() {
		r.Created = s.Created.UTC().Format(time.RFC3339)
	}
	r.CreatedAt = r.Created
	if !c.Human {
		r.CreatedSince, r.Size = r.Created, itoa64(s.Size)
	}
	if !c.NoTrunc && c.Format != "json" {
		r.CreatedBy = cut(visible(r.CreatedBy), 45)
	}
	return r
}

func (c *historyCmd) listing() listing[stepRow] {
	return listing[stepRow]{
		columns:   []column{{"ID", "ID", false}, {"CreatedSince", "CREATED", false}, {"CreatedBy", "CREATED BY", true}, {"Size", "SIZE", false}, {"Comment", "COMMENT", true}},
		noHeading: c.NoHeading,
		cells: func(r stepRow) []string {
			return []string{r.ID, r.CreatedSince, r.CreatedBy, r.Size, r.Comment}
		},
		clean: func(r stepRow) stepRow {
			r.CreatedBy, r.Comment = visible(r.CreatedBy), visible(r.Comment)
			return r
		},
	}
}
