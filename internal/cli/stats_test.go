package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"coracle/internal/engine"
)

// statsOf are looks at three containers: one that a cgroup counts all of, one
// that has none, and one that has ended.
func statsOf(at time.Time) []engine.ContainerStats {
	box := func(letter, name string) engine.Container {
		return engine.Container{ID: strings.Repeat(letter, 64), Name: name, Status: engine.Running, Started: at.Add(-100 * time.Second)}
	}
	ended := box("c", "old")
	ended.Status = engine.Stopped
	return []engine.ContainerStats{
		{
			Container: box("a", "web"), Time: at, CPU: 50 * time.Second, CPUSystem: 20 * time.Second, CPUFrom: engine.FromCgroup,
			Memory: 123_400_000, MemoryLimit: 1_000_000_000, MemoryPeak: 200_000_000, MemoryFrom: engine.FromCgroup,
			Pids: 12, PidsLimit: 100, PidsFrom: engine.FromCgroup, BlockRead: 5_000_000, BlockWrite: 12, BlockFrom: engine.FromCgroup,
			NetIn: 1_230, NetOut: 456_000_000, NetFrom: engine.FromNamespace, OOMKills: 1, OOMKillsKnown: true,
			CPUPressure: &engine.Pressure{}, MemoryPressure: &engine.Pressure{},
		},
		{
			Container: box("b", "a-job-with-a-name-that-is-long"), Time: at, CPU: time.Second, CPUFrom: engine.FromProcesses,
			Memory: 1 << 30, MemoryLimit: 4 << 30, MemoryFrom: engine.FromProcesses, Pids: 3, PidsFrom: engine.FromProcesses,
		},
		{Container: ended, Time: at},
	}
}

func (f *fakeEngine) Stats(_ context.Context, o engine.StatsOptions) ([]engine.ContainerStats, error) {
	f.ask("stats", fmt.Sprint(o.All, o.Whole), strings.Join(o.Names, " "))
	if len(f.looks) == 0 {
		return nil, f.err
	}
	s := f.looks[0]
	if len(f.looks) > 1 {
		f.looks = f.looks[1:]
	}
	if s == nil {
		return nil, notFound("web")
	}
	return s, f.err
}

func TestStats(t *testing.T) {
	all := [][]engine.ContainerStats{statsOf(time.Now())}
	a, b, c := strings.Repeat("a", 12), strings.Repeat("b", 12), strings.Repeat("c", 12)
	heading := "CONTAINER ID  NAME                             CPU %  MEM USAGE / LIMIT   MEM %         NET I/O  BLOCK I/O  PIDS\n"
	web := a + "  web                             50.00%        123MB / 1GB  12.34%  1.23kB / 456MB  5MB / 12B    12\n"
	job := b + "  a-job-with-a-name-that-is-long   1.00%    1.07GB / 4.29GB  25.00%         -- / --    -- / --     3\n"
	old := c + "  old                                 --            -- / --      --         -- / --    -- / --    --\n"
	for _, test := range []struct{ line, want string }{
		{"", heading + web + job + old},
		{"--format table", heading + web + job + old},
		{"--sort name", heading + job + old + web},
		{"--sort mem", heading + job + web + old},
		{"--sort cpu", heading + web + job + old},
		{"--sort pids", heading + web + job + old},
		{"--format {{.Name}}={{.MemUsageBytes}}={{.MemLimit}}", "web=117.7MiB / 953.7MiB=1000000000\na-job-with-a-name-that-is-long=1GiB / 4GiB=4294967296\nold=-- / --=0\n"},
		{"--no-trunc --format {{.ID}}", strings.Repeat("a", 64) + "\n" + strings.Repeat("b", 64) + "\n" + strings.Repeat("c", 64) + "\n"},
		{"--format {{.CPUNano}}={{.CPUSystemNano}}={{.UpTime}}={{.AVGCPU}}={{.PIDS}}={{.OOMKills}}", "50000000000=20000000000=50s=50.00%=12=1\n1000000000=0=1s=1.00%=3=0\n0=0=0s=--=--=0\n"},
		{"--format {{.NetInput}}-{{.NetOutput}}-{{.BlockInput}}-{{.BlockOutput}}={{.Pressure}}", "1230-456000000-5000000-12=0.0 0.0 --\n0-0-0-0=--\n0-0-0-0=--\n"},
	} {
		got := invoke(t, &fakeEngine{looks: all}, append([]string{"stats", "--no-stream", "-a"}, strings.Fields(test.line)...)...)
		if got.code != 0 || got.out != test.want {
			t.Errorf("stats %s: %d\n%s%s\nnot\n%s", test.line, got.code, got.out, got.err, test.want)
		}
	}
	if got := invoke(t, &fakeEngine{looks: all}, "stats", "--no-stream", "--format", `table {{.Name}}\t{{.PIDs}}\t{{.UpTime}}`); !strings.HasPrefix(got.out, "NAME                            PIDS  CPU TIME\nweb ") {
		t.Errorf("%+v", got)
	}
}

