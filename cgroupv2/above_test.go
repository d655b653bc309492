package cgroupv2

import (
	"slices"
	"testing"
)

// TestAbove: a limit that one above is tighter than, and which.
func TestAbove(t *testing.T) {
	tree := map[string]string{
		"/m/a/memory.max":                  "100000000\n",
		"/m/a/b/memory.max":                "200000000\n",
		"/m/a/memory.high":                 "max\n",
		"/m/a/pids.max":                    "max\n",
		"/m/a/b/pids.max":                  "6\n",
		"/m/a/cpu.max":                     "50000 100000\n",
		"/m/a/b/cpu.max":                   "max 100000\n",
		"/m/a/b/cpuset.cpus.effective":     "0-1\n",
		"/m/a/cpuset.cpus.effective":       "0-1\n",
		"/m/a/b/io.max":                    "8:0 rbps=max wbps=1000 riops=max wiops=max\n254:0 rbps=5 wbps=max riops=max wiops=max\n",
		"/m/a/b/memory.swap.max":           "0\n",
		"/m/memory.max":                    "1\n", // the mount's own is no limit of ours to name: the root has no such file
		"/m/a/b/hugetlb.2MB.max":           "2097152\n",
		"/m/a/b/cpuset.mems.effective":     "",
		"/m/a/b/box/memory.max":            "7\n", // its own
		"/m/a/b/memory.low":                "0\n",
		"/m/a/b/rdma.max":                  "mlx4_0 hca_handle=2 hca_object=2000\n",
		"/m/a/b/cpu.weight":                "1\n",
		"/m/a/b/cpuset.cpus.partition.max": "",
	}
	read := func(dir, name string) string { return tree[dir+"/"+name] }
	for _, tt := range []struct{ file, value, want string }{
		{"memory.max", "100000000", ""},
		{"memory.max", "100000001", "/m/a memory.max 100000000"},
		{"memory.max", "300000000", "/m/a memory.max 100000000"}, // the tightest of two
		{"memory.max", "96M", "/m/a memory.max 100000000"},
		{"memory.max", "max", ""}, // no limit of one's own
		{"memory.high", "300000000", ""},
		{"memory.swap.max", "1", "/m/a/b memory.swap.max 0"},
		{"memory.low", "1000", ""},
		{"pids.max", "6", ""},
		{"pids.max", "7", "/m/a/b pids.max 6"},
		{"cpu.max", "50000 100000", ""},
		{"cpu.max", "5000 10000", ""},
		{"cpu.max", "6000 10000", "/m/a cpu.max 50000 100000"},
		{"cpu.max", "max 100000", ""},
		{"cpu.weight", "100", ""},
		{"cpuset.cpus", "0-1", ""},
		{"cpuset.cpus", "1-2", "/m/a/b cpuset.cpus.effective 0-1"},
		{"cpuset.cpus", "0-65535", "/m/a/b cpuset.cpus.effective 0-1"},
		{"cpuset.mems", "1", ""}, // not known
		{"io.max", "8:0 wbps=1000", ""},
		{"io.max", "8:0 wbps=1001", "/m/a/b io.max 8:0 wbps=1000"},
		{"io.max", "254:0 wbps=1001 rbps=6", "/m/a/b io.max 254:0 rbps=5"},
		{"io.max", "7:0 wbps=1001", ""},
		{"hugetlb.2MB.max", "4194304", "/m/a/b hugetlb.2MB.max 2097152"},
		{"rdma.max", "mlx4_0 hca_handle=3", ""},
	} {
		got := above([]File{{Name: tt.file, Value: tt.value, Field: "f"}}, "/m/a/b/box", "/m", func(dir, name string) string {
			s := read(dir, name)
			if n := len(s); n > 0 && s[n-1] == '\n' {
				s = s[:n-1] // as readIn
			}
			return s
		})
		var said []string
		for _, a := range got {
			said = append(said, a.Dir+" "+a.File+" "+a.Holds)
			if a.Field != "f" || a.Asked != tt.value {
				t.Errorf("%s %s: %+v", tt.file, tt.value, a)
			}
		}
		want := []string(nil)
		if tt.want != "" {
			want = []string{tt.want}
		}
		if !slices.Equal(said, want) {
			t.Errorf("%s %s: %q, want %q", tt.file, tt.value, said, want)
		}
	}
}
