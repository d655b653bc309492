package ctrlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const tinyDisk = "CORACLE_TEST_TINY_DISK"

// withTinyDisk runs the calling test again in a mount namespace with a tmpfs of
// 256 KiB, and says whether this is that run and where the disk is.
func withTinyDisk(t *testing.T) (dir string, inside bool) {
	t.Helper()
	if dir := os.Getenv(tinyDisk); dir != "" {
		must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"))
		return dir, true
	}
	self, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), tinyDisk+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) && os.Getenv("CORACLE_MUST_WORK") == "" {
		t.Skip("no user namespaces here")
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return "", false
}

// On a full disk nothing waits and nothing fails; what is missing is counted to
// the byte and said where it is missing; the log stays one.
func TestFullDisk(t *testing.T) {
	dir, inside := withTinyDisk(t)
	if !inside {
		return
	}
	for _, driver := range []string{K8sFile, JSONFile} {
		t.Run(driver, func(t *testing.T) { testFullDisk(t, driver, dir) })
		t.Run(driver+"/batches", func(t *testing.T) {
			was := enough
			enough = 1
			defer func() { enough = was }()
			testFullDisk(t, driver, dir)
		})
	}
}

func testFullDisk(t *testing.T, driver, dir string) {
	at(t, "2026-01-02T03:04:05Z")
	clock := now()
	now = func() time.Time { return clock }
	path, filler := filepath.Join(dir, driver+".log"), filepath.Join(dir, "filler")
	must(t, os.WriteFile(filler, make([]byte, 128<<10), 0o600))
	defer os.Remove(path)
	var warned []string
	w := open(t, Options{Driver: driver, Path: path, Warn: func(s string) { warned = append(warned, s) }})
	said := 0
	say := func(s Stream, text string) {
		n, err := io.WriteString(w.Stream(s), text)
		if n != len(text) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
		said += n
	}
	line := strings.Repeat("é<\xff", 20) + "\n"
	for range 40 {
		say(Stdout, strings.Repeat(line, 100))
		say(Stderr, "unfinished ")
		clock = clock.Add(retryAfter / 3)
	}
	if len(warned) != 1 || !strings.Contains(warned[0], syscall.ENOSPC.Error()) {
		t.Errorf("warnings: %q", warned)
	}
	must(t, os.Remove(filler))
	clock = clock.Add(retryAfter)
	say(Stderr, "end\n")
	say(Stdout, "after\n")
	must(t, w.Close())
	if len(warned) != 2 || !strings.Contains(warned[1], "written again") {
		t.Errorf("warnings: %q", warned)
	}

	out, errw := readLog(t, driver, path, ReadOptions{Tail: -1})
	out = strings.ReplaceAll(out, "\ufffd", "\xff") // JSON has no other way to say it
	notice := strings.Index(errw, "coracle: ")
	if notice < 0 || strings.Count(errw, "coracle: ") != 1 || notice > 0 && errw[notice-1] != '\n' {
		t.Fatalf("stderr has %q", errw)
	}
	before, after, _ := strings.Cut(errw[notice:], "\n")
	var bytes, lines int
	_, err := fmt.Sscanf(before, "coracle: %d bytes (%d lines) of output are missing here: no space", &bytes, &lines)
	must(t, err)
	if !strings.HasSuffix(out, "\nafter\n") {
		t.Errorf("stdout ends %q", end(out))
	}
	// Before the gap a line may have been ended that the payload had not.
	ended := min(notice, 1)
	whole := 0
	for l := range strings.Lines(out) {
		switch {
		case l == line:
			whole++
		case l != "after\n" && strings.HasPrefix(line, strings.TrimSuffix(l, "\n")):
			ended++
		case l != "after\n":
			t.Errorf("a line says %q", l)
		}
	}
	written := len(out) + notice + len(after) - ended
	if said != written+bytes {
		t.Errorf("%d bytes were said, %d are there, %d are said to be missing: %d", said, written, bytes, said-written-bytes)
	}
	if missing := 4000 - whole; lines != missing && lines != missing-1 {
		t.Errorf("%d lines are said to be missing, %d are", lines, missing)
	}
}

// A line that goes on after a gap is not joined over it.
func TestGapWithinLine(t *testing.T) {
	dir, inside := withTinyDisk(t)
	if !inside {
		return
	}
	at(t, "2026-01-02T03:04:05Z")
	clock := now()
	now = func() time.Time { return clock }
	path, filler := filepath.Join(dir, "ctr.log"), filepath.Join(dir, "filler")
	w := open(t, Options{Path: path})
	_, _ = io.WriteString(w.Stream(Stderr), "unfinished ")
	f, err := os.Create(filler)
	must(t, err)
	_, err = f.Write(make([]byte, 1<<20))
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal("the disk is not full: ", err)
	}
	_, _ = io.WriteString(w.Stream(Stdout), strings.Repeat("x", 8000)+"\n")
	must(t, os.Remove(filler))
	clock = clock.Add(retryAfter)
	_, _ = io.WriteString(w.Stream(Stderr), "end\n")
	must(t, w.Close())
	must(t, f.Close())
	want := "unfinished \ncoracle: 8001 bytes (1 lines) of output are missing here: no space left on device\nend\n"
	if out, errw := readLog(t, K8sFile, path, ReadOptions{Tail: -1}); out != "" || errw != want {
		t.Errorf("stdout %q, stderr %q", out, errw)
	}
}