// Percent is of the time between two looks, once there are two of the same run.
func TestStatsRate(t *testing.T) {
	now := time.Now()
	look := func(after, cpu time.Duration) engine.ContainerStats {
		s := statsOf(now)[0]
		s.Time, s.CPU = now.Add(after), cpu
		return s
	}
	before := look(0, 50*time.Second)
	again := look(2*time.Second, 53*time.Second)
	restarted := look(2*time.Second, time.Second)
	restarted.Container.Started = now.Add(time.Second)
	for name, test := range map[string]struct {
		s, before engine.ContainerStats
		cpu, avg  string
	}{
		"the first":              {before, engine.ContainerStats{}, "50.00%", "50.00%"},
		"the next":               {again, before, "150.00%", "51.96%"},
		"started again":          {restarted, before, "100.00%", "100.00%"},
		"at the same moment":     {before, before, "50.00%", "50.00%"},
		"less than before":       {look(2*time.Second, time.Second), before, "0.98%", "0.98%"},
		"now summed differently": {statsOf(now)[2], before, "--", "--"},
	} {
		if r := newStatsRow(test.s, test.before, false); r.CPUPerc != test.cpu || r.AVGCPU != test.avg {
			t.Errorf("%s: %s, %s", name, r.CPUPerc, r.AVGCPU)
		}
	}
}

func TestStatsJSON(t *testing.T) {
	got := invoke(t, &fakeEngine{looks: [][]engine.ContainerStats{statsOf(time.Now())}}, "stats", "-a", "--no-stream", "--format", "json")
	var docs []map[string]any
	if err := json.Unmarshal([]byte(got.out), &docs); err != nil || len(docs) != 3 {
		t.Fatalf("%v %+v", err, got)
	}
	for i, want := range []map[string]string{
		{"id": `"` + strings.Repeat("a", 64) + `"`, "cpu_percent": `"50.00%"`, "mem_usage": `"123MB / 1GB"`, "pids": `"12"`, "mem_bytes": "123400000", "mem_peak_bytes": "200000000", "tasks_limit": "100", "oom_kills": "1", "net_output_bytes": "456000000", "running": "true"},
		{"mem_peak_bytes": "null", "oom_kills": "null", "net_io": `"-- / --"`, "net_input_bytes": "null", "block_input_bytes": "null", "tasks": "3", "tasks_limit": "null", "from": `{"block":"","cpu":"processes","mem":"processes","net":"","tasks":"processes"}`},
		{"running": "false", "cpu": "null", "cpu_percent": `"--"`, "mem_bytes": "null", "mem_limit_bytes": "null", "tasks": "null"},
	} {
		for key, value := range want {
			if b, err := json.Marshal(docs[i][key]); err != nil || string(b) != value {
				t.Errorf("%d: %s: %s, not %s", i, key, b, value)
			}
		}
	}
	if got := invoke(t, &fakeEngine{}, "stats", "--no-stream", "--format", "json"); got.out != "[]\n" {
		t.Errorf("of nothing: %+v", got)
	}
}

// Into a pipe each look follows the last, without another heading, and the end
// of what was named is the end.
func TestStatsStream(t *testing.T) {
	now := time.Now()
	web, ended := statsOf(now)[:1], statsOf(now)[2:]
	for format, want := range map[string]string{"{{.Name}}": "web\nweb\n", "table {{.Name}}": "NAME\nweb\nweb\n"} {
		for name, last := range map[string][]engine.ContainerStats{"ended": ended, "gone": nil} {
			f := &fakeEngine{looks: [][]engine.ContainerStats{web, web, last}}
			if got := invoke(t, f, "stats", "--interval", "1ms", "--format", format, "web"); got.code != 0 || got.out != want {
				t.Errorf("%s, %s: %+v", format, name, got)
			}
		}
	}
	f := &fakeEngine{looks: [][]engine.ContainerStats{web, ended}}
	got := invoke(t, f, "stats", "-i", "1ms", "--format", "json", "web")
	if lines := strings.Split(got.out, "\n"); len(lines) != 2 || !json.Valid([]byte(lines[0])) {
		t.Errorf("%+v", got)
	}
	f = &fakeEngine{looks: [][]engine.ContainerStats{web, web, ended}}
	if got := invoke(t, f, "stats", "-i", "1ms", "web"); strings.Count(got.out, "NAME") != 1 || strings.Count(got.out, "web") != 2 {
		t.Errorf("%+v", got)
	}
}

