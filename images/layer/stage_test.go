package layer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

func TestStageIsShutIn(t *testing.T) {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			// Capabilities are dropped in builds like the product's only.
			need(t, s.Key != "CGO_ENABLED" || s.Value == "0", "a build without cgo")
		}
	}
	e := stageEnv(t, false)
	var got []string
	if err := e.client.Call(t.Context(), "try-escape", nil, &got); err != nil {
		t.Fatal(err)
	}
	if len(got) > 0 {
		t.Errorf("it could: %q", got)
	}
}

func TestStageHandlersAndErrors(t *testing.T) {
	e := stageEnv(t, false)
	var out map[string]int
	if err := e.client.Call(t.Context(), "echo", map[string]int{"n": 7}, &out); err != nil || out["n"] != 7 {
		t.Errorf("%v, %v", out, err)
	}
	err := e.client.Call(t.Context(), "echo", "fail", nil)
	var h interface{ Hint() string }
	if err == nil || err.Error() != "as asked" || !asErr(err, &h) || h.Hint() != "ask for something else" {
		t.Errorf("%v", err)
	}
	if err := e.client.Call(t.Context(), "nonsense", nil, nil); err == nil || !strings.Contains(err.Error(), `no request "nonsense"`) {
		t.Errorf("%v", err)
	}
	if err := e.client.Call(t.Context(), "echo", strings.Repeat("x", maxMessage), nil); !errors.Is(err, errTooLong) {
		t.Errorf("%v", err)
	}
	if err := e.client.Call(t.Context(), "echo", "fine", nil); err != nil {
		t.Errorf("after a long message: %v", err)
	}
}

func TestErrorsCrossTheSocket(t *testing.T) {
	e := stageEnv(t, false)
	data := archiveOf(t, file("a", "x"))
	_, err := e.unpack(t, "a", data, func(r *Request) {
		r.DiffID = "sha256:" + "00000000000000000000000000000000000000000000000000000000deadbeef"
	})
	wantErr(t, err, ErrDiffID)
	_, err = e.unpack(t, "b", data[:600])
	wantErr(t, err, ErrTruncated)
	_, err = e.unpack(t, "c", data, func(r *Request) { r.Limits.Entries = -1; r.Limits.Bytes = 5 })
	wantErr(t, err, ErrTooBig)
	_, err = e.unpack(t, "a", data)
	wantErr(t, err, unix.EEXIST)
	for _, dir := range []string{"", ".", "..", "../x", "/abs", "a/../../x", "x\x00y"} {
		_, err := e.unpack(t, "d", data, func(r *Request) { r.Dir = dir })
		if err == nil {
			t.Errorf("unpacked to %q", dir)
		}
		if err := e.Remove(t.Context(), dir); err == nil {
			t.Errorf("removed %q", dir)
		}
		if err := e.Finish(t.Context(), FinishRequest{Dir: dir}); err == nil {
			t.Errorf("finished %q", dir)
		}
	}
}

func TestLinksInTheStoreAreNotFollowed(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		check := e.outside(t)
		if err := os.Symlink("outside", filepath.Join(e.root, "a")); err != nil {
			t.Fatal(err)
		}
		if _, err := e.unpack(t, "a", archiveOf(t, file("secret", "x"))); err == nil {
			t.Error("unpacked through a link")
		}
		if err := e.Remove(t.Context(), "a/secret"); err == nil {
			t.Error("removed through a link")
		}
		check()
		if err := e.Remove(t.Context(), "a"); err != nil { // the link itself
			t.Error(err)
		}
		check()
	})
}

func TestManyRequestsAtOnce(t *testing.T) {
	e := stageEnv(t, false)
	var ents []ent
	for i := range 200 {
		ents = append(ents, file(fmt.Sprintf("d%d/f%d", i%7, i), strings.Repeat("x", i*100)))
	}
	data := archiveOf(t, ents...)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			var last int64
			res, err := e.unpack(t, fmt.Sprint(i), data, func(r *Request) { r.Progress = func(n int64) { last = n } })
			if err != nil || res.Entries != 200 || last != int64(len(data)) {
				t.Errorf("%d: %+v, %v, progress %d of %d", i, res, err, last, len(data))
			}
		})
	}
	wg.Wait()
	first := treeOf(t, filepath.Join(e.root, "0/fs"), "owner")
	sameTrees(t, treeOf(t, filepath.Join(e.root, "7/fs"), "owner"), first)
}

