package userns

import (
	"errors"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// extents makes a map from "CONTAINER:HOST:SIZE …".
func extents(t *testing.T, text string) []specs.LinuxIDMapping {
	t.Helper()
	e, err := parseProcMap(strings.NewReplacer(":", " ", " ", "\n").Replace(text))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// mapOf is a Map with the same users and groups.
func mapOf(t *testing.T, text string) Map { return Map{extents(t, text), extents(t, text)} }

// short is the reverse of extents.
func short(e []specs.LinuxIDMapping) string {
	var s []string
	for _, x := range e {
		s = append(s, extentText(x))
	}
	return strings.Join(s, " ")
}

func TestMapValidate(t *testing.T) {
	many := strings.Repeat("1:1:1 ", maxExtents+1)
	for _, c := range []struct{ name, in, want string }{
		{"default", "0:1000:1 1:100000:65536", ""},
		{"whole host", "0:0:4294967295", ""},
		{"nothing", "", "no uid is mapped"},
		{"empty range", "0:1000:0", "empty"},
		{"past the end inside", "4294967295:0:1", "past the last id"},
		{"past the end outside", "0:4294967290:6", "past the last id"},
		{"up to the end", "0:4294967290:5", ""},
		{"same container id", "0:1:1 0:2:1", "overlap inside"},
		{"same host id", "0:5:2 2:6:1", "overlap on the host"},
		{"too many", many, "the kernel takes 340"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := Map{extents(t, c.in), extents(t, "0:0:1")}
			err := m.Validate()
			if c.want == "" && err != nil {
				t.Fatal(err)
			}
			if c.want != "" && (err == nil || !errors.Is(err, ErrBadMap) || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
	long := make([]specs.LinuxIDMapping, 300)
	for i := range long {
		long[i] = specs.LinuxIDMapping{ContainerID: 1000000000 + uint32(i), HostID: 1000000000 + uint32(i), Size: 1}
	}
	if err := (Map{long, long}).Validate(); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("300 ranges of 24 bytes: %v", err)
	}
}

func TestMapLookups(t *testing.T) {
	m := Map{extents(t, "0:1000:1 1:100000:65536"), extents(t, "0:100:1 1:200000:10")}
	for _, c := range []struct {
		f    func(uint32) (uint32, bool)
		in   uint32
		want uint32
		ok   bool
	}{
		{m.HostUID, 0, 1000, true}, {m.HostUID, 1, 100000, true}, {m.HostUID, 65536, 165535, true}, {m.HostUID, 65537, 0, false},
		{m.HostGID, 0, 100, true}, {m.HostGID, 10, 200009, true}, {m.HostGID, 11, 0, false},
		{m.ContainerUID, 1000, 0, true}, {m.ContainerUID, 165535, 65536, true}, {m.ContainerUID, 999, 0, false},
		{m.ContainerGID, 200009, 10, true}, {m.ContainerGID, 200010, 0, false},
	} {
		if got, ok := c.f(c.in); got != c.want || ok != c.ok {
			t.Errorf("%d: got %d %v, want %d %v", c.in, got, ok, c.want, c.ok)
		}
	}
}

func TestMapClassAndDirect(t *testing.T) {
	single := Map{extents(t, "0:1000:1"), extents(t, "0:100:1")}
	if got := single.Class(); got != "single-1000-100" || !single.Single() {
		t.Errorf("class %q single %v", got, single.Single())
	}
	m := mapOf(t, "0:1000:1 1:100000:65536")
	// The name is on disk in every store: it must not change between versions.
	if got := m.Class(); got != "m-d7ff3b47f4c248af" || m.Single() {
		t.Errorf("class %q single %v", got, m.Single())
	}
	other := Map{m.UIDs, extents(t, "0:1000:1 1:100001:65536")}
	if other.Class() == m.Class() || m.Class() != mapOf(t, "0:1000:1 1:100000:65536").Class() {
		t.Error("maps that differ in their groups are taken for one")
	}
	caller := Identity{UID: 1000, GID: 100}
	if !single.Direct(caller) || single.Direct(Identity{UID: 1000, GID: 101}) || m.Direct(caller) || !m.Direct(Identity{SetID: true}) {
		t.Error("Direct")
	}
}

func TestNeedIDs(t *testing.T) {
	m := Map{extents(t, "0:1000:1 1:100000:65536"), extents(t, "0:100:1 1:100000:999")}
	if err := NeedIDs(m, 65536, 999); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		uid, gid uint32
		want     string
	}{
		{70000, 0, "needs user id 70000, and mapped are 0-65536"},
		{0, 65534, "needs group id 65534, and mapped are 0-999"},
	} {
		err := NeedIDs(m, c.uid, c.gid)
		if err == nil || !errors.Is(err, ErrTooFewIDs) || !strings.Contains(err.Error(), c.want) || hintOf(err) == "" {
			t.Errorf("%v, hint %q", err, hintOf(err))
		}
	}
}

func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

func TestParseProcMap(t *testing.T) {
	got, err := parseProcMap("         0       1000          1\n         1     100000      65536\n")
	if err != nil || short(got) != "0:1000:1 1:100000:65536" {
		t.Errorf("%s, %v", short(got), err)
	}
	for _, bad := range []string{"0 0", "0 0 x", "0 0 4294967296", "-1 0 1"} {
		if _, err := parseProcMap(bad); !errors.Is(err, ErrBadMap) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
