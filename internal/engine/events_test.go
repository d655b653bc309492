package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The line that is made by hand says what encoding/json would have it say.
func TestEventLine(t *testing.T) {
	at := time.Date(2026, 11, 26, 1, 2, 3, 450, time.UTC)
	three := 3
	for _, ev := range []Event{
		{ID: "ab", Name: "web", Image: "x:1", Status: "create", Time: at, Type: "container"},
		{ID: "ab", Status: "died", Time: at, Type: "container", ContainerExitCode: &three, Signal: 9, OOMKilled: true, HealthStatus: "healthy"},
		{ID: "ab", Status: "start", Time: at, Type: "container", Attributes: map[string]string{"b": "2", "a": "1", "": ""}},
		{ID: "ab", Status: "start", Time: at, Type: "container", Attributes: map[string]string{"quote\"": "back\\slash\n\r\t\x00\x1f\x7f", "ünï": "日本 \u2028 <&>", "bad": "\xff\xc3("}},
		{Name: `{"Time":"`, Status: "create", Time: at, Type: "volume"},
	} {
		line := ev.appendLine(nil)
		var got, want map[string]any
		if err := json.Unmarshal(line, &got); err != nil || bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
			t.Errorf("%q: %v", line, err)
			continue
		}
		plain, err := json.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(plain, &want); err != nil {
			t.Fatal(err)
		}
		if want["Attributes"] == nil {
			delete(want, "Attributes") // null and nothing are the same to who reads
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nnot\n%s", line, plain)
		}
		if got := wholeLine(append([]byte(`{"Time":"2026-11-2`), line...)); !bytes.Equal(got, line) {
			t.Errorf("after a cut line: %q", got)
		}
	}
}