// endless is a blob that never ends, as long as nobody closes the other side.
func endless(t *testing.T) (data []byte) {
	t.Helper()
	var ents []ent
	for i := range 20000 {
		ents = append(ents, file(fmt.Sprintf("f%d", i), "x"))
	}
	return archiveOf(t, ents...)
}

func TestCancel(t *testing.T) {
	for _, e := range []*env{localEnv(t), stageEnv(t, false)} {
		ctx, cancel := context.WithCancel(t.Context())
		blob := blobOf(t, endless(t))
		time.AfterFunc(20*time.Millisecond, cancel)
		_, err := e.Unpack(ctx, Request{Blob: blob, Dir: "a/fs"})
		wantErr(t, err, context.Canceled)
		count := func() int {
			names, _ := os.ReadDir(filepath.Join(e.root, "a/fs"))
			return len(names)
		}
		n := count()
		time.Sleep(20 * time.Millisecond)
		if count() != n || n >= 20000 {
			t.Errorf("%d entries, %d later", n, count())
		}
		if err := e.Remove(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		if _, err := e.Unpack(ctx, Request{Blob: blob, Dir: "b/fs"}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled before: %v", err)
		}
	}
}

func TestStageIsKilled(t *testing.T) {
	e := stageEnv(t, false)
	data := endless(t)
	errs := make(chan error, 3)
	for i := range 3 {
		blob := blobOf(t, data)
		go func() {
			_, err := e.Unpack(t.Context(), Request{Blob: blob, Dir: fmt.Sprintf("%d/fs", i)})
			errs <- err
		}()
	}
	time.Sleep(20 * time.Millisecond)
	e.cmd.Process.Kill()
	for range 3 {
		wantErr(t, <-errs, ErrStageGone)
	}
	wantErr(t, e.Remove(t.Context(), "0"), ErrStageGone)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	wantErr(t, e.Remove(t.Context(), "0"), ErrStageGone)
}

func TestStageEndsWithTheLauncher(t *testing.T) {
	e := stageEnv(t, false)
	blob := blobOf(t, endless(t))
	done := make(chan error, 1)
	go func() {
		_, err := e.Unpack(t.Context(), Request{Blob: blob, Dir: "a/fs"})
		done <- err
	}()
	time.Sleep(10 * time.Millisecond)
	e.Close()
	wantErr(t, <-done, ErrStageGone)
	ended := make(chan error, 1)
	go func() { ended <- e.cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it is still there")
	}
}

func TestNothingRunsBeforeStart(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{w: wire{fd: fds[1]}, running: make(map[uint64]context.CancelFunc)}
	c := NewClient(os.NewFile(uintptr(fds[0]), "launcher"))
	go func() {
		for {
			m, got, err := s.w.receive()
			if err != nil {
				unix.Close(fds[1])
				return
			}
			s.dispatch(m, got)
		}
	}()
	defer c.Close()
	if err := c.Remove(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "not been started") {
		t.Errorf("%v", err)
	}
	if err := c.Start(t.Context(), nil); err == nil {
		t.Error("started without a root")
	}
}

// A layer may come through a pipe, before its end is known.
func TestBlobIsAPipe(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		data := archiveOf(t, folder("d"), file("d/f", strings.Repeat("text", 100_000)))
		for name, send := range map[string][]byte{"whole": data, "cut": data[:len(data)/2]} {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for part := range slices.Chunk(send, 1000) {
					w.Write(part)
				}
				w.Close()
			}()
			res, err := e.Unpack(t.Context(), Request{Blob: r, Dir: name + "/fs"})
			r.Close()
			if name == "cut" {
				wantErr(t, err, ErrTruncated)
			} else if err != nil || res.DiffID != digest.FromBytes(data) || res.Entries != 2 {
				t.Errorf("%+v, %v", res, err)
			}
		}
	})
}
