package cli

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen shows a text anew again and again. On a terminal each takes the place
// of the one before, and what does not fit is counted and not shown; elsewhere
// one follows the other, with an empty line between.
type screen struct {
	out           io.Writer
	width, height int // 0: no terminal
}

// watch runs show every so many seconds until it is interrupted. show writes to a.out.
func (a *app) watch(seconds int, title string, show func() error) error {
	if seconds < 1 {
		return &usageError{msg: fmt.Sprintf("--watch %d: it is a number of seconds, from 1 on", seconds)}
	}
	ctx, stop := interruptible()
	defer stop()
	out := a.out
	defer func() { a.out = out }()
	tick := time.NewTicker(time.Duration(seconds) * time.Second)
	defer tick.Stop()
	if a.width() > 0 {
		fmt.Fprint(out, "\x1b[?25l") // no cursor
		defer func() { fmt.Fprint(out, "\x1b[?25h\r\n") }()
	}
	for first := true; ; first = false {
		var text bytes.Buffer
		a.out = bufio.NewWriter(&text)
		err := show()
		if err == nil {
			err = a.out.Flush()
		}
		if err != nil {
			return err
		}
		s := screen{out: out}
		if a.width() > 0 {
			s.width, s.height, _ = term.GetSize(int(a.files[1].Fd()))
		}
		s.show(text.String(), fmt.Sprintf("%s   every %d s   %s", title, seconds, time.Now().Format(time.TimeOnly)), first)
		if err := out.Flush(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil // ^C is how a watch ends
		}
	}
}

func (s screen) show(text, title string, first bool) {
	if s.width == 0 {
		if !first {
			fmt.Fprintln(s.out)
		}
		fmt.Fprint(s.out, text)
		return
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	room := max(s.height-2, 1) // below the title, and an empty line
	if len(lines) > room {
		more := len(lines) - room + 1
		lines = append(lines[:room-1:room-1], fmt.Sprintf("… %d more", more))
	}
	var b strings.Builder
	if first {
		b.WriteString("\x1b[2J")
	}
	b.WriteString("\x1b[H") // over what stands there: nothing flickers
	for _, line := range append([]string{title, ""}, lines...) {
		b.WriteString(cut(line, s.width))
		if utf8.RuneCountInString(line) < s.width {
			b.WriteString("\x1b[K") // in the last column it would take the last letter
		}
		b.WriteString("\r\n")
	}
	fmt.Fprint(s.out, strings.TrimSuffix(b.String(), "\r\n")+"\x1b[J")
}