func TestStatsRefusals(t *testing.T) {
	now := time.Now()
	for line, want := range map[string]string{
		"-a web": "do not go together", "-l web": "do not go together", "-al": "do not go together", "-i 0": "number of seconds", "--format {{.X": "template",
		"--format {{.Nothing}}": "Nothing",
	} {
		looks := [][]engine.ContainerStats{statsOf(now)[2:]}
		if got := invoke(t, &fakeEngine{looks: looks}, append([]string{"stats"}, strings.Fields(line)...)...); got.code != 125 || !strings.Contains(got.err, want) {
			t.Errorf("stats %s: %+v", line, got)
		}
	}
	// As with docker and podman one that does not run is no error, and as there is
	// nothing to wait for the stream ends.
	for _, args := range [][]string{{"--no-stream", "old"}, {"-i", "1ms", "old"}} {
		if got := invoke(t, &fakeEngine{looks: [][]engine.ContainerStats{statsOf(now)[2:]}}, append([]string{"stats", "--format", "{{.Name}} {{.PIDs}}"}, args...)...); got.code != 0 || got.out != "old --\n" {
			t.Errorf("stats %q: %+v", args, got)
		}
	}
	if got := invoke(t, &fakeEngine{looks: [][]engine.ContainerStats{nil}}, "stats", "web"); got.code != 125 || got.err == "" {
		t.Errorf("of none: %+v", got)
	}
	if got := invoke(t, &fakeEngine{err: errors.New("cannot")}, "stats"); got.code != 125 {
		t.Errorf("%+v", got)
	}
}

// Whatever the width, no line is longer, names and processor are there, and
// nothing jumps when figures get shorter.
func TestStatsFits(t *testing.T) {
	now := time.Now()
	var rows []statsRow
	for _, s := range statsOf(now) {
		rows = append(rows, newStatsRow(s, engine.ContainerStats{}, false))
	}
	for _, test := range []struct {
		width int
		want  string
	}{
		{200, "ID Name CPUPerc MemUsage MemPerc NetIO BlockIO PIDs Pressure"},
		{109, "ID Name CPUPerc MemUsage MemPerc NetIO BlockIO PIDs"},
		{92, "ID Name CPUPerc MemUsage MemPerc NetIO BlockIO PIDs"},
		{80, "Name CPUPerc MemUsage MemPerc NetIO BlockIO PIDs"},
		{70, "Name CPUPerc MemUsage NetIO BlockIO PIDs"},
		{60, "Name CPUPerc MemUsage NetIO PIDs"},
		{45, "Name CPUPerc MemUsage PIDs"},
		{30, "Name CPUPerc"},
		{10, "Name CPUPerc"},
		{0, "ID Name CPUPerc MemUsage MemPerc NetIO BlockIO PIDs"},
	} {
		var names []string
		widths := map[string]int{}
		columns := chooseStatsColumns(rows, test.width, widths)
		for _, c := range columns {
			names = append(names, c.field)
		}
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("%d: %s, not %s", test.width, got, test.want)
		}
		tab, b := table{least: nameWidth, right: []bool{true}, floor: []int{3}}, strings.Builder{}
		for _, c := range columns {
			tab.titles, tab.flex = append(tab.titles, c.title), append(tab.flex, c.flex)
		}
		for _, r := range rows {
			var cells []string
			for _, c := range columns {
				cells = append(cells, c.text(r))
			}
			tab.rows = append(tab.rows, cells)
		}
		tab.write(&b, test.width)
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); test.width >= 30 && n > test.width {
				t.Errorf("%d: %d columns: %s", test.width, n, line)
			}
		}
		// The wide ones of before are remembered.
		kept := widths["MemUsage"]
		chooseStatsColumns(rows[2:], test.width, widths)
		if widths["MemUsage"] != kept {
			t.Errorf("%d: a column got narrower", test.width)
		}
	}
	// On a terminal a column that nobody knows anything of is left out.
	for _, c := range chooseStatsColumns(rows[1:], 120, map[string]int{}) {
		if c.field == "NetIO" || c.field == "BlockIO" || c.field == "Pressure" {
			t.Errorf("%s is shown", c.field)
		}
	}
	if got := sumsNote(rows); got != "memory, tasks: sums over processes, which no cgroup controller counts" {
		t.Error(got)
	}
	if got := sumsNote(rows[:1]); got != "" {
		t.Error(got)
	}
}
