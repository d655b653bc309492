package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"coracle/spec"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// topColumn is what can be asked of processes. Source: podman-top(1), "format descriptors".
type topColumn struct {
	name, code, title string // code is that of ps's AIX format
	value             func(t *topView, p *processFacts) string
}

func topColumns() []topColumn {
	caps := func(set string) func(*topView, *processFacts) string {
		return func(_ *topView, p *processFacts) string { return capabilityWords(p.caps[set]) }
	}
	return []topColumn{
		{"args", "%a", "COMMAND", func(_ *topView, p *processFacts) string { return p.args }},
		{"capamb", "", "AMBIENT CAPS", caps("CapAmb")},
		{"capbnd", "", "BOUNDING CAPS", caps("CapBnd")},
		{"capeff", "", "EFFECTIVE CAPS", caps("CapEff")},
		{"capinh", "", "INHERITED CAPS", caps("CapInh")},
		{"capprm", "", "PERMITTED CAPS", caps("CapPrm")},
		{"comm", "%c", "COMMAND", func(_ *topView, p *processFacts) string { return p.comm }},
		{"etime", "%t", "ELAPSED", func(t *topView, p *processFacts) string { return t.elapsed(p).Round(time.Microsecond).String() }},
		{"group", "%G", "GROUP", func(t *topView, p *processFacts) string { return t.group(at(p.gids, 1)) }},
		{"groups", "", "GROUPS", func(t *topView, p *processFacts) string { return each(p.groups, t.group) }},
		{"hgroup", "", "HGROUP", func(t *topView, p *processFacts) string { return t.host().Group(at(p.gids, 1)) }},
		{"hgroups", "", "HGROUPS", func(t *topView, p *processFacts) string { return each(p.groups, t.host().Group) }},
		{"hpid", "", "HPID", func(_ *topView, p *processFacts) string { return strconv.Itoa(p.hpid) }},
		{"huser", "", "HUSER", func(t *topView, p *processFacts) string { return t.host().User(at(p.uids, 1)) }},
		{"label", "", "LABEL", func(_ *topView, p *processFacts) string { return p.label }},
		{"nice", "%n", "NI", func(_ *topView, p *processFacts) string { return strconv.Itoa(p.nice) }},
		{"pcpu", "%C", "%CPU", (*topView).pcpu},
		{"pgid", "%r", "PGID", func(t *topView, p *processFacts) string { return strconv.Itoa(at(p.pgids, t.level)) }},
		{"pid", "%p", "PID", func(t *topView, p *processFacts) string { return strconv.Itoa(at(p.pids, t.level)) }},
		{"ppid", "%P", "PPID", (*topView).ppid},
		{"rgroup", "%g", "RGROUP", func(t *topView, p *processFacts) string { return t.group(at(p.gids, 0)) }},
		{"rss", "", "RSS", func(_ *topView, p *processFacts) string { return strconv.FormatUint(p.rss, 10) }},
		{"ruser", "%u", "RUSER", func(t *topView, p *processFacts) string { return t.user(at(p.uids, 0)) }},
		{"seccomp", "", "SECCOMP", func(_ *topView, p *processFacts) string { return p.seccomp }},
		{"state", "", "STATE", func(_ *topView, p *processFacts) string { return p.state }},
		{"stime", "", "STIME", func(t *topView, p *processFacts) string {
			return t.now.Add(-t.elapsed(p)).Format("2006-01-02 15:04:05")
		}},
		{"time", "%x", "TIME", func(_ *topView, p *processFacts) string { return (time.Duration(p.ticks) * tick).String() }},
		{"tty", "%y", "TTY", func(_ *topView, p *processFacts) string { return ttyName(p.tty) }},
		{"user", "%U", "USER", func(t *topView, p *processFacts) string { return t.user(at(p.uids, 1)) }},
		{"vsz", "%z", "VSZ", func(_ *topView, p *processFacts) string { return strconv.FormatUint(p.vsize, 10) }},
	}
}

// TopDescriptors are the columns' names.
func TopDescriptors() []string {
	var names []string
	for _, c := range topColumns() {
		names = append(names, c.name)
	}
	return names
}

