package cgroupv2

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// wholeTree has every file that is read, as Linux 6.12 writes them.
func wholeTree() map[string]string {
	return map[string]string{
		"cgroup.procs":    "",
		"cpu.stat":        "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\nnice_usec 0\nnr_periods 5\n",
		"cpu.pressure":    psi,
		"memory.pressure": psi,
		"io.pressure":     psi,
		"memory.stat":     "anon 100\nfile 50\ninactive_anon 7\nactive_file 3\ninactive_file 1000\nworkingset_refault_file 9\n",
		"memory.current":  "5096\n", "memory.max": "10000\n", "memory.peak": "9000\n",
		"memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n",
		"pids.current":  "3\n", "pids.max": "100\n",
		"io.stat": "8:16 rbytes=1000 wbytes=200 rios=192 wios=353 dbytes=4 dios=0\n8:0 rbytes=1 wbytes=0 rios=1 wios=0\n7:0 \n",
	}
}

func TestUsage(t *testing.T) {
	without := func(names ...string) map[string]string {
		files := wholeTree()
		for _, n := range names {
			delete(files, n)
		}
		return files
	}
	whole := Usage{
		CPU: 3 * time.Second, User: 2 * time.Second, System: time.Second,
		HasMemory: true, Memory: 4096, Charged: 5096, HasPids: true, Pids: 3, PidsLimit: 100, HasIO: true, ReadBytes: 1001, WriteBytes: 200,
	}
	events := whole
	events.MemoryPeak, events.OOMKills = 9000, 2
	old := whole
	old.OOMKills = 2
	processor := Usage{CPU: whole.CPU, User: whole.User, System: whole.System}
	cache := whole
	cache.Memory = 5096
	unlimited := whole
	unlimited.PidsLimit = math.MaxUint64
	changed := func(name, content string) map[string]string {
		files := wholeTree()
		files[name] = content
		return files
	}
	for name, test := range map[string]struct {
		files map[string]string
		parts UsageParts
		want  Usage
	}{
		"a table's":          {wholeTree(), 0, whole},
		"with events":        {wholeTree(), UsageEvents, events},
		"before Linux 5.19":  {without("memory.peak"), UsageEvents, old},
		"no controller":      {map[string]string{"cgroup.procs": "", "cpu.stat": wholeTree()["cpu.stat"]}, UsageEvents, processor},
		"nothing of value":   {map[string]string{"cgroup.procs": "", "cpu.stat": "usage_usec x\nusage_usec\n\nusage_usecs 5"}, UsageEvents, Usage{}},
		"more cache than is": {changed("memory.stat", "inactive_file 99999\n"), 0, cache},
		"no limit":           {changed("pids.max", "max\n"), 0, unlimited},
	} {
		got, err := fakeCgroup(t, test.files).Usage(test.parts)
		if err != nil || got != test.want {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", name, got, err, test.want)
		}
	}
}

func TestUsageOfPressure(t *testing.T) {
	u, err := fakeCgroup(t, wholeTree()).Usage(UsagePressure)
	must(t, err)
	want := &PSI{Some: PSIData{Avg10: 1.5, Avg60: 0.25, Total: 123}, Full: PSIData{Total: 7}}
	for _, got := range []*PSI{u.CPUPressure, u.MemoryPressure, u.IOPressure} {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v", got)
		}
	}
	if u.OOMKills != 0 {
		t.Error("more was read than was asked for")
	}
}

// io.stat of a machine with many disks is longer than the buffer at first.
func TestUsageOfManyDevices(t *testing.T) {
	files := wholeTree()
	files["io.stat"] = strings.Repeat("259:1 rbytes=2 wbytes=3 rios=1 wios=1 dbytes=0 dios=0\n", 5000)
	u, err := fakeCgroup(t, files).Usage(0)
	if err != nil || u.ReadBytes != 10000 || u.WriteBytes != 15000 {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestUsageOfNothing(t *testing.T) {
	if _, err := (&Cgroup{}).Usage(0); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	c := fakeCgroup(t, wholeTree())
	must(t, os.RemoveAll(c.Path()))
	if _, err := c.Usage(0); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
}

// A cgroup that is removed for real says so.
func TestUsageForReal(t *testing.T) {
	_, name := realTree(t)
	c := newReal(t, name+"/c")
	cmd := start(t, c, "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
	must(t, cmd.Wait())
	u, err := c.Usage(UsageEvents)
	if err != nil || u.CPU <= 0 || u.User+u.System <= 0 {
		t.Errorf("%+v, %v", u, err)
	}
	must(t, os.Remove(c.Path()))
	if _, err := c.Usage(0); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
}

func TestMemoryLimits(t *testing.T) {
	dir := t.TempDir()
	for path, limit := range map[string]string{"": "", "slice": "9000\n", "slice/free": "max\n", "slice/free/box": "12000\n", "slice/tight": "100\n", "other": "max\n", "other/none": ""} {
		must(t, os.MkdirAll(filepath.Join(dir, path), 0o755))
		if limit != "" {
			must(t, os.WriteFile(filepath.Join(dir, path, "memory.max"), []byte(limit), 0o644))
		}
	}
	l := MemoryLimits{}
	for path, want := range map[string]uint64{"slice/free/box": 9000, "slice/free": 9000, "slice/tight": 100, "other": math.MaxUint64, "other/none": math.MaxUint64, "missing": math.MaxUint64} {
		if got := l.Of(filepath.Join(dir, path)); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}

// BenchmarkUsage is the reading of one container for a table.
func BenchmarkUsage(b *testing.B) {
	dir := b.TempDir()
	for name, data := range wholeTree() {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	c, err := openDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for b.Loop() {
		if _, err := c.Usage(0); err != nil {
			b.Fatal(err)
		}
	}
}
