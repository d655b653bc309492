package foreground

import (
	"bytes"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pumped is a Streams with one pump between two pipes, as a payload writes
// and the caller reads.
type pumped struct {
	*Streams
	payload, reader *os.File
}

func startPump(t *testing.T) pumped {
	t.Helper()
	s, err := New(Stdio{}, true, false)
	if err != nil {
		t.Fatal(err)
	}
	from, payload, err1 := os.Pipe()
	reader, to, err2 := os.Pipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	s.told = make(chan os.Signal, 1)
	s.done.Go(func() {
		s.pump(to, from)
		to.Close()
	})
	t.Cleanup(func() {
		payload.Close()
		reader.Close()
		s.done.Wait()
		from.Close()
	})
	return pumped{s, payload, reader}
}

// finished waits for finish and gives what it took.
func (p pumped) finished(t *testing.T, hurry chan os.Signal, limit time.Duration) time.Duration {
	t.Helper()
	start, done := time.Now(), make(chan struct{})
	go func() {
		p.Finish(hurry, limit)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("finish does not end")
		p.reader.Close()
		<-done
	}
	return time.Since(start)
}

// A pipe holds 64 KiB: this much does not fit, wherever it waits.
var plenty = bytes.Repeat([]byte("0123456789abcde\n"), 32<<10)

func TestPumpSlowReader(t *testing.T) {
	p := startPump(t)
	go func() {
		_, _ = p.payload.Write(plenty)
		p.payload.Close()
	}()
	got := make(chan []byte)
	go func() {
		time.Sleep(500 * time.Millisecond) // the payload has long ended, and the quiet time is over
		data, _ := io.ReadAll(p.reader)
		got <- data
	}()
	p.finished(t, nil, 0)
	if data := <-got; !bytes.Equal(data, plenty) {
		t.Errorf("%d bytes of %d came", len(data), len(plenty))
	}
}

// Once told to end, a reader that goes on reading still gets everything.
func TestFinishToldWithSlowReader(t *testing.T) {
	p := startPump(t)
	p.told <- unix.SIGTERM
	go func() {
		_, _ = p.payload.Write(plenty)
		p.payload.Close()
	}()
	got := make(chan int)
	go func() {
		n, buf := 0, make([]byte, 64<<10)
		for {
			time.Sleep(250 * time.Millisecond)
			m, err := p.reader.Read(buf)
			n += m
			if err != nil {
				got <- n
				return
			}
		}
	}()
	if took := p.finished(t, nil, 0); took < time.Second {
		t.Errorf("it took only %v: this proves nothing", took)
	}
	if n := <-got; n != len(plenty) {
		t.Errorf("%d bytes of %d came", n, len(plenty))
	}
}

func TestFinishDeafReader(t *testing.T) {
	for _, tt := range []struct {
		name  string
		end   func(p pumped, hurry chan os.Signal)
		limit time.Duration
		max   time.Duration
	}{
		{"timeout", func(pumped, chan os.Signal) {}, 300 * time.Millisecond, 8 * time.Second},
		{"told before", func(p pumped, _ chan os.Signal) { p.told <- unix.SIGTERM }, 0, 8 * time.Second},
		{"told now", func(_ pumped, hurry chan os.Signal) { hurry <- unix.SIGTERM }, 0, 8 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := startPump(t)
			go func() {
				_, _ = p.payload.Write(plenty)
				p.payload.Close()
			}()
			time.Sleep(50 * time.Millisecond)
			hurry := make(chan os.Signal, 1)
			tt.end(p, hurry)
			if took := p.finished(t, hurry, tt.limit); took > tt.max {
				t.Errorf("it took %v", took)
			}
			_ = p.reader.Close()
		})
	}
}

// A reader that has gone: the payload is not stuck on a full pipe.
func TestPumpFailedReader(t *testing.T) {
	p := startPump(t)
	p.reader.Close()
	wrote := make(chan error, 1)
	go func() {
		_, err := p.payload.Write(plenty)
		p.payload.Close()
		wrote <- err
	}()
	select {
	case err := <-wrote:
		if err != nil {
			t.Errorf("the payload's write: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the payload is stuck")
	}
	p.finished(t, nil, 0)
}

// A daemon that outlives the payload holds the other end: what the payload
// wrote comes, and then it ends.
func TestPumpEndlessSource(t *testing.T) {
	p := startPump(t)
	if _, err := p.payload.WriteString("last words"); err != nil {
		t.Fatal(err)
	}
	if took := p.finished(t, nil, 0); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	if data, err := io.ReadAll(p.reader); err != nil || string(data) != "last words" {
		t.Errorf("%q, %v", data, err)
	}
}

// What is more than a payload may print is thrown away, and told once.
func TestLimited(t *testing.T) {
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	told := 0
	s, err := NewLimited(Stdio{Stdout: out, Stderr: out}, false, 10, func() { told++ })
	if err != nil {
		t.Fatal(err)
	}
	defer s.ended[0].Close()
	payload := s.Child
	s.told = make(chan os.Signal, 1)
	for _, pump := range s.pumps {
		s.done.Go(pump)
	}
	for _, text := range []string{"0123456", "789", "", "too much", "of it"} {
		for _, f := range payload[1:] {
			if f == out {
				t.Fatal("the payload has the caller's own")
			}
		}
		before := s.produced.Load()
		if _, err := payload[1].WriteString(text); err != nil {
			t.Fatal(err)
		}
		for s.produced.Load() != before+int64(len(text)) {
			time.Sleep(time.Millisecond) // until it is read
		}
	}
	s.Abandon()
	s.Finish(nil, 0)
	if data, err := os.ReadFile(out.Name()); err != nil || string(data) != "0123456789" {
		t.Errorf("%q, %v", data, err)
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}

// Both streams to one file keep the order in which they were written; to two they are two.
func TestOneStream(t *testing.T) {
	out, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	other, err := os.Create(t.TempDir() + "/other")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for _, c := range []struct {
		err  *os.File
		same bool
	}{{out, true}, {other, false}} {
		s, err := NewLimited(Stdio{Stdout: out, Stderr: c.err}, false, 1<<20, func() {})
		if err != nil {
			t.Fatal(err)
		}
		if same := s.Child[1] == s.Child[2]; same != c.same || s.Child[1] == out {
			t.Errorf("one pipe for both: %v", same)
		}
		s.Abandon()
	}
}