// topColumnsOf finds the columns that words name, with commas or spaces between;
// false when one of them is none. Without words they are podman's.
func topColumnsOf(words []string) ([]topColumn, bool) {
	text := strings.ReplaceAll(strings.Join(words, " "), ",", " ")
	if strings.TrimSpace(text) == "" {
		text = "user pid ppid pcpu etime tty time args"
	}
	all := topColumns()
	var out []topColumn
	for word := range strings.FieldsSeq(text) {
		i := slices.IndexFunc(all, func(c topColumn) bool { return c.name == word || c.code == word && c.code != "" })
		if i < 0 {
			return nil, false
		}
		out = append(out, all[i])
	}
	return out, true
}

// Top describes the processes of a container, a row each, the titles first.
// Words that are no descriptors are options of ps(1), which is the host's.
func (e *Engine) Top(ctx context.Context, name string, words []string) ([][]string, error) {
	c, err := e.find(name)
	if err != nil {
		return nil, err
	}
	op := "look at the processes of container " + c.Name
	if !c.Running() {
		return nil, errNotRunning(op, c)
	}
	c.Status = Running // paused or not
	box, err := e.runningBox(c, op)
	if err != nil {
		return nil, err
	}
	pids, err := box.Processes()
	if errors.Is(err, spec.ErrNotRunning) {
		return nil, &Error{Op: op, Err: errors.New("it has ended this moment"), Help: "coracle ps -a"}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	slices.Sort(pids)
	columns, ok := topColumnsOf(words)
	if !ok {
		return psOf(ctx, op, words, pids)
	}
	return e.topRows(c, box, columns, pids), nil
}

// topView is what the columns look at.
type topView struct {
	now    time.Time
	uptime time.Duration
	level  int         // of the container's pid namespace among those of its processes
	inside map[int]int // pids there, by ours
	m      [2][]specs.LinuxIDMapping
	names  spec.NameTable
	hosts  *spec.NameTable
}

func (e *Engine) topRows(c Container, box *spec.Container, columns []topColumn, pids []int) [][]string {
	t := &topView{now: time.Now(), inside: map[int]int{}, m: [2][]specs.LinuxIDMapping{c.Map.UIDs, c.Map.GIDs}}
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) == nil {
		t.uptime = time.Duration(ts.Nano())
	}
	if slices.ContainsFunc(columns, func(c topColumn) bool {
		return slices.Contains([]string{"user", "ruser", "group", "rgroup", "groups"}, c.name)
	}) {
		var err error
		if t.names, err = box.NameTable(); err != nil {
			e.warn(err.Error(), "numbers stand for names")
		}
	}
	var all []*processFacts
	for _, pid := range pids {
		if p, err := readProcess(pid); err == nil { // else it has ended meanwhile
			all = append(all, p)
			if pid == box.Pid {
				t.level = len(p.pids) - 1
			}
		}
	}
	for _, p := range all {
		t.inside[p.hpid] = at(p.pids, t.level)
	}
	slices.SortStableFunc(all, func(a, b *processFacts) int { return t.inside[a.hpid] - t.inside[b.hpid] })
	rows := [][]string{nil}
	for _, c := range columns {
		rows[0] = append(rows[0], c.title)
	}
	for _, p := range all {
		var row []string
		for _, c := range columns {
			row = append(row, c.value(t, p))
		}
		rows = append(rows, row)
	}
	return rows
}

func (t *topView) elapsed(p *processFacts) time.Duration {
	return max(0, t.uptime-time.Duration(p.started)*tick)
}

func (t *topView) pcpu(p *processFacts) string {
	elapsed := max(t.elapsed(p), tick)
	return strconv.FormatFloat(100*float64(time.Duration(p.ticks)*tick)/float64(elapsed), 'f', 3, 64)
}

// ppid is 0 for a process whose parent is outside, as the container sees it.
func (t *topView) ppid(p *processFacts) string { return strconv.Itoa(t.inside[p.hppid]) }

