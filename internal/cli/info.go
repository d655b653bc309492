package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

type infoCmd struct {
	Format string `short:"f" placeholder:"FMT" help:"json or a Go template."`
	All    bool   `short:"a" help:"Also the defaults of all flags of all commands."`
}

func (*infoCmd) Help() string {
	return `"config" says for each default which file and line it comes from.

  coracle info --format json
  coracle info --all | grep run.network`
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
	if c.Format != "" && isLink(a.name) {
		return 0, a.printPeer(c.Format, a.peerInfo(info))
	}
	doc, err := json.Marshal(info)
	if err != nil {
		return exitOurs, fmt.Errorf("write the information: %w", err)
	}
	var bad error
	whole := infoDocument{info, a.configInfo(info, c.All)}
	err = printDocument(a, c.Format, whole, func() {
		bad = writeOutline(a.out, doc)
		whole.Config.write(a)
	})
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
	root, err := readNode(dec)
	if err != nil {
		return fmt.Errorf("read the document: %w", err)
	}
	for i, inner := range root.inner {
		inner.write(w, 0, root.keys[i])
	}
	return nil
}

// node is a JSON value whose keys keep their order.
type node struct {
	scalar string
	keys   []string // of an object
	inner  []node   // of an object or array
	nested bool
}

func readNode(dec *json.Decoder) (node, error) {
	tok, err := dec.Token()
	if err != nil {
		return node{}, err
	}
	open, nested := tok.(json.Delim)
	switch {
	case tok == nil, tok == "":
		return node{scalar: "none"}, nil
	case !nested:
		return node{scalar: visible(fmt.Sprint(tok))}, nil
	}
	n := node{nested: true}
	for dec.More() {
		if open == '{' {
			key, err := dec.Token()
			if err != nil {
				return node{}, err
			}
			n.keys = append(n.keys, visible(fmt.Sprint(key)))
		}
		inner, err := readNode(dec)
		if err != nil {
			return node{}, err
		}
		n.inner = append(n.inner, inner)
	}
	_, err = dec.Token() // the closing bracket
	return n, err
}

// line is the value where it fits one: scalars, and arrays of them.
func (n node) line() (string, bool) {
	if !n.nested {
		return n.scalar, true
	}
	if len(n.inner) == 0 {
		return "none", true
	}
	var words []string
	for _, inner := range n.inner {
		if inner.nested {
			return "", false
		}
		words = append(words, inner.scalar)
	}
	return strings.Join(words, " "), n.keys == nil
}

func (n node) write(w io.Writer, depth int, label string) {
	indent := strings.Repeat("  ", depth)
	if line, ok := n.line(); ok {
		fmt.Fprintf(w, "%s%s: %s%s\n", indent, label, line, sizeNote(label, line))
		return
	}
	fmt.Fprintf(w, "%s%s:\n", indent, label)
	for i, inner := range n.inner {
		if n.keys != nil {
			inner.write(w, depth+1, n.keys[i])
		} else if line, ok := inner.line(); ok {
			fmt.Fprintf(w, "%s  %s\n", indent, line)
		} else {
			inner.write(w, depth+1, "-")
		}
	}
}

// sizeNote adds what people read to a number of bytes.
func sizeNote(label, value string) string {
	if label != "memory" && label != "free" && label != "total" {
		return ""
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return ""
	}
	return " (" + humanSize(n) + ")"
}
