package engine

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"coracle/spec"
)

// leave puts down what a killed launcher has left: files by their path below
// the store, with ID for the container's id; a value "-> x" is a link, "/" a
// directory.
func leave(t *testing.T, e *Engine, id string, files map[string]string) {
	t.Helper()
	if _, err := e.store(); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(e.root, os.Expand(name, func(string) string { return id }))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		switch content {
		case "/":
			err = os.MkdirAll(path, 0o700)
		case "->":
			err = os.Symlink(id, path)
		default:
			err = os.WriteFile(path, []byte(os.Expand(content, func(string) string { return id })), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// leaveState puts down the state of a container with this process.
func leaveState(t *testing.T, e *Engine, id string, pid int, start uint64, boot string) {
	t.Helper()
	data, err := json.Marshal(map[string]any{"ociVersion": "1.3.0", "id": id, "status": "running", "pid": pid, "startTime": start, "boot": boot})
	if err == nil {
		err = os.MkdirAll(e.runDir(id), 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(e.runDir(id), "state.json"), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func boot(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func TestSweep(t *testing.T) {
	record := `{"id":"$ID","name":"boat","status":"running"}`
	removed := `{"id":"$ID","name":"boat","status":"running","remove":true}`
	for _, tt := range []struct {
		name  string
		files map[string]string
		kept  bool
	}{
		{"claimed only", nil, false},
		{"directories without a record", map[string]string{"containers/$ID/upper/deep": "/", "containers/$ID/files/hosts": "x"}, false},
		{"named before the record", map[string]string{"containers/$ID/files": "/", "names/boat": "->"}, false},
		{"killed while it wrote the record", map[string]string{"containers/$ID/container.json.tmp": "{", "names/boat": "->"}, false},
		{"running", map[string]string{"containers/$ID/container.json": record, "names/boat": "->"}, true},
		{"running, --rm", map[string]string{"containers/$ID/container.json": removed, "names/boat": "->"}, false},
		{"removal begun", map[string]string{"containers/.dead-$ID/container.json": record, "names/boat": "->"}, false},
		{"removal has lost the record", map[string]string{"containers/.dead-$ID/upper": "/", "names/boat": "->"}, false},
		{"removal has lost all but the name", map[string]string{"names/boat": "->"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := testEngine(t)
			id := newID()
			leave(t, e, id, tt.files)
			leave(t, e, id, map[string]string{"running/$ID": "", "names/.lock": ""})
			if err := os.MkdirAll(e.runDir(id), 0o700); err != nil {
				t.Fatal(err)
			}
			e.sweep(context.Background())
			if tt.kept {
				c, err := e.find("boat")
				if err != nil || c.Status != Stopped || c.ExitCode != 137 || c.Finished.IsZero() {
					t.Errorf("it was to be kept: %+v, %v", c, err)
				}
				if err := e.RemoveContainer(context.Background(), "boat", false, false); err != nil {
					t.Error(err)
				}
			}
			assertNothing(t, e)
			e.sweep(context.Background())
		})
	}
}

// A name that has become another container's is not taken from it.
func TestSweepLeavesOthersNames(t *testing.T) {
	e := testEngine(t)
	b := testBox(t, e, "boat", false)
	dead := newID()
	leave(t, e, dead, map[string]string{"running/$ID": "", "containers/$ID/container.json": `{"id":"$ID","name":"boat","remove":true}`})
	e.sweep(context.Background())
	if to, err := os.Readlink(filepath.Join(e.root, "names/boat")); err != nil || to != b.ID {
		t.Errorf("the name leads to %q, %v", to, err)
	}
	if _, err := os.Stat(e.containerDir(dead)); err == nil {
		t.Error("the dead one is still there")
	}
	b.remove(context.Background())
	assertNothing(t, e)
}

// A payload that has survived its launcher is ended first; a process that has
// only got its number is not.
func TestSweepEndsThePayload(t *testing.T) {
	for _, tt := range []struct {
		name string
		off  uint64
		boot string
		dies bool
	}{
		{"the payload", 0, boot(t), true},
		{"another process", 1, boot(t), false},
		{"another boot", 0, "other", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			e, sweeper := openTest(t, dir+"/store", dir+"/a"), openTest(t, dir+"/store", dir+"/b")
			id := newID()
			leave(t, e, id, map[string]string{"running/$ID": e.ownRunDir(id), "containers/$ID/files": "/"})
			payload := exec.Command("sleep", "60")
			if err := payload.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- payload.Wait() }()
			at, _, err := spec.ProcessStart(payload.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			leaveState(t, e, id, payload.Process.Pid, at+tt.off, tt.boot)
			sweeper.sweep(context.Background())
			dead := false
			select {
			case <-ended:
				dead = true
			case <-time.After(200 * time.Millisecond):
				_ = payload.Process.Kill()
				<-ended
			}
			if dead != tt.dies {
				t.Errorf("it was ended: %v, want %v", dead, tt.dies)
			}
			assertNothing(t, e)
		})
	}
}

// Makers, removers, sweepers and listers at once: nobody disturbs another.
func TestBooksInParallel(t *testing.T) {
	dir := t.TempDir()
	engines := []*Engine{openTest(t, dir+"/store", dir+"/a"), openTest(t, dir+"/store", dir+"/b")}
	ctx, stop := context.WithCancel(context.Background())
	var makers, others sync.WaitGroup
	for i := range 6 {
		e := engines[i%2]
		makers.Go(func() {
			for j := range 25 {
				b, err := e.newBox(ctx, Container{ID: newID(), Remove: j%2 == 0, Status: Running}, false)
				if err != nil {
					t.Errorf("make: %v", err)
					return
				}
				if err := b.save(); err != nil {
					t.Errorf("save: %v", err)
				}
				if j%2 == 0 {
					b.remove(ctx)
					continue
				}
				b.Status = Stopped
				if err := b.save(); err != nil {
					t.Errorf("save: %v", err)
				}
				b.close()
				if err := engines[j/2%2].RemoveContainer(ctx, b.ID, false, false); err != nil {
					t.Errorf("remove: %v", err)
				}
			}
		})
	}
	for _, e := range engines {
		others.Go(func() {
			for ctx.Err() == nil {
				e.sweep(context.Background())
				if _, err := e.Containers(); err != nil {
					t.Errorf("list: %v", err)
				}
			}
		})
	}
	makers.Wait()
	stop()
	others.Wait()
	for _, e := range engines {
		assertNothing(t, e)
	}
}