// Rotation makes its own room: the oldest file goes first.
func TestRotationOnFullDisk(t *testing.T) {
	dir, inside := withTinyDisk(t)
	if !inside {
		return
	}
	path := filepath.Join(dir, "ctr.log")
	w := open(t, Options{Path: path, MaxSize: 60_000, MaxFile: 3, Warn: func(s string) { t.Error(s) }})
	filler, err := os.Create(filepath.Join(dir, "filler"))
	must(t, err)
	chunk := strings.Repeat("0123456789\n", 100)
	for range 100 {
		_, _ = io.WriteString(w.Stream(Stdout), chunk)
	}
	// All but the room of one file is taken; three of ours are there.
	for n := 0; n < 1000 && err == nil; n++ {
		_, err = filler.Write(make([]byte, 4096))
	}
	must(t, filler.Close())
	must(t, os.Truncate(filler.Name(), 0))
	for range 300 {
		_, _ = io.WriteString(w.Stream(Stdout), chunk)
	}
	must(t, w.Close())
	if out, _ := readLog(t, K8sFile, path, ReadOptions{Tail: -1}); strings.Trim(strings.ReplaceAll(out, "0123456789\n", ""), "") != "" {
		t.Errorf("the log has something else: %q", end(out))
	}
}

// A leftover, or somebody's link, in the place of the new file is not written to.
func TestRotationOverLeftover(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ctr.log")
	theirs := filepath.Join(t.TempDir(), "theirs")
	must(t, os.WriteFile(theirs, []byte("precious"), 0o600))
	must(t, os.Link(theirs, path+".new"))
	w := open(t, Options{Path: path, MaxSize: 100, MaxFile: 2, Warn: func(s string) { t.Error(s) }})
	_, _ = io.WriteString(w.Stream(Stdout), "one\ntwo\nthree\n")
	must(t, w.Close())
	if got := content(t, theirs); got != "precious" {
		t.Errorf("the other file has %q", got)
	}
	if out, _ := readLog(t, K8sFile, path, ReadOptions{Tail: -1}); out != "one\ntwo\nthree\n" {
		t.Errorf("the log has %q", out)
	}
}

// A directory that is gone is a lasting failure, which Close tells of.
func TestDirectoryGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	must(t, os.Mkdir(dir, 0o700))
	w := open(t, Options{Path: filepath.Join(dir, "ctr.log")})
	_, _ = io.WriteString(w.Stream(Stdout), "one\n")
	must(t, os.RemoveAll(dir))
	_, _ = io.WriteString(w.Stream(Stdout), "two\n")
	if err := w.Close(); !errors.Is(err, errLost) || !strings.Contains(err.Error(), "4 bytes (1 lines)") {
		t.Errorf("Close: %v", err)
	}
	if n, err := io.WriteString(w.Stream(Stdout), "three\n"); n != 6 || err != nil {
		t.Errorf("after Close: %d, %v", n, err)
	}
}

// Half a record that somebody has left does not swallow the next one.
func TestTornEnd(t *testing.T) {
	for driver, torn := range map[string]string{K8sFile: "2026-01-02T03:04:05Z stdo", JSONFile: `{"log":"ha`} {
		path := filepath.Join(t.TempDir(), "ctr.log")
		must(t, os.WriteFile(path, []byte(torn), 0o600))
		w := open(t, Options{Driver: driver, Path: path})
		_, _ = io.WriteString(w.Stream(Stdout), "whole\n")
		must(t, w.Close())
		var out bytes.Buffer
		must(t, Read(context.Background(), []Log{{Driver: driver, Path: path}}, ReadOptions{Tail: -1}, &out, &out))
		if out.String() != "whole\n" {
			t.Errorf("%s: %q", driver, out.String())
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	must(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	for _, o := range []Options{{Path: dir}, {Path: filepath.Join(dir, "fifo")}, {Path: "/dev/null"}, {Path: filepath.Join(dir, "no", "log")}, {Driver: "syslog", Path: filepath.Join(dir, "x")}} {
		if w, err := Open(o); err == nil {
			t.Errorf("%+v is taken", o)
			_ = w.Close()
		}
	}
}
