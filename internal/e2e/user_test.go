package e2e

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// testUser runs the scripts when the tests are started as root. It stays on
// the machine and owns nothing there. CORACLE_E2E_USER names another one, for
// two runs at a time.
var testUser = cmp.Or(os.Getenv("CORACLE_E2E_USER"), "coracle-test")

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
}

// uid is who runs the scripts.
func (p place) uid() int {
	if os.Getuid() != 0 {
		return os.Getuid()
	}
	u, err := user.Lookup(testUser)
	if err != nil {
		return -1
	}
	id, _ := strconv.Atoi(u.Uid)
	return id
}

// giveToUser makes the test user and what only root can: its directories, a
// small file system, and device nodes opened as udev does elsewhere.
func (p place) giveToUser(t *testing.T) {
	t.Helper()
	run(t, nil, "./testuser.sh", testUser)
	p.endProcesses() // of a run that was cut short
	if err := syscall.Mount("tmpfs", p.join("small"), "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "size=24m,mode=0755"); err != nil {
		cannot(t, "mount a small tmpfs: %v", err)
	}
	u, err := user.Lookup(testUser)
	must(t, err)
	for _, dir := range []string{"images", "w", "r", "home", "small"} {
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		must(t, os.Chown(p.join(dir), uid, gid))
	}
}

// rerunAsUser runs this test binary again as the test user, with a bare
// environment, no terminal and no capability.
func (p place) rerunAsUser(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	run(t, nil, "cp", self, p.join("bin/e2e.test"))
	u, err := user.Lookup(testUser)
	must(t, err)
	cmd := exec.CommandContext(t.Context(), "setpriv", append([]string{
		"--reuid", u.Uid, "--regid", u.Gid, "--init-groups", "--inh-caps", "-all", "--bounding-set", "+all",
		p.join("bin/e2e.test")}, testFlags()...)...)
	cmd.Dir = p.join("home")
	cmd.Env = []string{"PATH=" + p.path(), "HOME=" + p.join("home"), "USER=" + testUser, "LANG=C.UTF-8",
		"TMPDIR=/tmp", baseEnv + "=" + string(p), "CORACLE_MUST_WORK=" + os.Getenv("CORACLE_MUST_WORK"), "CORACLE_E2E_CONTINUE=" + os.Getenv("CORACLE_E2E_CONTINUE"),
		"CORACLE_E2E_POINTS=" + os.Getenv("CORACLE_E2E_POINTS")}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	if err != nil {
		t.Errorf("scripts as %s: %v", testUser, err)
	}
	for _, left := range p.endProcesses() {
		t.Errorf("left running: %s", left)
	}
}

// endProcesses ends all that the test user runs, and tells what it was: he is
// ours, and lockRun lets one run at a time have him.
func (p place) endProcesses() (ended []string) {
	for _, dir := range glob("/proc/[0-9]*") {
		info, err := os.Stat(dir)
		if err != nil || int(info.Sys().(*syscall.Stat_t).Uid) != p.uid() || isZombie(dir) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(dir))
		line, _ := os.ReadFile(dir + "/cmdline")
		ended = append(ended, fmt.Sprintf("%d %q", pid, line))
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return ended
}

func glob(pattern string) []string {
	names, _ := filepath.Glob(pattern)
	return names
}

// testFlags are our own flags less those that name files of the first run,
// and with the scripts as the only test.
func testFlags() []string {
	var flags []string
	scripts := "-test.run=^TestScripts$"
	for _, arg := range os.Args[1:] {
		switch name, value, _ := strings.Cut(arg, "="); name {
		case "-test.testlogfile", "-test.coverprofile", "-test.gocoverdir", "-test.outputdir":
		case "-test.timeout":
			// A minute less than ours, which is for cleaning up.
			if d, err := time.ParseDuration(value); err == nil && d > 2*time.Minute {
				arg = name + "=" + (d - time.Minute).String()
			}
			flags = append(flags, arg)
		case "-test.run":
			if strings.Contains(value, "/") {
				scripts = arg
			}
		default:
			flags = append(flags, arg)
		}
	}
	return append(flags, scripts)
}

// cached maps files of the checkout's .cache to files of the place.
func (p place) cached(t *testing.T) map[string]string {
	recipe, err := os.ReadFile("testdata/make/debian")
	must(t, err)
	release, _ := os.ReadFile("/etc/os-release")
	sum := sha256.Sum256(append(recipe, release...))
	return map[string]string{
		fmt.Sprintf("../../.cache/debian-%x.tar", sum[:6]): p.join("images/debian.tar"),
	}
}
