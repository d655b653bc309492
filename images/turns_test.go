package images

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"golang.org/x/sync/errgroup"
)

// The largest that waits is next, who gives up gets none, and no turn is lost.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(2)
		for range 2 {
			if err := turns.take(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		gone, leave := context.WithCancelCause(t.Context())
		why := errors.New("why")
		var got []int64
		var g errgroup.Group
		for _, size := range []int64{3, 9, 1, 4} {
			g.Go(func() error {
				err := turns.take(t.Context(), size)
				got = append(got, size) // one at a time, in this bubble
				return err
			})
		}
		left := make(chan error, 1)
		go func() { left <- turns.take(gone, 5) }()
		synctest.Wait()
		leave(why)
		if err := <-left; !errors.Is(err, why) {
			t.Errorf("who gave up: %v", err)
		}
		for range 4 {
			turns.give()
			synctest.Wait()
		}
		if err := g.Wait(); err != nil || !slices.Equal(got, []int64{9, 4, 3, 1}) {
			t.Errorf("in turn: %v, %v", got, err)
		}
		for range 2 {
			turns.give()
		}
		if turns.free != 2 || len(turns.waiting) != 0 {
			t.Errorf("%d are free, %d wait", turns.free, len(turns.waiting))
		}
	})
}

// Who is cancelled, and called before it can leave, passes the turn on.
func TestTurnsCancelled(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			turns := newTurns(1)
			if err := turns.take(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			got := make(chan error, 1)
			go func() { got <- turns.take(ctx, 1) }()
			synctest.Wait()
			turns.mu.Lock()
			cancel()
			turns.next()
			turns.mu.Unlock()
			if err := <-got; err == nil {
				turns.give()
			}
			if turns.free != 1 || len(turns.waiting) != 0 {
				t.Errorf("%d are free, %d wait", turns.free, len(turns.waiting))
			}
		})
	}
}
