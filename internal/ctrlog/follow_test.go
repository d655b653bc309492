package ctrlog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// screen is an output that a test can wait at.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// shows waits until the text is the one expected.
func (s *screen) shows(t *testing.T, want string) {
	t.Helper()
	for range 2000 {
		if s.String() == want {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	got := s.String()
	t.Fatalf("the follower shows %d bytes, ending %.80q; want %d, ending %.80q", len(got), end(got), len(want), end(want))
}

func end(s string) string { return s[max(0, len(s)-80):] }

// follow starts a follower of what is at path and of what will be.
func follow(t *testing.T, driver, path string, tail int) (out *screen, over chan struct{}, done chan error) {
	t.Helper()
	out, over, done = &screen{}, make(chan struct{}), make(chan error, 1)
	o := ReadOptions{Tail: tail, Follow: true, Warn: func(s string) { t.Error(s) }}
	go func() {
		done <- Read(context.Background(), []Log{{Driver: driver, Path: path, Over: over}}, o, out, out)
	}()
	return out, over, done
}

// A follower that keeps up sees everything once, over all rotations; what is
// unfinished in between, too.
func TestFollowThroughRotation(t *testing.T) {
	for _, driver := range []string{K8sFile, JSONFile} {
		path := filepath.Join(t.TempDir(), "ctr.log")
		w := open(t, Options{Driver: driver, Path: path, MaxSize: 3000, MaxFile: 3})
		out, over, done := follow(t, driver, path, -1)
		r := rand.New(rand.NewPCG(1, 2))
		var said strings.Builder
		for i := range 300 {
			line := fmt.Sprintf("line %d %s\n", i, strings.Repeat("z", r.IntN(200)))
			_, _ = io.WriteString(w.Stream(Stdout), line)
			said.WriteString(line)
			if i%5 == 0 { // at most 3000 bytes and one file behind
				out.shows(t, said.String())
			}
		}
		_, _ = io.WriteString(w.Stream(Stdout), "end")
		said.WriteString("end")
		must(t, w.Close())
		close(over)
		must(t, <-done)
		out.shows(t, said.String())
		if _, err := os.Stat(path + ".3"); err == nil {
			t.Error("more than three files are kept")
		}
	}
}

// With one file only, rotation replaces it; whoever has it open reads it out.
func TestFollowReplacedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ctr.log")
	w := open(t, Options{Path: path, MaxSize: 1000})
	out, over, done := follow(t, K8sFile, path, -1)
	var said string
	for i := range 100 {
		line := fmt.Sprintf("line %d\n", i)
		_, _ = io.WriteString(w.Stream(Stdout), line)
		said += line
		if i%10 == 0 {
			out.shows(t, said)
		}
	}
	out.shows(t, said)
	must(t, w.Close())
	close(over)
	must(t, <-done)
}

// A writer at full speed and a reader of many files that are being renamed: a
// snapshot has no line twice, none is missing between two.
func TestReadWhileRotating(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ctr.log")
	w := open(t, Options{Path: path, MaxSize: 20_000, MaxFile: 8})
	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_, _ = fmt.Fprintf(w.Stream(Stdout), "%d\n", i)
			}
		}
	})
	for range 300 {
		out, _ := readLog(t, K8sFile, path, ReadOptions{Tail: -1})
		first := -1
		for i, line := range strings.Fields(out) {
			if i == 0 {
				_, _ = fmt.Sscan(line, &first)
			}
			if line != fmt.Sprint(first+i) {
				t.Fatalf("line %d is %s, the first was %d", i, line, first)
			}
		}
	}
	close(stop)
	writing.Wait()
	must(t, w.Close())
}

func TestFollowFromNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ctr.log")
	out, over, done := follow(t, K8sFile, path, 0)
	time.Sleep(10 * time.Millisecond)
	w := open(t, Options{Path: path})
	_, _ = io.WriteString(w.Stream(Stdout), "$ ")
	out.shows(t, "$ ")
	_, _ = io.WriteString(w.Stream(Stdout), "ls\n")
	out.shows(t, "$ ls\n")
	must(t, w.Close())
	close(over)
	must(t, <-done)
}

// Tail 0 begins where the log ends; the context ends it.
func TestFollowTailZero(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ctr.log")
	w := open(t, Options{Path: path})
	_, _ = io.WriteString(w.Stream(Stdout), "old\n")
	ctx, cancel := context.WithCancel(context.Background())
	out, done := &screen{}, make(chan error, 1)
	go func() {
		done <- Read(ctx, []Log{{Path: path}}, ReadOptions{Follow: true}, out, out)
	}()
	for i := 0; out.String() == "" && i < 1000; i++ { // until it is there
		_, _ = io.WriteString(w.Stream(Stdout), "new\n")
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-done; err == nil || strings.Contains(out.String(), "old") || !strings.Contains(out.String(), "new\n") {
		t.Errorf("%v, %q", err, out.String())
	}
}

// Somebody types `: > ctr.log`, or removes it: writing goes on, and a follower
// follows.
func TestEmptiedAndRemoved(t *testing.T) {
	for _, driver := range []string{K8sFile, JSONFile} {
		path := filepath.Join(t.TempDir(), "ctr.log")
		w := open(t, Options{Driver: driver, Path: path})
		out, over, done := follow(t, driver, path, -1)
		_, _ = io.WriteString(w.Stream(Stdout), "one is the longest of them\n")
		out.shows(t, "one is the longest of them\n")
		must(t, os.Truncate(path, 0))
		_, _ = io.WriteString(w.Stream(Stdout), "two\n")
		out.shows(t, "one is the longest of them\ntwo\n")
		must(t, os.Remove(path))
		_, _ = io.WriteString(w.Stream(Stdout), "three\n")
		out.shows(t, "one is the longest of them\ntwo\nthree\n")
		must(t, w.Close())
		close(over)
		must(t, <-done)
		if got, _ := readLog(t, driver, path, ReadOptions{Tail: -1}); got != "three\n" {
			t.Errorf("the log has %q", got)
		}
	}
}

// A user has 128 inotify instances: without one it is slower, not wrong.
func TestFollowWithoutInotify(t *testing.T) {
	w := &watcher{fd: -1, wake: -1, wait: 1}
	w.add("/nowhere/x")
	must(t, w.next(time.Time{}))
	real, err := newWatcher()
	must(t, err)
	defer real.close()
	if real.add("/nowhere/x"); real.wait != pollMillis {
		t.Errorf("a directory that cannot be watched is looked at every %d ms", real.wait)
	}
}
