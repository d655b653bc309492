package layer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRemoveEverything(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		check := e.outside(t)
		ents := []ent{folder("closed").moded(0), file("closed/f", "").moded(0), file("closed/sub/f", "").owned(1000, 1000),
			symlink("l", "../../outside"), symlink("l2", "../../outside/secret"), folder("ro").moded(0o555).owned(5, 5), file("ro/f", ""),
			folder("sticky").moded(0o1777).owned(9, 9), file("sticky/f", "").owned(8, 8), file(strings.Repeat("d/", 1500)+"f", "")}
		for i := range 1000 {
			ents = append(ents, file(fmt.Sprintf("many/%d", i), ""))
		}
		e.layer(t, "a", nil, ents...)
		if err := e.Remove(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(filepath.Join(e.root, "a")); err == nil {
			t.Error("it is still there")
		}
		check()
		if err := e.Remove(t.Context(), "a/b"); err != nil {
			t.Errorf("what is not there: %v", err)
		}
	})
}

// A container may go deeper than any name is long.
func TestRemoveTheDeepest(t *testing.T) {
	e := localEnv(t)
	fd, err := unix.Open(e.root, openDir, 0)
	for range 5000 {
		if err == nil {
			err = unix.Mkdirat(fd, "a", 0o755)
		}
		if err == nil {
			old := fd
			fd, err = unix.Openat(old, "a", openDir, 0)
			unix.Close(old)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	var lim, old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	lim = unix.Rlimit{Cur: 200, Max: old.Max}
	unix.Setrlimit(unix.RLIMIT_NOFILE, &lim)
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	if err := e.Remove(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if names, _ := os.ReadDir(e.root); len(names) != 0 {
		t.Errorf("left: %v", names)
	}
}

// The launcher itself may remove what is its own, and is told when the stage
// has to.
func TestRemoveWithoutPermission(t *testing.T) {
	e := stageEnv(t, false)
	e.layer(t, "own", nil, file("d/f", ""))
	e.layer(t, "others", nil, folder("d").owned(5, 5).moded(0o755), file("d/f", ""))
	fd, err := unix.Open(e.root, openDir, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	done := make(chan error)
	go func() { // a thread of its own gets the caller's ids, and dies with them
		lockAndBecome(callerID)
		if err := RemoveAll(fd, "own"); err != nil {
			done <- err
			return
		}
		done <- RemoveAll(fd, "others")
	}()
	if err := <-done; !errors.Is(err, unix.EACCES) {
		t.Errorf("got %v, want EACCES", err)
	}
	if names, _ := os.ReadDir(e.root); len(names) != 1 || names[0].Name() != "others" {
		t.Errorf("left: %v", names)
	}
	if err := e.Remove(t.Context(), "others"); err != nil {
		t.Error(err)
	}
}

// Two may remove the same tree at once.
func TestRemoveTogether(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		for range 10 {
			var ents []ent
			for i := range 30 {
				ents = append(ents, folder(fmt.Sprint("d", i)), file(fmt.Sprint("d", i, "/f"), "x"), folder(fmt.Sprint("d", i, "/e")), file(fmt.Sprint("d", i, "/e/f"), "x"))
			}
			if _, err := e.unpack(t, "a", archiveOf(t, ents...)); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					if err := e.Remove(t.Context(), "a"); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if _, err := os.Lstat(filepath.Join(e.root, "a")); !os.IsNotExist(err) {
				t.Error("it is still there", err)
			}
		}
	})
}
