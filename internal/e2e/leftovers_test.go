package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// leftovers fails when something of coracle's still runs (a second is given
// to what is just ending), is mounted, or lies unfinished in the store or the
// runtime directory.
func leftovers(ts *testscript.TestScript) {
	var left []string
	for range 50 {
		if left = processes(os.Getuid(), ""); len(left) == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if len(left) > 0 {
		ts.Fatalf("processes left:\n%s", strings.Join(left, "\n"))
	}
	ts.Check(noMounts(ts.Getenv("WORK"), ts.Getenv("XDG_RUNTIME_DIR")))
	for _, dir := range []string{ts.Getenv("STORE"), ts.Getenv("RUNROOT")} {
		if left = append(left, unfinished(dir)...); len(left) > 0 {
			ts.Fatalf("files left:\n%s", strings.Join(left, "\n"))
		}
	}
}

// processes lists coracle's processes that belong to uid or to an id that
// only a user namespace of his can have made: launchers and stages by their
// executable or name, payloads by the names that the scripts give them.
func processes(uid int, needle string) []string {
	var found []string
	for _, dir := range glob("/proc/[0-9]*") {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		info, err := os.Stat(dir)
		if err != nil || pid == os.Getpid() {
			continue
		}
		owner := int(info.Sys().(*syscall.Stat_t).Uid)
		if owner != uid && !subordinate(owner) {
			continue
		}
		cmdline, _ := os.ReadFile(dir + "/cmdline")
		comm, _ := os.ReadFile(dir + "/comm")
		exe, _ := os.Readlink(dir + "/exe")
		words := strings.ReplaceAll(strings.TrimRight(string(cmdline), "\x00"), "\x00", " ")
		if isZombie(dir) || !ours(words, string(comm), exe, needle) {
			continue
		}
		found = append(found, fmt.Sprintf("%d uid %d %s (%s) %s", pid, owner, strings.TrimSpace(string(comm)), exe, words))
	}
	return found
}

// subordinate says whether an id is one of the test user's range.
func subordinate(id int) bool {
	data, _ := os.ReadFile("/etc/subuid")
	name := userName()
	if os.Getuid() == 0 {
		name = testUser
	}
	for line := range strings.Lines(string(data)) {
		var first, count int
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || f[0] != name {
			continue
		}
		first, _ = strconv.Atoi(f[1])
		count, _ = strconv.Atoi(f[2])
		if id >= first && id < first+count {
			return true
		}
	}
	return false
}

// marker is an argument that scripts give to payloads, so that they are
// found again.
const marker = "e2e-payload"

func ours(words, comm, exe, needle string) bool {
	if needle != "" {
		return strings.Contains(words, needle)
	}
	return strings.Contains(words, "[coracle:") || strings.HasPrefix(comm, "coracle") || strings.HasPrefix(comm, "[coracle") ||
		strings.HasSuffix(exe, "/bin/coracle") || strings.Contains(words, marker)
}

func isZombie(dir string) bool {
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return true
	}
	after := stat[strings.LastIndexByte(string(stat), ')')+1:]
	return strings.HasPrefix(strings.TrimSpace(string(after)), "Z")
}

// unfinished lists temporary files, half-made layers and containers.
func unfinished(root string) []string {
	var found []string
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // of mapped ids: below a layer, where we look for nothing
		}
		rel, _ := filepath.Rel(root, path)
		parts := strings.Split(rel, "/")
		if strings.Contains(d.Name(), ".tmp") || strings.HasPrefix(d.Name(), ".tmp") {
			found = append(found, path)
		}
		if len(parts) == 2 && parts[0] == "containers" && d.IsDir() {
			found = append(found, path)
		}
		if len(parts) >= 4 && parts[0] == "layers" {
			return fs.SkipDir
		}
		return nil
	})
	return found
}
