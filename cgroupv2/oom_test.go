package cgroupv2

import "testing"

func TestRoom(t *testing.T) {
	for name, tt := range map[string]struct {
		most, current string
		room          uint64
		limited       bool
	}{
		"some":                {"8388608", "1048576", 7340032, true},
		"none":                {"4096", "8192", 0, true},
		"no limit":            {"max", "8192", 0, false},
		"no such controller":  {"", "", 0, false},
		"what nobody can say": {"4096", "", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{}
			for file, text := range map[string]string{"memory.max": tt.most, "memory.current": tt.current} {
				if text != "" {
					files[file] = text + "\n"
				}
			}
			c := fakeCgroup(t, files)
			if room, limited := c.Room(); room != tt.room || limited != tt.limited {
				t.Errorf("%d, %v; want %d, %v", room, limited, tt.room, tt.limited)
			}
		})
	}
	if _, limited := (*Cgroup)(nil).Room(); limited {
		t.Error("no cgroup has a limit")
	}
}
