package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coracle/internal/ctrlog"
)

// leaveLog puts down a container that is called like its id, with a log in which
// each stream has a line.
func leaveLog(t *testing.T, e *Engine, id, driver, path string) {
	t.Helper()
	record := fmt.Sprintf(`{"id":%q,"name":"called-%s","status":"exited","logDriver":%q,"logPath":%q}`, id, id, driver, path)
	leave(t, e, id, map[string]string{"containers/$ID/container.json": record, "names/called-$ID": "->"})
	if driver != ctrlog.K8sFile && driver != ctrlog.JSONFile {
		return
	}
	w, err := ctrlog.Open(ctrlog.Options{Driver: driver, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w.Stream(ctrlog.Stdout), "said by "+id+"\n")
	_, _ = io.WriteString(w.Stream(ctrlog.Stderr), "complained by "+id+"\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLogs(t *testing.T) {
	e := testEngine(t)
	const a, b = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"
	leaveLog(t, e, a, ctrlog.K8sFile, filepath.Join(e.containerDir(a), "ctr.log"))
	leaveLog(t, e, b, ctrlog.JSONFile, filepath.Join(t.TempDir(), "mine.log"))
	for _, tt := range []struct {
		names     []string
		o         LogsOptions
		out, errw string
	}{
		{[]string{"called-" + a}, LogsOptions{Tail: -1}, "said by " + a + "\n", "complained by " + a + "\n"},
		{[]string{"called-" + a, b[:4]}, LogsOptions{Tail: -1, Names: true},
			"called-" + a + " said by " + a + "\ncalled-" + b + " said by " + b + "\n",
			"called-" + a + " complained by " + a + "\ncalled-" + b + " complained by " + b + "\n"},
		{[]string{a, b}, LogsOptions{Tail: 1, Color: true}, "", "\x1b[37m" + a[:12] + " complained by " + a + "\x1b[0m\n\x1b[31m" + b[:12] + " complained by " + b + "\x1b[0m\n"},
		{[]string{a}, LogsOptions{Tail: -1, Since: "2000-01-01", Until: "2001-01-01"}, "", ""},
		{[]string{a}, LogsOptions{Tail: -1, Follow: true}, "said by " + a + "\n", "complained by " + a + "\n"}, // it has ended
	} {
		var out, errw bytes.Buffer
		tt.o.Stdout, tt.o.Stderr = &out, &errw
		if err := e.Logs(context.Background(), tt.names, tt.o); err != nil || out.String() != tt.out || errw.String() != tt.errw {
			t.Errorf("%v %+v: %v, %q, %q; want %q, %q", tt.names, tt.o, err, out.String(), errw.String(), tt.out, tt.errw)
		}
	}
}

func TestLogsRefused(t *testing.T) {
	e := testEngine(t)
	const good = "aaaaaaaaaaaaaaaa"
	leaveLog(t, e, good, ctrlog.K8sFile, filepath.Join(e.containerDir(good), "ctr.log"))
	leaveLog(t, e, "foreground", "", "")
	leaveLog(t, e, "without", ctrlog.None, "")
	leaveLog(t, e, "journal", ctrlog.Journald, "")
	for _, tt := range []struct {
		name string
		o    LogsOptions
		want string
	}{
		{"nobody", LogsOptions{}, "no container is called"},
		{"foreground", LogsOptions{}, "foreground"},
		{"without", LogsOptions{}, "--log-driver none"},
		{"journal", LogsOptions{}, "in the journal"},
		{good, LogsOptions{Since: "yesterday"}, "--since: \"yesterday\""},
		{good, LogsOptions{Until: "tomorrow"}, "--until: \"tomorrow\""},
	} {
		var out bytes.Buffer
		tt.o.Stdout, tt.o.Stderr, tt.o.Tail = &out, &out, -1
		err := e.Logs(context.Background(), []string{good, tt.name}, tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.want) || out.Len() > 0 {
			t.Errorf("%s: %v after %q", tt.name, err, out.String())
		}
	}
}

// A container's own log is found in a store that was moved.
func TestLogsOfMovedStore(t *testing.T) {
	e := testEngine(t)
	const id = "aaaaaaaaaaaaaaaa"
	leaveLog(t, e, id, ctrlog.K8sFile, filepath.Join(e.containerDir(id), "ctr.log"))
	moved := e.root + "-moved"
	if err := os.Rename(e.root, moved); err != nil {
		t.Fatal(err)
	}
	e = openTest(t, moved, filepath.Join(t.TempDir(), "run"))
	var out bytes.Buffer
	if err := e.Logs(context.Background(), []string{id}, LogsOptions{Tail: -1, Stdout: &out, Stderr: io.Discard}); err != nil || out.String() != "said by "+id+"\n" {
		t.Errorf("%v, %q", err, out.String())
	}
}

// A follower goes on as long as somebody holds the container, and ends after
// the last word.
func TestLogsFollow(t *testing.T) {
	e := testEngine(t)
	const id = "aaaaaaaaaaaaaaaa"
	path := filepath.Join(e.containerDir(id), "ctr.log")
	leaveLog(t, e, id, ctrlog.K8sFile, path)
	lock, err := e.claim(id, "")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- e.Logs(context.Background(), []string{id}, LogsOptions{Tail: 0, Follow: true, Stdout: &out, Stderr: io.Discard})
	}()
	time.Sleep(50 * time.Millisecond)
	select {
	case err := <-done:
		t.Fatal("it ended while the container is held: ", err)
	default:
	}
	w, err := ctrlog.Open(ctrlog.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w.Stream(ctrlog.Stdout), "the last word\n")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	lock.Close()
	if err := <-done; err != nil || !strings.HasSuffix(out.String(), "the last word\n") {
		t.Errorf("%v, %q", err, out.String())
	}
}
