package images

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func TestHold(t *testing.T) {
	s := newStore(t)
	st := newStage(t, s)
	ctx := t.Context()
	img := pullLayout(t, s, make3(t, nil), "localhost/a")
	release, err := s.Hold(ctx, img)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(ctx, "a", RemoveOptions{Stage: st.get}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "starting") || hintOf(err) == "" {
		t.Errorf("held: %v", err)
	}
	if r, err := s.Remove(ctx, "a", RemoveOptions{Force: true, Stage: st.get}); err != nil || r.Deleted != "" {
		t.Errorf("forced: %+v, %v", r, err)
	}
	if _, err := s.Layers(ctx, img, class, st.get); err != nil {
		t.Errorf("a held image that was untagged: %v", err)
	}
	again, err := s.Hold(ctx, img) // nameless, but there
	if err != nil {
		t.Fatal(err)
	}
	again()
	release()
	if r, err := s.Remove(ctx, string(img.ID), RemoveOptions{Stage: st.get}); err != nil || r.Deleted != img.ID {
		t.Errorf("released: %+v, %v", r, err)
	}
	if _, err := s.Hold(ctx, img); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed: %v", err)
	}
}

// Starts and removals at once: what starts has its layers until its record is
// gone, whoever wins.
func TestHoldAgainstRemove(t *testing.T) {
	var mu sync.Mutex
	records := map[digest.Digest][]string{}
	inUse := func() (map[digest.Digest][]string, error) {
		mu.Lock()
		defer mu.Unlock()
		out := map[digest.Digest][]string{}
		for id, names := range records {
			if len(names) > 0 {
				out[id] = append([]string(nil), names...)
			}
		}
		return out, nil
	}
	s, err := Open(t.TempDir(), Options{InUse: inUse})
	if err != nil {
		t.Fatal(err)
	}
	st := newStage(t, s)
	src := "oci:" + make3(t, nil).layout(t)
	var started, lost, removed, refused int
	stop := make(chan struct{})
	var starts, removals sync.WaitGroup
	for n := range 3 {
		starts.Go(func() {
			for round := range 30 {
				img, err := s.Pull(t.Context(), src, PullOptions{Class: class, Stage: st.get})
				if err != nil {
					t.Error(err)
					return
				}
				release, err := s.Hold(t.Context(), img)
				if errors.Is(err, ErrNotFound) {
					mu.Lock()
					lost++
					mu.Unlock()
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				dirs, err := s.Layers(t.Context(), img, class, st.get)
				name := fmt.Sprint(n, "-", round)
				time.Sleep(rand.N(3 * time.Millisecond)) // until it has a record
				mu.Lock()
				records[img.ID] = append(records[img.ID], name)
				started++
				mu.Unlock()
				release()
				time.Sleep(rand.N(3 * time.Millisecond)) // while it runs
				if err != nil || !s.hasLayers(img, class) || readLayers(t, dirs, "top") != "2" {
					t.Errorf("a container that runs lost its image: %v", err)
				}
				mu.Lock()
				records[img.ID] = records[img.ID][1:]
				mu.Unlock()
			}
		})
	}
	removals.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			list, err := s.Images()
			if err != nil {
				t.Error(err)
			}
			for _, img := range list {
				switch _, err := s.Remove(t.Context(), string(img.ID), RemoveOptions{Stage: st.get}); {
				case err == nil:
					removed++
				case errors.Is(err, ErrInUse):
					refused++
				case !errors.Is(err, ErrNotFound):
					t.Error(err)
				}
			}
		}
	})
	starts.Wait()
	close(stop)
	removals.Wait()
	t.Logf("%d started, %d lost the race, %d removed, %d refused", started, lost, removed, refused)
	if started == 0 || removed == 0 {
		t.Error("one side never won")
	}
}
