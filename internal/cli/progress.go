package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// progress shows transfers that run side by side: a bar each on a terminal, a
// line each, once it is through, in a pipe. (Bars for one transfer at a time
// are what the usual libraries draw.)
type progress struct {
	out    io.Writer
	width  int // of the terminal; 0: a pipe
	height int

	mu    sync.Mutex
	bars  []*bar // under way
	done  []*bar // to be printed above the bars, once
	drawn int    // lines of bars on the screen
	ticks bool   // tick runs
}

// bar is one transfer; Write counts.
type bar struct {
	p       *progress
	name    string
	size    int64 // < 0: unknown
	have    int64
	started time.Time
	closed  bool
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out}
	if f, ok := out.(*os.File); ok && isTerminal(f) && os.Getenv("TERM") != "dumb" {
		if width, height, err := term.GetSize(int(f.Fd())); err == nil {
			p.width, p.height = width, height
		}
	}
	return p
}

// add starts a transfer of size bytes. It is safe to call from any goroutine.
func (p *progress) add(name string, size int64) io.WriteCloser {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := &bar{p: p, name: visible(name), size: size, started: time.Now()}
	p.bars = append(p.bars, b)
	if p.width > 0 && !p.ticks {
		p.ticks = true
		go p.tick()
	}
	return b
}

// tick draws while there are bars, and no longer: a payload may run next.
func (p *progress) tick() {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for range ticker.C {
		p.mu.Lock()
		p.draw()
		p.ticks = len(p.bars) > 0
		more := p.ticks
		p.mu.Unlock()
		if !more {
			return
		}
	}
}

// close prints what is through and takes the bars off the screen.
func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.width > 0 {
		p.bars = nil
		p.draw()
	}
}

// draw goes back over the bars drawn last, prints those that are through for
// good and the others below. p.mu is held.
func (p *progress) draw() {
	if p.drawn == 0 && len(p.bars) == 0 && len(p.done) == 0 {
		return
	}
	var s strings.Builder
	if p.drawn > 0 {
		fmt.Fprintf(&s, "\x1b[%dA\r\x1b[J", p.drawn)
	}
	for _, b := range p.done {
		s.WriteString(cut(b.summary(), p.width-1) + "\n")
	}
	p.done = nil
	shown := p.bars[:min(len(p.bars), max(1, p.height-2))]
	for _, b := range shown {
		s.WriteString(b.line(p.width-1) + "\n")
	}
	p.drawn = len(shown)
	_, _ = io.WriteString(p.out, s.String())
}

func (b *bar) Write(data []byte) (int, error) {
	b.p.mu.Lock()
	defer b.p.mu.Unlock()
	b.have += int64(len(data))
	return len(data), nil
}

// Close says that the transfer is through.
func (b *bar) Close() error {
	p := b.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	for i := range p.bars {
		if p.bars[i] == b {
			p.bars = append(p.bars[:i:i], p.bars[i+1:]...)
			break
		}
	}
	if p.width == 0 {
		fmt.Fprintln(p.out, b.summary())
		return nil
	}
	p.done = append(p.done, b)
	if len(p.bars) == 0 {
		p.draw() // now, not at the next tick: the terminal may be the payload's by then
	}
	return nil
}

func (b *bar) summary() string {
	if b.size >= 0 && b.have < b.size {
		return fmt.Sprintf("%s  stopped at %s of %s", b.name, humanSize(b.have), humanSize(b.size))
	}
	return fmt.Sprintf("%s  %s", b.name, humanSize(b.have))
}

// line is `name  [=====>    ]  3.1 MB / 9 MB  12 MB/s`.
func (b *bar) line(width int) string {
	speed := ""
	if secs := time.Since(b.started).Seconds(); secs > 0.5 {
		speed = humanSize(int64(float64(b.have)/secs)) + "/s"
	}
	if b.size <= 0 {
		return cut(fmt.Sprintf("%s  %s  %s", b.name, humanSize(b.have), speed), width)
	}
	tail := fmt.Sprintf("%7s / %-7s %10s", humanSize(b.have), humanSize(b.size), speed)
	name := cut(b.name, 24)
	room := min(40, width-24-len(tail)-6)
	if room < 8 {
		return cut(fmt.Sprintf("%-24s  %s", name, tail), width)
	}
	full := int(min(b.have, b.size) * int64(room) / b.size)
	return fmt.Sprintf("%-24s  [%s%s]  %s", name, strings.Repeat("=", full), strings.Repeat(" ", room-full), tail)
}
