package userns

import (
	"errors"
	"io"
	"os"
	"testing"
)

func TestFirstGap(t *testing.T) {
	two := []Range{{100, 10}, {500, 10}}
	for _, c := range []struct {
		name string
		used []Range
		size uint64
		at   uint64
		ok   bool
	}{
		{"empty", nil, 5, 0, true},
		{"across both", nil, 15, 0, true},
		{"all", nil, 20, 0, true},
		{"too much", nil, 21, 0, false},
		{"behind one", []Range{{100, 4}}, 6, 4, true},
		{"behind one, across", []Range{{100, 4}}, 12, 4, true},
		{"a hole too small", []Range{{105, 1}}, 6, 6, true},
		{"exact hole", []Range{{105, 1}}, 5, 0, true},
		{"start of the second", []Range{{100, 10}}, 10, 10, true},
		{"end of the first is taken", []Range{{109, 1}}, 10, 10, true},
		{"start of the second is taken", []Range{{500, 1}}, 10, 0, true},
		{"both ends", []Range{{109, 1}, {500, 1}}, 10, 0, false},
		{"all used", []Range{{0, 1000}}, 1, 0, false},
	} {
		if at, ok := firstGap(two, c.used, c.size); at != c.at || ok != c.ok {
			t.Errorf("%s: got %d %v, want %d %v", c.name, at, ok, c.at, c.ok)
		}
	}
}

func TestSlice(t *testing.T) {
	two := []Range{{100, 10}, {500, 10}}
	for _, c := range []struct {
		at, size uint64
		want     string
	}{{0, 20, "100-109, 500-509"}, {5, 10, "105-109, 500-504"}, {10, 3, "500-502"}, {9, 1, "109"}, {0, 10, "100-109"}} {
		if got := rangesText(slice(two, c.at, c.size)); got != c.want {
			t.Errorf("%d+%d: got %s, want %s", c.at, c.size, got, c.want)
		}
	}
}

func TestAutoKeepsApart(t *testing.T) {
	uid, space, run := uint32(os.Getuid()), []Range{{100000, 4096}}, t.TempDir()
	s := fakeRoot(t, map[string]string{
		"proc/7/uid_map":  "0 100000 1000\n",                        // an auto container
		"proc/8/uid_map":  "0 102000 48\n",                          // a small one
		"proc/9/uid_map":  "0 " + id32(uid) + " 1\n1 100000 4096\n", // the default map
		"proc/10/uid_map": "0 100000 4096\n",                        // nomap
		"proc/x/uid_map":  "0 100000 4000\n",                        // no process
		"proc/11/uid_map": "",
	})
	var holds []io.Closer
	pick := func(size uint64) (uint64, error) {
		at, hold, err := s.pickAuto(uid, run, "uid", space, size)
		if hold != nil {
			holds = append(holds, hold)
		}
		return at, err
	}
	for _, c := range []struct{ size, want uint64 }{{500, 1000}, {500, 1500}, {1024, 2048}, {1024, 3072}} {
		if at, err := pick(c.size); err != nil || at != c.want {
			t.Errorf("%d ids: got %d, %v, want %d", c.size, at, err, c.want)
		}
	}
	_, err := pick(1024)
	if !errors.Is(err, ErrTooFewIDs) || hintOf(err) == "" {
		t.Errorf("no room: %v", err)
	}
	if err := holds[2].Close(); err != nil {
		t.Fatal(err)
	}
	if at, err := pick(1000); err != nil || at != 2048 {
		t.Errorf("after one has ended: %d, %v", at, err)
	}
	for _, h := range holds {
		h.Close()
	}
	// Without a lock directory the ids in use still count.
	if at, hold, err := s.pickAuto(uid, run+"/no/such", "uid", space, 500); err != nil || at != 1000 || hold != nil {
		t.Errorf("%d, %v, %v", at, hold, err)
	}
}
