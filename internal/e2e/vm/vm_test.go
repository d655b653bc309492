// Package vm is the login node: a Debian machine under QEMU's software
// emulation, with systemd, real sessions, AppArmor and delegated cgroups,
// in which the scripts of scripts/ run. `make test-vm` runs it,
// `make test-vm RUN=doctor` only the scripts that match, KERNEL=6.1 on the
// kernel of the release before, APPEND=options with these on its command line (a
// hybrid machine: systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1).
//
// A script is a file scripts/NN-NAME in bash; they run in the order of their
// names. Adding one is all there is to it. Its head says how:
//
//	# What it shows, in a line or more.
//	# user: alice         alice, bob, carol, dave (see root), or root
//	# login: ssh          ssh, su: a session by PAM; linger: a unit of the user's
//	#                     lingering service manager; cron: nothing of all that;
//	#                     root: as it is
//	# timeout: 60         seconds, after which it has failed
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
	// idle cores need less than 20 minutes, busy ones may need CORACLE_VM_PATIENCE=4
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
	disks := machineDisks(t, kernel)
	phase("root and kernel " + kernel)
	disks.payload = payloadDisk(t, scripts)
	phase("programs and images")
	node := boot(t, disks)
	left := results(t, node, scripts)
	node.end(t)
	phase("the machine")
	if len(left) == 0 {
		return
	}
	if !node.emulatorsFault() {
		t.Errorf("%d scripts did not run to their end; the machine's console:\n%s", len(left), node.console.tail())
		return
	}
	t.Logf("the emulator let the kernel run into code that was just being changed; once more, for the %d scripts that are left:\n%s", len(left), node.console.tail())
	disks.payload = payloadDisk(t, left)
	node = boot(t, disks)
	t.Cleanup(func() { node.end(t) })
	if left = results(t, node, left); len(left) > 0 {
		t.Errorf("%d scripts did not run to their end; the machine's console:\n%s", len(left), node.console.tail())
	}
	phase("the machine, again")
}

// emulatorsFault says whether the guest's kernel has met the breakpoint that it
// puts into its own code while it changes that (text_poke): a processor never
// shows it to the kernel at such a moment, QEMU's emulation of two does, rarely.
func (m *machine) emulatorsFault() bool {
	m.console.mu.Lock()
	defer m.console.mu.Unlock()
	return strings.Contains(m.console.text.String(), "Oops: int3")
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
		s.timeout *= patience()
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
	lines := bufio.NewScanner(node.results)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		verb, rest, _ := strings.Cut(lines.Text(), " ")
		switch verb {
		case "boot":
			t.Logf("boot, kernel, seconds: %s", rest)
		case "run":
			t.Run(rest, func(t *testing.T) { ran[rest] = result(t, lines, rest) })
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
	t.Logf("the machine ended before it was done (%v)", lines.Err())
	family := func(name string) string { _, f, _ := strings.Cut(name, "-"); return f }
	again := map[string]bool{}
	for _, s := range scripts {
		if !ran[s.name] {
			again[family(s.name)] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(scripts), func(s script) bool { return !again[family(s.name)] })
}

// result reads one script's output up to its end; false when that does not come.
func result(t *testing.T, lines *bufio.Scanner, name string) bool {
	var output strings.Builder
	for lines.Scan() {
		text := lines.Text()
		if line, ok := strings.CutPrefix(text, "| "); ok {
			output.WriteString(line + "\n")
			continue
		}
		var code, seconds string
		if f := strings.Fields(text); len(f) == 4 && f[0] == "end" && f[1] == name {
			code, seconds = f[2], f[3]
		}
		switch code {
		case "0":
			t.Logf("%s s inside\n%s", seconds, output.String()) // most say nothing
		case "77":
			cannot(t, "%s", output.String())
		case "124":
			t.Errorf("took too long, %s s:\n%s", seconds, output.String())
		case "":
			t.Errorf("the machine says %q after:\n%s", text, output.String())
		default:
			t.Errorf("exit code %s after %s s:\n%s", code, seconds, output.String())
		}
		return true
	}
	t.Logf("the machine ended meanwhile; output:\n%s", output.String())
	return false
}
