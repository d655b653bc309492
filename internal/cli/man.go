package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Man pages are made from the commands: `coracle __man DIR` writes a page for
// each, coracle(1), coracle-oci(1) and coracle.toml(5). Those in docs/man are held
// to the code by a test.

// manVerb is the hidden command behind `make man`.
const manVerb = "__man"

// manDate is the date of the pages: of the last version whose commands changed.
// It is no clock's, so that the same program writes the same pages.
const manDate = "2026-11-26"

func (a *app) manMain(args []string) (int, error) {
	if len(args) != 1 {
		return exitOurs, &usageError{msg: "man: a directory is needed", hint: "coracle " + manVerb + " DIR"}
	}
	for name, text := range manPages() {
		if err := os.WriteFile(filepath.Join(args[0], name), []byte(text), 0o644); err != nil { //nolint:gosec // pages are for everybody
			return exitOurs, fmt.Errorf("write the man page: %w", err)
		}
	}
	return 0, nil
}

// manPages are the pages by their file names.
func manPages() map[string]string {
	pages := map[string]string{
		"coracle.1":      overviewPage(),
		"coracle-oci.1":  ociPage(),
		"coracle.toml.5": configPage(),
	}
	for _, e := range commands() {
		name := pageName(e)
		pages[name+".1"] = commandPage(name, e)
	}
	return pages
}

func pageName(e entry) string { return "coracle-" + strings.ReplaceAll(e.name, " ", "-") }

// page is a man page that is being written, in the macros of man(7).
type page struct {
	strings.Builder
	heading bool // the last line is one
}

func newPage(name, section, summary string) *page {
	p := &page{}
	p.line(`.\" Made from the program by "make man": change it there.`)
	p.line(fmt.Sprintf(".TH %s %s %s coracle", manQuote(strings.ToUpper(name)), section, manDate))
	p.section("NAME")
	p.line(manText(name) + ` \-`)
	p.plain(summary)
	return p
}

func (p *page) line(text string) {
	p.WriteString(text + "\n")
	p.heading = strings.HasPrefix(text, ".SH") || strings.HasPrefix(text, ".SS")
}

func (p *page) section(title string) { p.line(".SH " + manQuote(title)) }

// paragraph begins one; behind a heading there is one already.
func (p *page) paragraph() {
	if !p.heading {
		p.line(".PP")
	}
}

// text is a paragraph.
func (p *page) text(words string) { p.paragraph(); p.plain(words) }

// plain is words in lines, a new one for each sentence.
func (p *page) plain(words string) {
	words = strings.Join(strings.Fields(words), " ")
	for sentence := range strings.SplitSeq(words, ". ") {
		if !strings.HasSuffix(words, sentence) {
			sentence += "."
		}
		for _, line := range wrap(sentence, 60) {
			p.line(manText(line))
		}
	}
}

// term is an item of a list: what it is called in bold, then what it does. kind
// is the value of a flag, in italics.
func (p *page) term(names []string, kind, about string) {
	p.line(".TP")
	bold := make([]string, len(names))
	for i, n := range names {
		bold[i] = `\fB` + manText(n) + `\fR`
	}
	head := strings.Join(bold, ", ")
	if value, ok := strings.CutPrefix(kind, "="); ok {
		head += `=\fI` + manText(value) + `\fR`
	} else if kind != "" {
		head += ` \fI` + manText(kind) + `\fR`
	}
	p.line(head)
	p.plain(about)
}

// example is a block that is kept as it is.
func (p *page) example(lines []string) {
	p.paragraph()
	p.line(".RS 2\n.nf")
	for _, l := range lines {
		p.line(manText(l))
	}
	p.line(".fi\n.RE")
}

// prose prints a help text: paragraphs, with what is indented as examples.
func (p *page) prose(text string) {
	var words, block []string
	flush := func() {
		if len(words) > 0 {
			p.text(strings.Join(words, "\n"))
		}
		if len(block) > 0 {
			p.example(block)
		}
		words, block = nil, nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "":
			flush()
		case strings.HasPrefix(line, "  "):
			if len(words) > 0 {
				flush()
			}
			block = append(block, strings.TrimPrefix(line, "  "))
		default:
			if len(block) > 0 {
				flush()
			}
			words = append(words, line)
		}
	}
	flush()
}

// manText keeps roff from reading a text as requests.
func manText(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, `"`, `\(dq`).Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	var b strings.Builder
	for _, r := range text {
		if r < 128 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\[u%04X]`, r)
		}
	}
	return b.String()
}

// manQuote is an argument of a macro.
func manQuote(text string) string { return `"` + manText(text) + `"` }

// flagTerms lists flags under the headings of their groups.
func (p *page) flagTerms(fields []field) {
	group := ""
	for _, f := range fields {
		if f.isArg {
			continue
		}
		if f.group != group && f.group != "" {
			group = f.group
			p.line(".SS " + manQuote(group))
		}
		var names []string
		if f.short != "" {
			names = append(names, "-"+f.short)
		}
		names = append(names, "--"+f.name)
		for _, other := range f.aliases {
			names = append(names, "--"+other)
		}
		p.term(names, f.valueName(), f.manual())
	}
}

// valueName is what the help calls the flag's value.
func (f field) valueName() string {
	name := f.tag.Get("placeholder")
	switch {
	case f.isBool && name != "":
		return "=" + name
	case f.isBool:
		return ""
	case name == "":
		return strings.ToUpper(f.name)
	}
	return name
}

// manual is the flag's help with what its tag says besides.
func (f field) manual() string {
	text := f.about() + "."
	if word := f.tag.Get("default"); word != "" && !strings.Contains(text, word) {
		text += " Default: " + word + "."
	} else if word != "" && !f.isBool && !strings.Contains(text, "default") {
		text += " Default: " + word + "."
	}
	if f.value.IsValid() && f.value.Kind().String() == "slice" {
		text += " May be given several times."
	}
	return text
}

func (p *page) seeAlso(pages []string) {
	p.section("SEE ALSO")
	slices.Sort(pages)
	for i, name := range slices.Compact(pages) {
		base, section := name, "1"
		if b, ok := strings.CutSuffix(name, ".5"); ok {
			base, section = b, "5"
		}
		comma := ","
		if i == len(slices.Compact(pages))-1 {
			comma = ""
		}
		p.line(fmt.Sprintf(".BR %s (%s)%s", manText(base), section, comma))
	}
}
