package spec

import (
	"errors"
	"fmt"
	"strings"
)

// sentinel is an error that costs nothing at start.
type sentinel string

func (s sentinel) Error() string { return string(s) }

// ErrOption is what every refused flag unwraps to.
const ErrOption = sentinel("refused option")

// ErrLater is what a refused flag also unwraps to when docker or podman
// would take it and we do not yet.
const ErrLater = sentinel("not available yet")

// OptionError is a flag that Generate refuses.
type OptionError struct {
	Flag   string // "--volume"
	Value  string // as typed; may be empty
	Reason string
	Help   string // what to type instead; may be empty
	Err    error  // the cause, may be nil
}

func (e *OptionError) Error() string {
	var b strings.Builder
	b.WriteString(e.Flag)
	if e.Value != "" {
		fmt.Fprintf(&b, " %q", e.Value)
	}
	b.WriteString(": " + e.Reason)
	if _, hidden := e.Err.(quiet); e.Err != nil && !hidden { //nolint:errorlint // never wrapped
		if e.Reason != "" {
			b.WriteString(": ")
		}
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Hint says what to type instead, "" when there is nothing to say.
func (e *OptionError) Hint() string { return e.Help }

// Unwrap gives ErrOption and the cause.
func (e *OptionError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrOption}
	}
	return []error{ErrOption, e.Err}
}

func refuse(flag, value, format string, args ...any) *OptionError {
	return &OptionError{Flag: flag, Value: value, Reason: fmt.Sprintf(format, args...)}
}

// because adds the cause.
func (e *OptionError) because(err error) *OptionError {
	e.Err = err
	return e
}

// hint adds what to type instead.
func (e *OptionError) hint(format string, args ...any) *OptionError {
	e.Help = fmt.Sprintf(format, args...)
	return e
}

// choose adds "did you mean" where one of the known words is near, and the
// list of them otherwise.
func (e *OptionError) choose(word string, known []string) *OptionError {
	if near := closest(word, known); near != "" {
		return e.hint("did you mean %s?", near)
	}
	return e.hint("it may be one of: %s", strings.Join(known, ", "))
}

// quiet is a cause whose text the reason already has: for errors.Is only.
type quiet struct{ error }

func (q quiet) Unwrap() error { return q.error }

// badWord is a problem with one word of a flag's value, before the flag is
// known: parsers return it, and the flag's own code completes it.
type badWord struct {
	reason string
	help   string
	later  bool // what docker and podman take and we do not yet
}

func (e *badWord) Error() string { return e.reason }

func bad(format string, args ...any) *badWord {
	return &badWord{reason: fmt.Sprintf(format, args...)}
}

func later(format string, args ...any) *badWord {
	e := bad(format, args...)
	e.later = true
	return e
}

func (e *badWord) hint(format string, args ...any) *badWord {
	e.help = fmt.Sprintf(format, args...)
	return e
}

// refused completes an error with the flag that it is about, unless it names
// one already.
func refused(flag, value string, err error) error {
	var complete *OptionError
	if errors.As(err, &complete) {
		return err
	}
	e := &OptionError{Flag: flag, Value: value, Err: err}
	var word *badWord
	if errors.As(err, &word) {
		e.Reason, e.Help, e.Err = word.reason, word.help, nil
		if word.later {
			e.Err = quiet{ErrLater}
		}
	}
	return e
}

// closest is the known word with the smallest edit distance, if that is at
// most a third of the word; two letters that changed places count two.
func closest(word string, known []string) string {
	best, bestDistance := "", max(min(2, len(word)/2), len(word)/3)+1
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), strings.ToLower(k)); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
