package cli

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestProgressInAPipe(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			w := p.add(fmt.Sprintf("layer %d\x1b", i), 3)
			fmt.Fprint(w, "abc")
			_ = w.Close()
			_ = w.Close()
		})
	}
	wg.Wait()
	short := p.add("short", 10)
	fmt.Fprint(short, "x")
	_ = short.Close()
	p.close()
	if n := strings.Count(b.String(), "\n"); n != 9 {
		t.Errorf("%d lines: %q", n, b.String())
	}
	if !strings.Contains(b.String(), "layer 3\\x1b  3 B\n") || !strings.Contains(b.String(), "short  stopped at 1 B of 10 B\n") {
		t.Errorf("%q", b.String())
	}
}

func TestProgressOnATerminal(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b)
	p.width, p.height = 80, 6
	bars := make([]*bar, 10)
	for i := range bars {
		bars[i] = p.add(fmt.Sprintf("layer %d", i), 100).(*bar)
		bars[i].started = time.Now().Add(-time.Second)
	}
	fmt.Fprint(bars[0], strings.Repeat("x", 50))
	p.mu.Lock()
	p.draw()
	drawn := p.drawn
	p.mu.Unlock()
	if drawn != 4 {
		t.Errorf("%d bars on a terminal of 6 lines", drawn)
	}
	fmt.Fprint(bars[0], strings.Repeat("x", 50))
	_ = bars[0].Close()
	p.close()
	out := b.String()
	for line := range strings.SplitSeq(out, "\n") {
		if n := len(line[strings.LastIndex(line, "J")+1:]); n > 79 {
			t.Errorf("a line of %d: %q", n, line)
		}
	}
	if !strings.Contains(out, "layer 0                   [=====") || strings.Count(out, "layer 0  100 B\n") != 1 {
		t.Errorf("%q", out)
	}
	if !strings.HasSuffix(out, "layer 0  100 B\n") {
		t.Errorf("bars are left on the screen: %q", out)
	}
}