func eventNames(t *testing.T, e *Engine, o EventOptions) string {
	t.Helper()
	var out []string
	if err := e.Events(t.Context(), o, func(ev Event) error { out = append(out, ev.Name+":"+ev.Status); return nil }); err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

func TestEventFilters(t *testing.T) {
	e := testEngine(t)
	if got := eventNames(t, e, EventOptions{}); got != "" {
		t.Errorf("where nothing happened: %q", got)
	}
	now := time.Now()
	ev := func(ago int, typ, id, image, name, status string, labels map[string]string) Event {
		return Event{Time: now.Add(-time.Duration(ago) * time.Minute), Type: typ, ID: id, Image: image, Name: name, Status: status, Attributes: labels}
	}
	e.emit(
		ev(9, "image", "f00d", "", "debian", "pull", nil),
		ev(8, "container", "abc1", "debian", "web", "create", map[string]string{"tier": "front"}),
		ev(6, "container", "abc1", "debian", "web", "died", map[string]string{"tier": "front"}),
		ev(7, "container", "abc1", "debian", "web", "start", map[string]string{"tier": "front"}), // written late
	)
	e.emit(ev(5, "container", "bcd2", "host", "job", "create", nil), ev(4, "volume", "", "", "data", "create", nil))
	e.emit()
	for words, want := range map[string]string{
		"":                                "debian:pull web:create web:start web:died job:create data:create",
		"type=image":                      "debian:pull",
		"type=volume type=image":          "debian:pull data:create",
		"event=create":                    "web:create job:create data:create",
		"event=create type=container":     "web:create job:create",
		"event=start event=died":          "web:start web:died",
		"container=web":                   "web:create web:start web:died",
		"container=abc":                   "web:create web:start web:died",
		"container=ab":                    "", // too short for an id
		"container=data":                  "",
		"image=debian":                    "debian:pull web:create web:start web:died",
		"image=sha256:f00d":               "debian:pull",
		"image=debian:latest":             "debian:pull web:create web:start web:died",
		"image=localhost/debian:latest":   "debian:pull web:create web:start web:died",
		"image=docker.io/library/debian":  "debian:pull web:create web:start web:died",
		"image=quay.io/debian":            "",
		"image=debian:12":                 "",
		"volume=data":                     "data:create",
		"label=tier":                      "web:create web:start web:died",
		"label=tier=back":                 "",
		"label=tier=front event=died":     "web:died",
		"container=web container=job":     "web:create web:start web:died job:create",
		"type=container container=absent": "",
	} {
		if got := eventNames(t, e, EventOptions{Filter: strings.Fields(words)}); got != want {
			t.Errorf("%q: %q, not %q", words, got, want)
		}
	}
	if got := eventNames(t, e, EventOptions{Since: "430s", Until: now.Add(-270 * time.Second).Format(time.RFC3339Nano), Stream: true}); got != "web:start web:died job:create" {
		t.Errorf("between two times: %q", got)
	}
	for _, o := range []EventOptions{{Since: "yesterday"}, {Until: "x"}} {
		if err := e.Events(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), "is no time") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, bad := range []string{"event", "evnt=x", "pod=x"} {
		if e.Events(t.Context(), EventOptions{Filter: []string{bad}}, nil) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// A follower sees each event once, while many write and the file is changed
// again and again.
func TestEventsAreFollowedThroughRotation(t *testing.T) {
	e := testEngine(t)
	e.emit(Event{Name: "before", Status: "create", Type: "volume", Time: time.Now()})
	const writers, each = 4, 200
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	seen := map[string]int{}
	var behind atomic.Int64 // a follower may lose what it does not read for megabytes
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		var once sync.Once
		done <- e.Events(ctx, EventOptions{Stream: true}, func(ev Event) error {
			once.Do(func() { close(ready) })
			behind.Add(-1)
			if seen[ev.Name]++; ev.Name == "last" {
				stop()
			}
			return nil
		})
	}()
	for begun := false; !begun; { // it follows from some moment on
		e.emit(Event{Name: "ping", Status: "create", Type: "volume", Time: time.Now()})
		select {
		case <-ready:
			begun = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				for behind.Add(1); behind.Load() > 100 && ctx.Err() == nil; {
					time.Sleep(time.Millisecond)
				}
				e.emit(Event{Name: fmt.Sprint(w, "-", i), Status: "create", Type: "volume", Time: time.Now(), Attributes: map[string]string{"much": strings.Repeat("x", 20_000)}})
			}
		})
	}
	all.Wait()
	e.emit(Event{Name: "last", Status: "create", Type: "volume", Time: time.Now()})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if seen["last"] != 1 || seen["before"] != 0 {
		t.Errorf("the first %d times, the last %d", seen["before"], seen["last"])
	}
	for w := range writers {
		for i := range each {
			if n := seen[fmt.Sprint(w, "-", i)]; n != 1 {
				t.Errorf("%d-%d was seen %d times", w, i, n)
			}
		}
	}
	// 16 MB went through; two files at most stay, neither much over the limit.
	for _, f := range []string{eventsFile, eventsFile + ".1"} {
		st, err := os.Stat(filepath.Join(e.eventsDir(), f))
		if err != nil || st.Size() > eventsLimit+writers*21_000 {
			t.Errorf("%s: %v %v", f, st.Size(), err)
		}
	}
}

// What cannot be written down breaks nothing.
func TestEventsWithoutAPlace(t *testing.T) {
	e := testEngine(t)
	if err := os.WriteFile(e.eventsDir(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e.emit(Event{Name: "x", Status: "create", Type: "volume"})
	e.root = filepath.Join(e.root, "gone")
	e.emit(Event{Name: "x", Status: "create", Type: "volume"})
	if _, err := os.Lstat(e.root); !os.IsNotExist(err) {
		t.Errorf("an event has made the store: %v", err)
	}
}

func TestDamagedEvents(t *testing.T) {
	e := testEngine(t)
	whole := string(Event{Name: "x", Status: "create", Type: "volume", Time: time.Now()}.appendLine(nil))
	file := "\n\x00\xff\n{}\nnull\n[1]\n" + whole + `{"Time":"2026-11-26T00:00` + whole + `{"Time":"2026`
	if err := os.MkdirAll(e.eventsDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(e.eventsDir(), eventsFile), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := eventNames(t, e, EventOptions{}); got != "x:create x:create" {
		t.Errorf("%q", got)
	}
	e.emit(Event{Name: "y", Status: "create", Type: "volume", Time: time.Now()}) // after the cut line
	if got := eventNames(t, e, EventOptions{}); got != "x:create x:create y:create" {
		t.Errorf("%q", got)
	}
}
