// Package vm is the login node: a Debian machine under QEMU's software
// emulation, with systemd, real sessions, AppArmor and delegated cgroups,
// in which the scripts of scripts/ run. `make test-vm` runs it,
// `make test-vm RUN=doctor` only the scripts that match, KERNEL=6.1 on the
// kernel of the release before, APPEND=options with these on its command line (a
// hybrid machine: systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1).
//
// A script is a file scripts/NN-NAME in bash. They begin in the order of their
// names, one at a time (guest could run several, but never two of one user); the ones that change the
// machine run alone. Adding one is all there is to it. Its head says how:
//
//	# What it shows, in a line or more.
//	# user: alice         alice, bob, carol, dave (see root), or root
//	# login: ssh          ssh, su: a session by PAM; linger: a unit of the user's
//	#                     lingering service manager; cron: nothing of all that;
//	#                     root: as it is
//	# timeout: 60         seconds, after which it has failed, twice as many beside others
//	# with: alice bob     whose accounts it uses as well, so that none of their
//	#                     scripts runs beside it; all: it runs alone, as root does
//	#                     who does not say with: nobody
//	# boot: 2             after the machine was reset; 1 is the default
//	# leaves: a container what may still run at its end, for a later script
//	# asked: it measures  why it runs only when RUN matches it, and not with all
//
// What is at hand is in case; resources and bombs are for those that
// source them. A script has failed when it ends with another
// code than 0, or leaves processes of coracle's without saying so.
//
// The parts: root (the disk) and kernel are recipes, whose results are kept in
// .cache by their content; guest runs the scripts inside.
package vm

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	cache = "../../../.cache/vm"
	// budget is for both boots of the machine; what takes longer hangs. Two
	// idle cores need less than 13 minutes, busy ones may need CORACLE_VM_PATIENCE=4
	// times as much; the scripts' own times are then as much longer.
	budget = 30 * time.Minute
)

// patience is by how much all times are longer.
func patience() int {
	n, _ := strconv.Atoi(os.Getenv("CORACLE_VM_PATIENCE"))
	return max(n, 1)
}

// TestVM boots the login node and has a subtest for each of its scripts.
func TestVM(t *testing.T) {
	needs(t)
	kernel := os.Getenv("CORACLE_VM_KERNEL")
	if kernel == "" {
		kernel = "6.12"
	}
	scripts := chosen(t)
	began := time.Now()
	phase := func(name string) {
		t.Logf("%s: %.0f s", name, time.Since(began).Seconds())
		began = time.Now()
	}
	payload := later(t, func() string { return payloadDisk(t, scripts) })
	disks := machineDisks(t, kernel)
	disks.payload = payload()
	phase("the disks, with kernel " + kernel)
	node := boot(t, disks, "multi")
	left := results(t, node, scripts)
	node.end(t)
	phase("the machine")
	// Not more often: a script that makes the kernel panic is a finding, too.
	for range 2 {
		if len(left) == 0 || !node.panicked() {
			break
		}
		t.Logf("the guest's kernel panicked; once more, for the %d scripts that are left, with the processors in turn:\n%s", len(left), node.console.tail())
		disks.payload = payloadDisk(t, left)
		node = boot(t, disks, "single")
		left = results(t, node, left)
		node.end(t)
		phase("the machine, again")
	}
	if len(left) > 0 {
		t.Errorf("%d scripts did not run to their end; the machine's console:\n%s", len(left), node.console.tail())
	}
}

// panicked says whether the guest's kernel has. That happens where QEMU emulates
// two processors at once and the kernel changes its own code (text_poke): one runs
// into the breakpoint that stands there meanwhile, or into half of an instruction,
// as no real processor does. With one after the other it does not.
func (m *machine) panicked() bool {
	m.console.mu.Lock()
	defer m.console.mu.Unlock()
	return bytes.Contains(m.console.text.Bytes(), endOfPanic)
}

// needs skips where the tier cannot run.
func needs(t *testing.T) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		cannot(t, "the login node is made for amd64")
	}
	for _, name := range []string{"qemu-system-x86_64", "mmdebstrap", "mke2fs", "depmod", "busybox", "buildah", "skopeo", "umoci"} {
		if _, err := exec.LookPath(name); err != nil {
			cannot(t, "no %s: see .ci/packages", name)
		}
	}
}

// cannot skips a test that this machine cannot run; where everything must
// work (CI), that is a failure.
func cannot(t *testing.T, format string, args ...any) {
	t.Helper()
	if mustWork() {
		t.Fatalf("CORACLE_MUST_WORK: "+format, args...)
	}
	t.Skipf(format, args...)
}

