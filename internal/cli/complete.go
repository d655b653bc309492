package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Completion: `coracle __complete SHELL …` answers what may stand at the end of
// a line that is being typed. It reads the same tables as the parser, and of the
// store only what it lists; whatever goes wrong is no answer, and no message.

// completeVerb is the hidden command that the scripts of `coracle completion` call.
const completeVerb = "__complete"

// item is a word to choose from.
type item struct{ word, about string }

// answer is what may come next.
type answer struct {
	items []item
	files bool // names of files, too
	dirs  bool // of directories
	// skip is how much of the word before the cursor, in characters, is not part
	// of what is chosen: --flag=.
	skip int
}

func (c *completer) reply(items ...item)   { c.answer.items = append(c.answer.items, items...) }
func (c *completer) words(words ...string) { c.reply(plainItems(words)...) }

func plainItems(words []string) []item {
	var out []item
	for _, w := range words {
		out = append(out, item{word: w})
	}
	return out
}

// completeMain is `coracle __complete`.
func (a *app) completeMain(args []string) (int, error) {
	if len(args) < 2 {
		return 0, nil
	}
	shell, words := args[0], args[1:]
	c := completer{app: a}
	switch shell {
	case "bash":
		if len(words) != 2 {
			return 0, nil
		}
		line := splitShell(words[1])
		if len(line.words) < 2 {
			return 0, nil
		}
		c.complete(line.words[1:])
		c.writeBash(line, words[0])
	case "zsh", "fish":
		if len(words) < 2 {
			return 0, nil
		}
		c.complete(words[1:])
		c.write(shell)
	}
	return 0, nil
}

// head is the first line of the answer.
func (c *completer) head(skip int) string {
	mode, space := "none", "space"
	switch {
	case c.answer.files:
		mode = "files"
	case c.answer.dirs:
		mode = "dirs"
	}
	// A word that goes on is followed by no space.
	if n := len(c.answer.items); n > 0 && !slices.ContainsFunc(c.answer.items, func(i item) bool { return !goesOn(i.word) }) {
		space = "nospace"
	}
	return mode + " " + strconv.Itoa(skip) + " " + space + "\n"
}

func goesOn(word string) bool {
	return strings.HasSuffix(word, "=") || strings.HasSuffix(word, ":") || strings.HasSuffix(word, ",") || strings.HasSuffix(word, "/")
}

func (c *completer) write(shell string) {
	fmt.Fprint(c.app.out, c.head(c.answer.skip))
	for _, i := range c.answer.items {
		word, about := visible(i.word), visible(i.about)
		switch {
		case shell == "fish" && about != "":
			fmt.Fprintf(c.app.out, "%s%s\t%s\n", c.prefix(), word, about)
		case shell == "fish":
			fmt.Fprintf(c.app.out, "%s%s\n", c.prefix(), word)
		case about != "":
			fmt.Fprintf(c.app.out, "%s:%s\n", zshWord(word), about)
		default:
			fmt.Fprintf(c.app.out, "%s\n", zshWord(word))
		}
	}
}

// prefix is what of the current word is not part of the items.
func (c *completer) prefix() string {
	return string([]rune(c.current)[:c.answer.skip])
}

// zshWord keeps a colon from ending the word and beginning its description.
func zshWord(word string) string {
	return strings.NewReplacer(`\`, `\\`, ":", `\:`).Replace(word)
}

// writeBash leaves out what stands before the part of the word that bash
// replaces.
func (c *completer) writeBash(line shellLine, breaks string) {
	cut := line.lastBreak(breaks)
	fmt.Fprint(c.app.out, c.head(0))
	for _, i := range c.answer.items {
		word := []rune(c.prefix() + i.word)
		if len(word) < cut {
			continue
		}
		fmt.Fprintln(c.app.out, bashWord(visible(string(word[cut:])), line.quote))
	}
}

// bashWord is the word as the line takes it, inside quotes or not.
func bashWord(word string, quote rune) string {
	if quote != 0 {
		return word
	}
	var b strings.Builder
	for _, r := range word {
		if strings.ContainsRune(" \t\\\"'`$&|;<>()*?[]{}!#", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// shellLine is a simple command as bash hands it over, up to the cursor.
type shellLine struct {
	words []string // without their quotes; the last is the one being typed
	quote rune     // the quote that is open at the end
	// raw is the last word with its quotes; at[i] is the index in the word, in
	// characters, that stands at character i of raw.
	raw []rune
	at  []int
}

// splitShell takes a line apart as a shell does, without expanding anything.
func splitShell(line string) shellLine {
	s := shellLine{words: []string{""}}
	inWord, escaped := false, false
	n := 0
	add := func(r rune) {
		s.words[len(s.words)-1] += string(r)
		n++
	}
	for _, r := range line {
		if !inWord && !strings.ContainsRune(" \t\n", r) {
			inWord = true
		}
		switch {
		case escaped:
			escaped = false
			s.raw, s.at = append(s.raw, r), append(s.at, n)
			add(r)
			continue
		case r == '\\' && s.quote != '\'':
			escaped = true
		case s.quote != 0 && r == s.quote:
			s.quote = 0
		case s.quote != 0:
			s.raw, s.at = append(s.raw, r), append(s.at, n)
			add(r)
			continue
		case r == '"' || r == '\'':
			s.quote = r
		case strings.ContainsRune(" \t\n", r):
			if inWord {
				s.words, s.raw, s.at, n = append(s.words, ""), nil, nil, 0
			}
			inWord = false
			continue
		default:
			s.raw, s.at = append(s.raw, r), append(s.at, n)
			add(r)
			continue
		}
		s.raw, s.at = append(s.raw, r), append(s.at, n)
	}
	return s
}

// lastBreak is the character of the last word at which the part begins that bash
// completes: behind the last of its separators, or an open quote.
func (s shellLine) lastBreak(breaks string) int {
	for i, r := range slices.Backward(s.raw) {
		if i > 0 && s.raw[i-1] == '\\' {
			continue
		}
		if r == s.quote && s.quote != 0 {
			return s.at[i]
		}
		if s.quote == 0 && r != '"' && r != '\'' && strings.ContainsRune(breaks, r) {
			return s.at[i] + 1
		}
	}
	return 0
}
