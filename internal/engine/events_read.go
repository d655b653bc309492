package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"coracle/internal/ctrlog"
	"coracle/internal/plainfile"

	"golang.org/x/sys/unix"
)

// EventOptions say which events are read.
type EventOptions struct {
	Since, Until string   // a time, or a duration: ctrlog.ParseTime
	Stream       bool     // go on with what happens from now on, until Until
	Filter       []string // KEY=VALUE
}

// EventFilterKeys are the names of the filters of events.
func EventFilterKeys() []string {
	return []string{"container", "event", "image", "label", "type", "volume"}
}

// Events hands events to show, in the order of time, as podman's events: those
// that are kept, where Since is given or nothing is to follow, and then those to
// come. It ends at Until, or with the context.
func (e *Engine) Events(ctx context.Context, o EventOptions, show func(Event) error) error {
	fits, err := parseEventFilter(o.Filter)
	if err != nil {
		return err
	}
	since, until, err := o.span(time.Now())
	if err != nil {
		return err
	}
	wanted := func(ev Event) bool {
		return !ev.Time.Before(since) && (until.IsZero() || !ev.Time.After(until)) && fits(ev)
	}
	past := !o.Stream || !since.IsZero() || !until.IsZero()
	follows := o.Stream && (until.IsZero() || time.Now().Before(until))
	t := eventTail{dir: e.eventsDir()}
	defer t.close()
	var wake *eventWatch
	if follows { // before the first look: nothing falls in between
		_ = unix.Mkdir(t.dir, 0o700) // so that there is something to watch
		wake = watchEvents(ctx, t.dir)
		defer wake.close()
	}
	kept, err := t.kept()
	if err != nil {
		return fmt.Errorf("read the events: %w", err)
	}
	if past {
		slices.SortStableFunc(kept, func(a, b Event) int { return a.Time.Compare(b.Time) })
		for _, ev := range kept {
			if wanted(ev) {
				if err := show(ev); err != nil {
					return err
				}
			}
		}
	}
	for follows {
		news, err := t.next()
		if err != nil {
			return fmt.Errorf("read the events: %w", err)
		}
		for _, ev := range news {
			if wanted(ev) {
				if err := show(ev); err != nil {
					return err
				}
			}
		}
		if ctx.Err() != nil || !until.IsZero() && time.Now().After(until) {
			return nil
		}
		wake.wait(until)
	}
	return nil
}

// span reads the times; zero where none is given.
func (o EventOptions) span(now time.Time) (since, until time.Time, err error) {
	if o.Since != "" {
		if since, err = ctrlog.ParseTime(o.Since, now, true); err != nil {
			return since, until, fmt.Errorf("--since: %w", err)
		}
	}
	if o.Until != "" {
		if until, err = ctrlog.ParseTime(o.Until, now, false); err != nil {
			return since, until, fmt.Errorf("--until: %w", err)
		}
	}
	return since, until, nil
}

// eventTail reads the events' files from the first line to the last, and goes
// on with what is appended, also through a change of files.
type eventTail struct {
	dir  string
	file *os.File
	rest []byte // of a line that is not whole yet
}

// kept reads what is there.
func (t *eventTail) kept() ([]Event, error) {
	var out []Event
	old, err := os.ReadFile(filepath.Join(t.dir, eventsFile+".1"))
	if err != nil && !isNotFound(err) {
		return nil, err
	}
	out, _ = appendEvents(out, old)
	news, err := t.next()
	return append(out, news...), err
}

// next reads what has been appended since.
func (t *eventTail) next() ([]Event, error) {
	var out []Event
	for {
		if t.file == nil {
			f, err := os.Open(filepath.Join(t.dir, eventsFile))
			if isNotFound(err) {
				return out, nil
			}
			if err != nil {
				return out, err
			}
			t.file = f
		}
		// Asked before the reading: what is written into a file that has been
		// renamed since comes with it.
		renamed := !plainfile.Named(t.file, filepath.Join(t.dir, eventsFile))
		data, err := io.ReadAll(t.file)
		if err != nil {
			return out, err
		}
		out, t.rest = appendEvents(out, append(t.rest, data...))
		if !renamed {
			return out, nil
		}
		// Where the next one has been renamed as well, it comes first. More than
		// that falls to who does not read for megabytes.
		next, err := os.Open(filepath.Join(t.dir, eventsFile+".1"))
		if err == nil && plainfile.Named(t.file, next.Name()) {
			next.Close()
			next = nil
		}
		t.close()
		if t.file = next; err != nil {
			t.file = nil
		}
	}
}

