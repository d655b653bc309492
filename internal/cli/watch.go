package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// screen shows a text anew again and again. On a terminal each takes the place
// of the one before, and what does not fit is counted and not shown; elsewhere
// one follows the other, with an empty line between.
type screen struct {
	out           io.Writer
	width, height int // 0: no terminal
	bold          bool
}

// watching is something that is looked at again and again.
type watching struct {
	every    time.Duration
	title    func() string
	keysHelp string              // for the title, where there are keys
	note     func() string       // for the line below it; nil: none
	look     func() error        // finds out what there is
	draw     func() error        // writes it to a.out
	key      func(key byte) bool // a key that was typed; true where it is to be drawn anew; nil: no keys
}

// watch runs show every so many seconds until it is interrupted. show writes to a.out.
func (a *app) watch(seconds int, title string, show func() error) error {
	if seconds < 1 {
		return &usageError{msg: fmt.Sprintf("--watch %d: it is a number of seconds, from 1 on", seconds)}
	}
	ctx, stop := interruptible()
	defer stop()
	return a.watchOver(ctx, watching{
		every: time.Duration(seconds) * time.Second,
		title: func() string {
			return fmt.Sprintf("%s   every %d s   %s", title, seconds, time.Now().Format(time.TimeOnly))
		},
		keysHelp: "   q ends",
		look:     func() error { return nil },
		draw:     show,
		key:      func(byte) bool { return false },
	})
}

// watchOver ends with the context, with q, or with an error of look or draw. What
// it has shown last stays.
func (a *app) watchOver(ctx context.Context, w watching) error {
	out := a.out
	defer func() { a.out = out }()
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	var keys <-chan byte
	var changes chan os.Signal
	k := keyboard{}
	if a.width() > 0 {
		k = readKeys(a.files[0])
		changes = make(chan os.Signal, 1)
		signal.Notify(changes, unix.SIGWINCH, unix.SIGTSTP)
		defer signal.Stop(changes)
		defer k.end()
		keys = k.typed
		fmt.Fprint(out, noCursor)
		defer func() {
			fmt.Fprint(out, cursor+"\r\n")
			_ = out.Flush()
		}()
	}
	first := true
	for looked := false; ; {
		if !looked {
			if err := w.look(); err != nil {
				return err
			}
		}
		if err := a.drawOnce(out, w, keys != nil, first); err != nil {
			return err
		}
		first, looked = false, true
		for drawn := true; drawn; {
			select {
			case <-tick.C:
				looked, drawn = false, false
			case key := <-keys:
				if key == 'q' || key == 'Q' {
					return nil
				}
				drawn = !w.key(key)
			case sig := <-changes:
				if sig == unix.SIGTSTP {
					if err := a.pauseWatch(out, k); err != nil {
						return err
					}
				}
				first, drawn = true, false // what stood there may be anywhere
			case <-ctx.Done():
				return nil // ^C is how a watch ends
			}
		}
	}
}

// pauseWatch is ctrl-z: the terminal is the shell's until somebody continues.
func (a *app) pauseWatch(out *bufio.Writer, k keyboard) error {
	k.end()
	fmt.Fprint(out, cursor+"\r\n")
	if err := out.Flush(); err != nil {
		return err
	}
	if err := unix.Kill(unix.Getpid(), unix.SIGSTOP); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	fmt.Fprint(out, noCursor)
	return k.begin()
}

// drawOnce draws one picture, by one write.
func (a *app) drawOnce(out *bufio.Writer, w watching, keys, first bool) error {
	var text bytes.Buffer
	a.out = bufio.NewWriter(&text)
	err := cmp.Or(w.draw(), a.out.Flush())
	a.out = out
	if err != nil {
		return err
	}
	var picture bytes.Buffer
	s := screen{out: &picture, bold: a.colour()}
	if a.width() > 0 {
		s.width, s.height, _ = term.GetSize(int(a.files[1].Fd()))
	}
	title := w.title()
	if keys {
		title += w.keysHelp
	}
	note := ""
	if w.note != nil {
		note = w.note()
	}
	s.show(text.String(), title, note, first)
	if err := out.Flush(); err != nil {
		return err
	}
	if _, err := out.Write(picture.Bytes()); err != nil {
		return err
	}
	return out.Flush()
}

const (
	noCursor = "\x1b[?25l"
	cursor   = "\x1b[?25h"
)

func (s screen) show(text, title, note string, first bool) {
	if s.width == 0 {
		if !first {
			fmt.Fprintln(s.out)
		}
		fmt.Fprint(s.out, text)
		return
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	room := max(s.height-2, 1) // below the title, and a line that is mostly empty
	if len(lines) > room {
		more := len(lines) - room + 1
		lines = append(lines[:room-1:room-1], fmt.Sprintf("… %d more", more))
	}
	var b strings.Builder
	if first {
		b.WriteString("\x1b[2J")
	}
	b.WriteString("\x1b[H") // over what stands there: nothing flickers
	for i, line := range append([]string{title, note}, lines...) {
		full := utf8.RuneCountInString(line) >= s.width
		line = cut(line, s.width)
		if s.bold && i == headingLine {
			line = "\x1b[1m" + line + "\x1b[0m"
		}
		b.WriteString(line)
		if !full {
			b.WriteString("\x1b[K") // in the last column it would take the last letter
		}
		b.WriteString("\r\n")
	}
	fmt.Fprint(s.out, strings.TrimSuffix(b.String(), "\r\n")+"\x1b[J")
}

// headingLine is where the table begins, below the title and the note.
const headingLine = 2