func (t *topView) user(id uint32) string  { return t.named(id, t.m[0], t.names.User) }
func (t *topView) group(id uint32) string { return t.named(id, t.m[1], t.names.Group) }

// named is the name that an id of the host has in the container.
func (t *topView) named(id uint32, m []specs.LinuxIDMapping, name func(uint32) string) string {
	for _, r := range m {
		if id >= r.HostID && id-r.HostID < r.Size {
			return name(r.ContainerID + id - r.HostID)
		}
	}
	return strconv.FormatUint(uint64(id), 10)
}

// host is the host's user database, as far as it is in files.
func (t *topView) host() spec.NameTable {
	if t.hosts == nil {
		passwd, _ := os.ReadFile("/etc/passwd")
		group, _ := os.ReadFile("/etc/group")
		names := spec.ReadNames(passwd, group)
		t.hosts = &names
	}
	return *t.hosts
}

func each(ids []uint32, name func(uint32) string) string {
	var words []string
	for _, id := range ids {
		words = append(words, name(id))
	}
	return strings.Join(words, ",")
}

func capabilityWords(set uint64) string {
	names := spec.CapabilityNames()
	switch {
	case set == 0:
		return "none"
	case set == 1<<len(names)-1:
		return "full"
	}
	var words []string
	for n, name := range names {
		if set&(1<<n) != 0 {
			words = append(words, strings.TrimPrefix(name, "CAP_"))
		}
	}
	return strings.Join(words, ",")
}

// ttyName is the terminal of a device number as /proc/PID/stat has it.
func ttyName(dev int) string {
	const ptsMajor, ptsMajors = 136, 8 // linux/major.h: UNIX98_PTY_SLAVE_MAJOR
	major, minor := dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	switch {
	case dev == 0:
		return "?"
	case major >= ptsMajor && major < ptsMajor+ptsMajors:
		return "pts/" + strconv.Itoa((major-ptsMajor)<<8|minor)
	case major == 4:
		return "tty" + strconv.Itoa(minor)
	}
	return fmt.Sprintf("%d:%d", major, minor)
}

// psOf runs the host's ps and keeps what is about these processes, as docker.
func psOf(ctx context.Context, op string, options []string, pids []int) ([][]string, error) {
	var list []string
	for _, pid := range pids {
		list = append(list, strconv.Itoa(pid))
	}
	// Some options do not go with -q, and not every ps has it.
	out, err := exec.CommandContext(ctx, "ps", append(slices.Clone(options), "-q", strings.Join(list, ","))...).Output()
	if err != nil {
		out, err = exec.CommandContext(ctx, "ps", options...).Output()
	}
	if err != nil {
		var said string
		var ee *exec.ExitError
		if errors.As(err, &ee) {
			said, _, _ = strings.Cut(strings.TrimSpace(string(ee.Stderr)), "\n")
			err = errors.New(strings.TrimPrefix(said, "error: "))
		}
		return nil, &Error{Op: op + ": ps " + strings.Join(options, " "), Err: err, Help: "options of ps(1), or some of: " + strings.Join(TopDescriptors(), " ")}
	}
	rows, err := psRows(string(out), pids)
	if err != nil {
		return nil, &Error{Op: op + ": ps " + strings.Join(options, " "), Err: err, Help: "its output must have a column PID: add -o pid"}
	}
	return rows, nil
}

// psRows takes a table of ps apart: the last column may have spaces.
func psRows(table string, pids []int) ([][]string, error) {
	var rows [][]string
	column, width := -1, 0
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if column < 0 {
			if column = slices.Index(f, "PID"); column < 0 {
				return nil, errors.New("it shows no process ids")
			}
			width = len(f)
			rows = append(rows, f)
			continue
		}
		if len(f) <= column {
			continue
		}
		pid, err := strconv.Atoi(f[column])
		if err != nil {
			return nil, fmt.Errorf("%q is no process id", f[column])
		}
		if !slices.Contains(pids, pid) {
			continue
		}
		if len(f) > width {
			f = append(f[:width-1], strings.Join(f[width-1:], " "))
		}
		rows = append(rows, f)
	}
	return rows, nil
}
