package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

const (
	helpWidth   = 80
	helpColumn  = 32 // where the explanations start
	globalGroup = "Global flags"
)

// writeOverview is `coracle help`.
func writeOverview(w io.Writer) {
	fmt.Fprint(w, `coracle runs containers from OCI images, without root and for one user.

Usage: coracle [flags] COMMAND [flags] [arguments]
`)
	writeContents(w, append(commands(), ociEntry()))
	var all struct {
		Globals globals `embed:""`
		Version bool    `group:"Global flags" short:"v" help:"Show the version in one line."`
		Help    bool    `group:"Global flags" short:"h" help:"Show this, or with a command, its flags."`
	}
	if k, err := kong.New(&all, kong.NoDefaultHelp()); err == nil {
		writeFlags(w, k.Model.Flags)
	}
	fmt.Fprint(w, `
"coracle help COMMAND" explains a command, coracle(1) all of them. Long forms
(container run, image ls) are understood, too. Defaults: coracle.toml(5).
`)
}

// writeHelp is `coracle COMMAND --help`.
func (p *parser) writeHelp(w io.Writer) error {
	k, err := p.grammar()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "Usage: coracle %s %s\n\n%s%s.\n", p.entry.name, p.entry.usage,
		strings.ToUpper(p.entry.summary[:1]), p.entry.summary[1:])
	if h, ok := p.cmd.(interface{ Help() string }); ok {
		fmt.Fprintf(w, "\n%s\n", h.Help())
	}
	if others := otherWords(p.entry.name, commands()); len(others) > 0 && p.prog == "coracle" {
		fmt.Fprintf(w, "\nOther words for it: %s.\n", strings.Join(others, ", "))
	}
	var own []*kong.Flag
	for _, f := range k.Model.Flags {
		if f.Group == nil || f.Group.Key != globalGroup {
			own = append(own, f)
		}
	}
	writeFlags(w, own)
	fmt.Fprint(w, "\nThe flags of \"coracle help\" are taken here too.\n")
	return nil
}

// grammar is the whole grammar of the command.
func (p *parser) grammar() (*kong.Kong, error) {
	k, err := kong.New(p.cmd, kong.Name("coracle "+p.entry.name), kong.NoDefaultHelp(), kong.Embed(p.global), plainStrings())
	if err != nil {
		return nil, fmt.Errorf("build the grammar of %q: %w", p.entry.name, err)
	}
	return k, nil
}

// writeFlags prints the flags under the headings of their groups.
func writeFlags(w io.Writer, flags []*kong.Flag) {
	heading := ""
	for _, f := range flags {
		title := "Flags"
		if f.Group != nil {
			title = f.Group.Title
		}
		if title != heading {
			heading = title
			fmt.Fprintf(w, "\n%s:\n", title)
		}
		writeFlag(w, f)
	}
}

func writeFlag(w io.Writer, f *kong.Flag) {
	left := "      "
	if f.Short != 0 {
		left = fmt.Sprintf("  -%c, ", f.Short)
	}
	left += "--" + f.Name
	switch {
	case !f.IsBool():
		left += " " + f.PlaceHolder
	case f.Tag.PlaceHolder != "": // true unless --name=false is said
		left += "=" + f.Tag.PlaceHolder
	}
	for i, line := range wrap(f.Help, helpWidth-helpColumn) {
		switch {
		case i == 0 && len(left) > helpColumn-2:
			fmt.Fprintf(w, "%s\n%*s%s\n", left, helpColumn, "", line)
		case i == 0:
			fmt.Fprintf(w, "%-*s%s\n", helpColumn, left, line)
		default:
			fmt.Fprintf(w, "%*s%s\n", helpColumn, "", line)
		}
	}
}

// wrap breaks text into lines of at most width columns.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}
