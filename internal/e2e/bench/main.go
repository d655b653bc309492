// Command bench measures coracle beside its peers, on the same machine, in
// one run, interleaved, and writes docs/benchmarks.md and its charts. Nothing
// here is a test: timings of a busy machine prove nothing.
//
// Started as root it measures as the user coracle-bench, as the product is
// used; the pages are written by who started it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// testUser is not the one of the end-to-end tests, which end all that theirs
// runs.
const testUser = "coracle-bench"

func main() {
	var (
		measure = flag.String("measure", "", "measure in this directory and print JSON (what bench starts as the user)")
		only    = flag.String("only", "", "measure only these groups (names with commas between) and print, not write")
		update  = flag.Bool("update", false, "with -only: replace these sections of docs/benchmarks.md, and leave the others")
		rounds  = flag.Int("rounds", 30, "measured rounds of short commands")
	)
	flag.Parse()
	if err := bench(*measure, *only, *update, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(dir, only string, update bool, rounds int) error {
	if _, err := selection(only); err != nil {
		return err
	}
	if dir != "" {
		report, err := measureAll(place{dir}, only, rounds)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(report)
	}
	report, err := measureAsUser(only, rounds)
	if err != nil {
		return err
	}
	page := render(report)
	fmt.Println(page)
	switch {
	case only == "":
		return write(report, page)
	case update:
		old, err := os.ReadFile(pageFile)
		if err != nil {
			return err
		}
		return write(report, merge(string(old), report))
	}
	return nil
}

const pageFile = "docs/benchmarks.md"

func write(r *Report, page string) error {
	files := map[string]string{pageFile: page}
	for name, svg := range charts(r) {
		files["docs/"+name] = svg
	}
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// measureAsUser prepares a directory and runs this program again in it, as
// the test user when we are root.
func measureAsUser(only string, rounds int) (*Report, error) {
	dir, err := os.MkdirTemp("/tmp", "coracle-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := prepare(dir); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{filepath.Join(dir, "bin/bench"), "-measure", dir, "-only", only, "-rounds", fmt.Sprint(rounds)}
	if err := copyFile(self, args[0]); err != nil {
		return nil, err
	}
	if os.Getuid() == 0 {
		// With a cgroup of the user's own, in a view without cgroup v1.
		args = append([]string{filepath.Join(dir, "bin/v2view"), filepath.Base(dir), testUser}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = filepath.Join(dir, "home")
	cmd.Env = []string{"PATH=" + dir + "/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C.UTF-8",
		"HOME=" + dir + "/home", "XDG_RUNTIME_DIR=" + dir + "/run"}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	r := &Report{}
	return r, json.Unmarshal(out, r)
}

func prepare(dir string) error {
	// Without make, too, what is measured is this source, not what was built some time ago.
	if out, err := exec.Command("make", "-s", "build").CombinedOutput(); err != nil {
		return fmt.Errorf("build coracle: %w: %s", err, out)
	}
	for _, d := range []string{"bin", "home", "run", "images"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	// In one piece, as make build does it, for the kernel to map it as such.
	if err := copyFile("bin/coracle", filepath.Join(dir, "bin/coracle")); err != nil {
		return err
	}
	for from, to := range map[string]string{"internal/e2e/testdata/make": "make", "internal/e2e/testdata/oci/v2view": "bin/v2view"} {
		if err := exec.Command("cp", "-r", from, filepath.Join(dir, to)).Run(); err != nil {
			return fmt.Errorf("copy %s: %w", from, err)
		}
	}
	steps := [][]string{
		{"chmod", "755", dir}, {"chmod", "700", dir + "/run"},
		{"go", "build", "-o", dir + "/bin/payload", "./internal/e2e/payload"},
		{"cp", dir + "/bin/payload", dir + "/bin/payload386"},
	}
	if os.Getuid() == 0 {
		steps = append(steps, []string{"internal/e2e/testuser.sh", testUser},
			[]string{"chown", "-R", testUser + ":", dir + "/home", dir + "/run", dir + "/images"})
	}
	for _, s := range steps {
		if out, err := exec.Command(s[0], s[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(s, " "), err, out)
		}
	}
	return nil
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// place is the directory that is measured in.
type place struct{ dir string }

func (p place) join(s string) string { return filepath.Join(p.dir, s) }

// clear removes what the measured user has made; some of it belongs to mapped
// ids, so it takes a user namespace, or root after us.
func (p place) clear() {
	if err := p.sh("unshare --user --map-root-user --map-auto rm -rf ../home/* ../images/*"); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}

// sh runs a preparation, unmeasured; it must work.
func (p place) sh(script string) error {
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = p.join("images")
	cmd.Env = append(os.Environ(), "BIN="+p.join("bin"), "MAKE="+p.join("make"), "BUILDAH_ISOLATION=chroot")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", script, err, out)
	}
	return nil
}