func mustWork() bool { return os.Getenv("CORACLE_MUST_WORK") == "1" }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// chosen are the scripts to run: all, or those that CORACLE_VM_RUN matches.
// What one leaves for another has the same name after the number, so that
// RUN=reset has both.
func chosen(t *testing.T) []script {
	t.Helper()
	wanted, err := regexp.Compile(os.Getenv("CORACLE_VM_RUN"))
	must(t, err)
	entries, err := os.ReadDir("scripts")
	must(t, err)
	var scripts []script
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join("scripts", entry.Name()))
		must(t, err)
		s, err := parseHead(entry.Name(), string(text))
		must(t, err)
		s.timeout *= 2 * patience() // two processors for three scripts
		if wanted.MatchString(s.name) && (!s.asked || wanted.String() != "") {
			scripts = append(scripts, s)
		}
	}
	if len(scripts) == 0 {
		t.Fatalf("no script matches %s", wanted)
	}
	return scripts
}

// results turns what the machine says into subtests, as it says it, and returns
// the scripts that have not run to their end, with those that belong to them.
func results(t *testing.T, node *machine, scripts []script) (left []script) {
	t.Helper()
	ran := map[string]bool{}
	began, took := map[string]bool{}, map[string]int{}
	defer func() { t.Logf("seconds, of %d scripts:\n%s", len(took), slowest(took)) }()
	lines := bufio.NewScanner(node.results)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		verb, rest, _ := strings.Cut(lines.Text(), " ")
		switch verb {
		case "boot":
			t.Logf("boot, kernel, seconds: %s", rest)
		case "busy":
			t.Logf("the machine's processors were busy for %s %%", rest)
		case "begin":
			began[rest] = true
		case "run":
			t.Run(rest, func(t *testing.T) { took[rest], ran[rest] = result(t, lines, rest) })
			delete(began, rest)
		case "done":
			for _, s := range scripts {
				if !ran[s.name] {
					t.Errorf("%s did not run", s.name)
				}
			}
			node.done = true
			return nil
		default:
			t.Errorf("the machine says %q", lines.Text())
		}
	}
	t.Logf("the machine ended before it was done (%v), in the midst of %v", lines.Err(), slices.Collect(maps.Keys(began)))
	return unfinished(scripts, ran)
}

// unfinished are the scripts that have not run, and what belongs to them.
func unfinished(scripts []script, ran map[string]bool) []script {
	family := func(name string) string { _, f, _ := strings.Cut(name, "-"); return f }
	again := map[string]bool{}
	for _, s := range scripts {
		if !ran[s.name] {
			again[family(s.name)] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(scripts), func(s script) bool { return !again[family(s.name)] })
}

// slowest lists what took how many seconds, the longest first.
func slowest(took map[string]int) string {
	var b strings.Builder
	for _, name := range slices.SortedFunc(maps.Keys(took), func(a, b string) int {
		return cmp.Or(took[b]-took[a], strings.Compare(a, b))
	}) {
		fmt.Fprintf(&b, "%5d %s\n", took[name], name)
	}
	return b.String()
}

// result reads one script's output up to its end, and how many seconds it took;
// false when that does not come.
func result(t *testing.T, lines *bufio.Scanner, name string) (seconds int, ended bool) {
	var output strings.Builder
	for lines.Scan() {
		text := lines.Text()
		if line, ok := strings.CutPrefix(text, "| "); ok {
			output.WriteString(line + "\n")
			continue
		}
		var code string
		if f := strings.Fields(text); len(f) == 4 && f[0] == "end" && f[1] == name {
			code = f[2]
			seconds, _ = strconv.Atoi(f[3])
		}
		verdict(t, code, seconds, text, output.String())
		return seconds, true
	}
	t.Logf("the machine ended meanwhile; output:\n%s", output.String())
	return 0, false
}

// verdict is what the exit code of a script means.
func verdict(t *testing.T, code string, seconds int, line, output string) {
	t.Helper()
	switch code {
	case "0":
		t.Logf("%d s inside\n%s", seconds, output) // most say nothing
	case "77":
		cannot(t, "%s", output)
	case "124":
		t.Errorf("took too long, %d s:\n%s", seconds, output)
	case "":
		t.Errorf("the machine says %q after:\n%s", line, output)
	default:
		t.Errorf("exit code %s after %d s:\n%s", code, seconds, output)
	}
}
