package egress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxFile is the largest file of rules.
const maxFile = 1 << 20

// ReadFile reads a file of rules.
func ReadFile(path string) ([]Rule, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the egress rules: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, fmt.Errorf("read the egress rules: %s: %w", path, errors.New("it is a directory"))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the egress rules: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("read the egress rules: %s: it is larger than 1 MiB", path)
	}
	return ParseFile(path, data)
}

// ParseFile reads the rules of a file: one in a line, as behind --allow-net, or
// "deny" and one as behind --deny-net; # begins a comment. Its error is a *RuleError
// with line and column.
func ParseFile(path string, data []byte) ([]Rule, error) {
	var out []Rule
	n := 0
	for line := range bytes.Lines(data) {
		n++
		text, _, _ := strings.Cut(string(line), "#")
		word, at := nextWord(text, 0)
		deny := word == "deny"
		if deny || word == "allow" {
			if word, at = nextWord(text, at+len(word)); word == "" {
				return nil, &RuleError{From: fmt.Sprintf("%s:%d", path, n), Text: strings.TrimSpace(text), Column: at + 1, Why: "the host is missing", Help: ""}
			}
		}
		if word == "" {
			continue
		}
		from := fmt.Sprintf("%s:%d", path, n)
		if extra, where := nextWord(text, at+len(word)); extra != "" {
			return nil, &RuleError{From: from, Text: extra, Column: where + 1, Why: "there is one rule in a line", Help: ""}
		}
		r, err := ParseRule(word, from, deny)
		if wrong := new(RuleError); errors.As(err, &wrong) {
			wrong.Column += at
			return nil, wrong
		}
		r.start = at + 1
		out = append(out, r)
	}
	return out, nil
}

// nextWord finds the next word from a place on, and where it begins; at the end the
// word is empty.
func nextWord(s string, from int) (word string, at int) {
	const space = " \t\r\n"
	for from < len(s) && strings.IndexByte(space, s[from]) >= 0 {
		from++
	}
	end := from
	for end < len(s) && strings.IndexByte(space, s[end]) < 0 {
		end++
	}
	return s[from:end], from
}
