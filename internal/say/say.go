// Package say puts what goes wrong before the user's eyes: errors with their hints,
// and nothing of what came from elsewhere as it came.
package say

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error writes `error:` and `hint:`.
func Error(w io.Writer, err error) {
	fmt.Fprintf(w, "error: %s\n", lines(err.Error()))
	if hint := Hint(err); hint != "" {
		fmt.Fprintf(w, "hint: %s\n", lines(hint))
	}
}

// Warning writes one line that does not stop the command, and its hint.
func Warning(w io.Writer, msg, hint string) {
	fmt.Fprintf(w, "warning: %s\n", lines(msg))
	if hint != "" {
		fmt.Fprintf(w, "hint: %s\n", lines(hint))
	}
}

// lines keeps the lines of joined errors, indented, so that no message
// can put on a line of its own what looks like ours.
func lines(s string) string {
	return strings.ReplaceAll(VisibleText(strings.TrimRight(s, "\n")), "\n", "\n    ")
}

// Hint is the first hint in the chain of err, outermost first.
func Hint(err error) string {
	var hint string
	Walk(err, 0, func(e error, _ int) bool {
		if h, ok := e.(interface{ Hint() string }); ok { //nolint:errorlint // Walk unwraps
			hint = h.Hint()
		}
		return hint == ""
	})
	return hint
}

// Code is what the process returns for err: ours, unless something in the
// chain knows better (126 and 127 of a command that cannot be executed).
func Code(err error, ours int) int {
	code := ours
	Walk(err, 0, func(e error, _ int) bool {
		if c, ok := e.(interface{ ExitCode() int }); ok && c.ExitCode() != 0 { //nolint:errorlint // Walk unwraps
			code = c.ExitCode()
		}
		return code == ours
	})
	return code
}

// Walk visits err and all it wraps, depth first, until visit returns false.
func Walk(err error, depth int, visit func(e error, depth int) bool) bool {
	if err == nil {
		return true
	}
	if !visit(err, depth) {
		return false
	}
	switch e := err.(type) { //nolint:errorlint // this is the unwrapping
	case interface{ Unwrap() error }:
		return Walk(e.Unwrap(), depth+1, visit)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if !Walk(inner, depth+1, visit) {
				return false
			}
		}
	}
	return true
}

// Visible makes control characters, bidirectional overrides, invisible
// characters and invalid UTF-8 visible as \n, \x1b, \u202e. Whatever comes
// from an image, a registry, a file name or the user's own data goes through
// it before a terminal sees it.
func Visible(s string) string { return escape(s, "") }

// VisibleText is Visible for text that may have lines and tabs.
func VisibleText(s string) string { return escape(s, "\n\t") }

func escape(s, keep string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case strconv.IsPrint(r) || strings.ContainsRune(keep, r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += n
	}
	return b.String()
}

func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
