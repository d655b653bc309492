package images

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"coracle/images/layer"
)

const childEnv = "CORACLE_IMAGES_TEST_PULL" // ROOT NAME

// childMain pulls, in a process of its own that can be killed.
func childMain() int {
	root, name, _ := strings.Cut(os.Getenv(childEnv), " ")
	s, err := Open(root, Options{})
	if err == nil {
		var st layer.Stage
		if st, err = layer.Local(root); err == nil {
			_, err = s.Pull(context.Background(), name, PullOptions{Policy: PullAlways, Class: class, Stage: func() (layer.Stage, error) { return st, nil }})
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func child(root, name string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+root+" "+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// Killed at any moment, the store is usable, says nothing wrong, and the next
// pull makes it whole and leaves nothing of the dead.
func TestKill9(t *testing.T) {
	reg := newRegistry(t)
	m := make3(t, nil)
	reg.serve("v1", m)
	reg.meddle = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			time.Sleep(2 * time.Millisecond) // spreads the moments
		}
		return false
	}
	name := reg.host() + "/x:v1"
	began := time.Now()
	whole := filepath.Join(t.TempDir(), "s")
	if err := child(whole, name).Run(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	want := snapshot(t, &Store{root: whole})
	delete(want, "index.json")
	var killed, finished int
	for range 25 {
		root := filepath.Join(t.TempDir(), "s")
		cmd := child(root, name)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.Int64N(int64(took))))
		cmd.Process.Signal(syscall.SIGKILL)
		if cmd.Wait() == nil {
			finished++
		} else {
			killed++
		}
		s, err := Open(root, Options{})
		if err != nil {
			t.Fatal(err)
		}
		list, err := s.Images()
		if err != nil || len(list) > 1 {
			t.Fatalf("after the kill: %v, %v", list, err)
		}
		st := newStage(t, s)
		if len(list) == 1 { // what the index names is whole
			if _, err := s.Layers(t.Context(), &list[0], class, st.get); err != nil {
				t.Fatal(err)
			}
		}
		img, err := s.Pull(t.Context(), name, PullOptions{Class: class, Stage: st.get})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Layers(t.Context(), img, class, st.get); err != nil {
			t.Fatal(err)
		}
		if err := s.Collect(t.Context(), st.get); err != nil {
			t.Fatal(err)
		}
		got := snapshot(t, s)
		delete(got, "index.json")
		for p := range got { // locks of the dead are harmless
			if strings.HasPrefix(p, "locks/") {
				delete(got, p)
			}
		}
		sameStore(t, "after the next pull", want, got)
	}
	if killed == 0 {
		t.Errorf("no pull was killed, %d were too fast", finished)
	}
	t.Logf("%d killed, %d had finished", killed, finished)
}

// Two processes pull the same image: both succeed, nothing is left over.
func TestProcessesAtOnce(t *testing.T) {
	reg := newRegistry(t)
	reg.serve("v1", make3(t, nil))
	root := filepath.Join(t.TempDir(), "s")
	var cmds []*exec.Cmd
	for range 3 {
		cmd := child(root, reg.host()+"/x:v1")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	for _, d := range []string{"tmp", "locks", "leases"} {
		if l, err := os.ReadDir(filepath.Join(root, d)); err != nil || len(l) != 0 {
			t.Errorf("%s: %v, %v", d, l, err)
		}
	}
}

// A full disk: while fetching, and while unpacking.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CORACLE_MUST_WORK") == "1" {
			t.Fatal("root is needed to mount a small tmpfs")
		}
		t.Skip("root is needed to mount a small tmpfs")
	}
	reg := newRegistry(t)
	reg.serve("v1", make3(t, nil))
	for _, kib := range []int{64, 100, 130, 180, 240, 300} {
		dir := t.TempDir()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dk", kib)); err != nil {
			t.Fatal(err)
		}
		func() {
			defer syscall.Unmount(dir, 0)
			s, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, s)
			st, err := layer.Local(s.root)
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			_, err = s.Pull(t.Context(), reg.host()+"/x:v1", PullOptions{Class: class, Stage: func() (layer.Stage, error) { return st, nil }})
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(hintOf(err), "--root") {
				t.Errorf("%d KiB: %v; hint %q", kib, err, hintOf(err))
			}
			sameStore(t, "full disk", before, snapshot(t, s))
		}()
	}
}
