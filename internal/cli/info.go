package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

type infoCmd struct {
	Format string `short:"f" placeholder:"FMT" help:"json or a Go template."`
}

func (*infoCmd) Help() string {
	return `  coracle info --format json`
}

func (c *infoCmd) run(a *app) (int, error) {
	e, err := a.engine()
	if err != nil {
		return exitOurs, err
	}
	ctx, stop := interruptible()
	defer stop()
	info, err := e.Info(ctx)
	if err != nil {
		return exitOurs, err
	}
	doc, err := json.Marshal(info)
	if err != nil {
		return exitOurs, fmt.Errorf("write the information: %w", err)
	}
	var bad error
	err = printDocument(a, c.Format, info, func() { bad = writeOutline(a.out, doc) })
	if err == nil {
		err = bad
	}
	return 0, err
}

// writeOutline prints a JSON object as indented `key: value` lines, in the
// document's order.
func writeOutline(w io.Writer, doc []byte) error {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	return outlineValue(w, dec, 0, "")
}

func outlineValue(w io.Writer, dec *json.Decoder, depth int, label string) error {
	tok, err := dec.Token()
	if err != nil {
		return fmt.Errorf("read the document: %w", err)
	}
	indent := strings.Repeat("  ", max(0, depth-1))
	open, nested := tok.(json.Delim)
	if !nested {
		fmt.Fprintf(w, "%s%s %s\n", indent, label, visible(fmt.Sprint(orNone(tok))))
		return nil
	}
	if !dec.More() {
		fmt.Fprintf(w, "%s%s none\n", indent, label)
	} else if label != "" {
		fmt.Fprintf(w, "%s%s\n", indent, label)
	}
	for dec.More() {
		inner := "-"
		if open == '{' {
			key, err := dec.Token()
			if err != nil {
				return fmt.Errorf("read the document: %w", err)
			}
			inner = visible(fmt.Sprint(key)) + ":"
		}
		if err := outlineValue(w, dec, depth+1, inner); err != nil {
			return err
		}
	}
	_, err = dec.Token() // the closing bracket
	return err
}

func orNone(tok json.Token) any {
	if tok == nil || tok == "" {
		return "none"
	}
	return tok
}
