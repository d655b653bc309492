package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// parseConfig reads one file: TOML by its syntax tree, which has the place of
// every key, so that an error can name it.
func parseConfig(path string, data []byte) ([]configSetting, error) {
	r := configReader{file: path, seen: map[string]int{}, all: commands(), flags: map[string][]field{}}
	r.toml.Reset(data)
	for r.toml.NextExpression() {
		if err := r.expression(r.toml.Expression()); err != nil {
			return nil, err
		}
	}
	if err := r.toml.Error(); err != nil {
		return nil, fmt.Errorf("%s:%d: this is not TOML: %w", visible(path), lineOfError(data, err), err)
	}
	return r.out, nil
}

type configReader struct {
	file  string
	toml  unstable.Parser
	table []string       // of the last header
	seen  map[string]int // the line of each key and table
	out   []configSetting

	columns bool // errors name them
	column  int  // of the last key

	all   []entry
	flags map[string][]field // of each command that has a table
}

// tomlValue is a value of a kind that a flag can have.
type tomlValue struct {
	kind   unstable.Kind // String, Bool, Integer or Array
	values []string
}

func (r *configReader) expression(n *unstable.Node) error {
	switch n.Kind {
	case unstable.ArrayTable:
		key, line := r.key(n.Key())
		return r.fail(line, key, "a list of tables says nothing here", fmt.Sprintf("[%s], in single brackets, is the table of a command", strings.Join(key, ".")))
	case unstable.Table:
		key, line := r.key(n.Key())
		r.table = key
		if err := r.once(key, line); err != nil {
			return err
		}
		return r.checkTable(key, line)
	case unstable.KeyValue:
		return r.keyValue(r.table, n)
	}
	return nil
}

func (r *configReader) keyValue(table []string, n *unstable.Node) error {
	key, line := r.key(n.Key())
	key = append(append([]string{}, table...), key...)
	if err := r.once(key, line); err != nil {
		return err
	}
	if n.Value().Kind == unstable.InlineTable {
		for it := n.Value().Children(); it.Next(); {
			if err := r.keyValue(key, it.Node()); err != nil {
				return err
			}
		}
		return nil
	}
	v, err := readValue(n.Value())
	if err != nil {
		return r.fail(line, key, err.Error(), "")
	}
	s := configSetting{file: r.file, line: line}
	if err := r.check(&s, key, v); err != nil {
		return err
	}
	r.out = append(r.out, s)
	return nil
}

// once refuses what is said twice: TOML does, and one of them is a mistake.
func (r *configReader) once(key []string, line int) error {
	id := strings.Join(key, "\x00")
	if before := r.seen[id]; before > 0 {
		return r.fail(line, key, fmt.Sprintf("line %d has it already", before), "")
	}
	r.seen[id] = line
	return nil
}

func (r *configReader) key(it unstable.Iterator) (key []string, line int) {
	for it.Next() {
		key = append(key, string(it.Node().Data))
		start := r.toml.Shape(it.Node().Raw).Start
		line, r.column = start.Line, start.Column
	}
	return key, line
}

func readValue(n *unstable.Node) (tomlValue, error) {
	v := tomlValue{kind: n.Kind}
	switch n.Kind {
	case unstable.String, unstable.Bool:
		v.values = []string{string(n.Data)}
	case unstable.Integer:
		i, err := readInteger(string(n.Data))
		v.values = []string{i}
		return v, err
	case unstable.Array:
		for it := n.Children(); it.Next(); {
			if it.Node().Kind != unstable.String {
				return v, fmt.Errorf("a list of words is wanted, and there is %s in it", article(it.Node().Kind))
			}
			v.values = append(v.values, string(it.Node().Data))
		}
	default:
		return v, fmt.Errorf("%s is the value of no flag", article(n.Kind))
	}
	return v, nil
}

// readInteger takes TOML's 1_000, 0x10, 0o17 and 0b11.
func readInteger(text string) (string, error) {
	digits := strings.TrimLeft(text, "+-")
	if len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' {
		return "", fmt.Errorf("%s: TOML has no leading zeros; octal is 0o17, or a word in quotes", text)
	}
	i, err := strconv.ParseInt(text, 0, 64)
	if err != nil {
		return "", fmt.Errorf("%s: it is too large", text)
	}
	return strconv.FormatInt(i, 10), nil
}

func article(k unstable.Kind) string {
	switch k {
	case unstable.String:
		return "a word"
	case unstable.Bool:
		return "true or false"
	case unstable.Integer:
		return "a number"
	case unstable.Float:
		return "a fraction"
	case unstable.Array:
		return "a list"
	case unstable.InlineTable:
		return "a table"
	}
	return "a date or time"
}

// lineOfError is where the parser stopped: its error points into the data.
func lineOfError(data []byte, err error) int {
	var at *unstable.ParserError
	offset := 0
	if errors.As(err, &at) {
		offset = min(max(cap(data)-cap(at.Highlight), 0), len(data))
	}
	return 1 + bytes.Count(data[:offset], []byte("\n"))
}

// fail names the place and the key.
func (r *configReader) fail(line int, key []string, why, hint string) error {
	if r.columns {
		return &usageError{msg: fmt.Sprintf("%s:%d:%d: %s: %s", visible(r.file), line, r.column, visible(key[len(key)-1]), why), hint: hint}
	}
	return &usageError{msg: fmt.Sprintf("%s:%d: %s: %s", visible(r.file), line, visible(strings.Join(key, ".")), why), hint: hint}
}