func (t *eventTail) close() {
	if t.file != nil {
		t.file.Close()
		t.file, t.rest = nil, nil
	}
}

// appendEvents reads lines. What is no event is left out: the end of a line that
// a full disk has cut, or a damaged file.
func appendEvents(out []Event, data []byte) ([]Event, []byte) {
	for {
		line, rest, found := bytes.Cut(data, []byte("\n"))
		if !found {
			return out, data
		}
		data = rest
		var ev Event
		if json.Unmarshal(wholeLine(line), &ev) == nil && ev.Status != "" {
			out = append(out, ev)
		}
	}
}

// eventWatch wakes a reader when something was appended.
type eventWatch struct {
	file *os.File // inotify; nil where there is none to be had
	done <-chan struct{}
	stop func() bool
}

func watchEvents(ctx context.Context, dir string) *eventWatch {
	w := &eventWatch{done: ctx.Done(), stop: func() bool { return true }}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return w
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVE); err != nil {
		unix.Close(fd)
		return w
	}
	w.file = os.NewFile(uintptr(fd), "inotify")
	w.stop = context.AfterFunc(ctx, func() { _ = w.file.SetReadDeadline(time.Now()) })
	return w
}

// wait waits until there may be something new, at the longest until then.
func (w *eventWatch) wait(until time.Time) {
	if w.file == nil {
		select {
		case <-w.done:
		case <-time.After(200 * time.Millisecond):
		}
		return
	}
	if !until.IsZero() {
		_ = w.file.SetReadDeadline(until)
	}
	select {
	case <-w.done: // its deadline may just have been written over
		return
	default:
	}
	_, _ = w.file.Read(make([]byte, 4096)) // which of the files it was does not matter
}

func (w *eventWatch) close() {
	w.stop()
	if w.file != nil {
		w.file.Close()
	}
}

// parseEventFilter reads the words of --filter: of one key any must fit, of
// several keys all.
func parseEventFilter(words []string) (func(Event) bool, error) {
	values := map[string][]string{}
	for _, word := range words {
		key, value, found := strings.Cut(word, "=")
		switch {
		case !found:
			return nil, &Error{Op: "filter by " + word, Err: errors.New("it has no value"), Help: "KEY=VALUE, as in --filter event=died"}
		case key == "pod":
			return nil, &Error{Op: "filter by " + word, Err: errors.New("there are no pods")}
		case !slices.Contains(EventFilterKeys(), key):
			return nil, &UnknownFilterError{Key: key, Known: EventFilterKeys()}
		}
		values[key] = append(values[key], value)
	}
	return func(ev Event) bool {
		for key, any := range values {
			if !slices.ContainsFunc(any, func(v string) bool { return ev.fits(key, v) }) {
				return false
			}
		}
		return true
	}, nil
}

// dockers is what docker calls a status of podman's, where it has another word.
func dockers(status string) string {
	switch status {
	case "died":
		return "die"
	case "remove":
		return "destroy"
	case "exec":
		return "exec_start"
	case "exec_died":
		return "exec_die"
	}
	return status
}

func (ev Event) fits(key, value string) bool {
	isID := func() bool { return len(value) >= 3 && strings.HasPrefix(ev.ID, strings.TrimPrefix(value, "sha256:")) }
	switch key {
	case "container":
		return ev.Type == "container" && (ev.Name == value || isID())
	case "event":
		return ev.Status == value || dockers(ev.Status) == value
	case "image":
		return ev.Type == "container" && sameImage(ev.Image, value) || ev.Type == "image" && (sameImage(ev.Name, value) || isID())
	case "label":
		key, want, valued := strings.Cut(value, "=")
		got, has := ev.Attributes[key]
		return has && (!valued || got == want)
	case "type":
		return ev.Type == value
	}
	return ev.Type == "volume" && ev.Name == value
}

// sameImage compares two names as people type them: box is localhost/box:latest or
// docker.io/library/box:latest, and which of them is not known any more.
func sameImage(a, b string) bool {
	a, b = strings.TrimSuffix(a, ":latest"), strings.TrimSuffix(b, ":latest")
	return a == b || a != "" && b != "" && (withoutPlace(a) == b || a == withoutPlace(b))
}

// withoutPlace cuts off what a short name is looked for in.
func withoutPlace(name string) string {
	for _, place := range []string{"localhost/", "docker.io/library/", "docker.io/"} {
		if short, ok := strings.CutPrefix(name, place); ok {
			return short
		}
	}
	return name
}
