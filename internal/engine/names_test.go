package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestCheckName(t *testing.T) {
	for _, good := range []string{"", "a", "A9", "9.x_y-z", strings.Repeat("a", 200)} {
		if err := checkName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{".", "..", ".lock", "-a", "_a", "a/b", "../evil", "a b", "a\x00", "ä", "a\n", strings.Repeat("a", 201)} {
		if checkName(bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestRandomNamesAreValid(t *testing.T) {
	for try := range 50 {
		if err := checkName(randomName(try)); err != nil {
			t.Error(err)
		}
	}
}

// Of many who want one name at once, one gets it; the others are told whose
// it is, and leave nothing.
func TestOneNameForMany(t *testing.T) {
	e := testEngine(t)
	var winners atomic.Int32
	var all sync.WaitGroup
	var held sync.Map // a box that is collected lets go of its lock
	for range 12 {
		all.Go(func() {
			b, err := e.newBox(context.Background(), Container{ID: newID(), Name: "boat", Status: Running}, false)
			held.Store(b, true)
			var ee *Error
			switch {
			case err == nil:
				winners.Add(1)
			case !errors.As(err, &ee) || ee.Help == "" || errors.Is(err, fs.ErrNotExist):
				t.Errorf("a loser is told %v", err)
			}
		})
	}
	all.Wait()
	if winners.Load() != 1 {
		t.Errorf("%d have got the name", winners.Load())
	}
	ids, _ := e.ids()
	to, _ := os.Readlink(filepath.Join(e.root, "names/boat"))
	if len(ids) != 1 || to != ids[0] {
		t.Errorf("containers %v, the name leads to %q", ids, to)
	}
	held.Clear()
}

// --replace by many at once, with records that come a while after the name, as
// in a run: all have it in turn, and the last one keeps it.
func TestReplaceByMany(t *testing.T) {
	e := testEngine(t)
	ctx := context.Background()
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			b, err := e.newBox(ctx, Container{ID: newID(), Name: "boat", Status: Running}, true)
			if err != nil {
				t.Errorf("replace: %v", err)
				return
			}
			time.Sleep(30 * time.Millisecond)
			if err := b.save(); err != nil {
				t.Errorf("save: %v", err)
			}
			b.Status = Stopped
			if err := b.save(); err != nil {
				t.Errorf("save: %v", err)
			}
			b.close()
		})
	}
	all.Wait()
	ids, _ := e.ids()
	to, _ := os.Readlink(filepath.Join(e.root, "names/boat"))
	if len(ids) != 1 || to != ids[0] {
		t.Errorf("containers %v, the name leads to %q", ids, to)
	}
}

// A name whose container is gone is free.
func TestStaleName(t *testing.T) {
	e := testEngine(t)
	leave(t, e, newID(), map[string]string{"names/boat": "->"})
	b := testBox(t, e, "boat", false)
	b.remove(context.Background())
	assertNothing(t, e)
}

func TestDropNameOfAnother(t *testing.T) {
	e := testEngine(t)
	id := newID()
	leave(t, e, id, map[string]string{"names/boat": "->", "names/dinghy": "->"})
	e.dropName("boat", newID())
	if _, err := os.Lstat(filepath.Join(e.root, "names/boat")); err != nil {
		t.Error("another's name was removed")
	}
	e.dropNamesOf(newID())
	e.dropNamesOf(id)
	assertNothing(t, e)
}

// A container has its name and its id before its record, and can be ended then.
func TestRemoveYoung(t *testing.T) {
	for _, by := range []string{"name", "id"} {
		e := testEngine(t)
		ctx := context.Background()
		b, err := e.newBox(ctx, Container{ID: newID(), Name: "boat", Status: Running}, false)
		if err != nil {
			t.Fatal(err)
		}
		name := map[string]string{"name": "boat", "id": b.ID}[by]
		if err := e.RemoveContainer(ctx, name, false, false); err == nil || isNotFound(err) {
			t.Errorf("by %s, without force: %v", by, err)
		}
		go func() {
			time.Sleep(50 * time.Millisecond)
			_ = b.save()
			b.close()
		}()
		if err := e.RemoveContainer(ctx, name, true, false); err != nil {
			t.Errorf("by %s: %v", by, err)
		}
		assertNothing(t, e)
	}
}

// Who comes right after a launcher was killed gets the name as well, while
// what that had forked still ends.
func TestNameOfOneThatJustDied(t *testing.T) {
	e := testEngine(t)
	b := testBox(t, e, "boat", true)
	go func() {
		time.Sleep(50 * time.Millisecond)
		b.lock.Close() // as its death does: nothing is cleaned up
	}()
	next := testBox(t, e, "boat", true)
	next.remove(context.Background())
	assertNothing(t, e)

	// Or between the sweep of our start and the look at the name.
	dead := newID()
	leave(t, e, dead, map[string]string{"running/$ID": "", "names/boat": "->", "containers/$ID/files": "/"})
	if err := e.freeName(context.Background(), "boat", false); err != nil {
		t.Error(err)
	}
	assertNothing(t, e)
}
