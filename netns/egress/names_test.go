package egress

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestNames(t *testing.T) {
	now := time.Unix(1000, 0)
	n := names{now: func() time.Time { return now }}
	a := netip.MustParseAddr("203.0.113.1")
	n.bind("short.org", a, time.Second)
	n.bind("long.org", a, time.Hour)
	n.bind("forever.org", a, 1000*time.Hour)
	n.pin("pinned.org", a)
	check := func(after time.Duration, live, expired string) {
		t.Helper()
		now = time.Unix(1000, 0).Add(after)
		l, pinned, e := n.of(a)
		slices.Sort(l)
		if fmt.Sprint(l) != live || fmt.Sprint(e) != expired || fmt.Sprint(pinned) != "[pinned.org]" {
			t.Errorf("after %s: %v, %v, expired %v", after, l, pinned, e)
		}
	}
	check(0, "[forever.org long.org pinned.org short.org]", "[]")
	check(minBinding, "[forever.org long.org pinned.org short.org]", "[]")
	check(minBinding+1, "[forever.org long.org pinned.org]", "[short.org]")
	check(time.Hour+1, "[forever.org pinned.org]", "[short.org long.org]")
	check(maxBinding+1, "[pinned.org]", "[short.org long.org forever.org]")
	n.bind("short.org", a, time.Second) // asked for again
	if l, _, _ := n.of(a); l[0] != "short.org" {
		t.Errorf("the last that was asked for is not the first: %v", l)
	}
}

// TestManyNames: who asks for ever others fills no memory, and what was asked for last
// stays; so does what the user has typed.
func TestManyNames(t *testing.T) {
	now := time.Unix(1000, 0)
	n := names{now: func() time.Time { return now }}
	pinned := netip.MustParseAddr("203.0.113.1")
	n.pin("pinned.org", pinned)
	for i := range 3 * maxBindings {
		now = now.Add(time.Millisecond)
		a := netip.AddrFrom4([4]byte{8, byte(i >> 16), byte(i >> 8), byte(i)})
		n.bind(fmt.Sprintf("n%d.org", i), a, time.Hour)
		if l, _, _ := n.of(a); len(l) != 1 {
			t.Fatalf("name %d is not there", i)
		}
		if n.count > maxBindings {
			t.Fatalf("there are %d", n.count)
		}
	}
	if l, _, _ := n.of(pinned); len(l) != 1 {
		t.Error("what was pinned is gone")
	}
	sum := 0
	for _, list := range n.m {
		sum += len(list)
	}
	if sum != n.count {
		t.Errorf("%d are counted, %d are there", n.count, sum)
	}
}
