package e2e

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// testUser runs the scripts when the tests are started as root. It stays on
// the machine; without -m it owns nothing there.
const testUser = "coracle-test"

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
	if _, err := user.Lookup(testUser); err != nil {
		run(t, nil, "useradd", "-M", "-d", "/nonexistent", "-s", "/bin/bash", testUser)
	}
	ensureSubIDs(t, "/etc/subuid", "--add-subuids")
	ensureSubIDs(t, "/etc/subgid", "--add-subgids")
	for _, dev := range []string{"/dev/fuse", "/dev/net/tun"} {
		if err := os.Chmod(dev, 0o666); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
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

// ensureSubIDs gives the test user 65536 ids above everybody else's, where
// useradd did not (no such file when it ran, or SUB_UID_COUNT is 0).
func ensureSubIDs(t *testing.T, file, flag string) {
	t.Helper()
	next := 200000
	f, err := os.OpenFile(file, os.O_RDONLY|os.O_CREATE, 0o644)
	must(t, err)
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		parts := strings.Split(s.Text(), ":")
		if len(parts) != 3 {
			continue
		}
		if parts[0] == testUser {
			return
		}
		start, _ := strconv.Atoi(parts[1])
		count, _ := strconv.Atoi(parts[2])
		next = max(next, start+count)
	}
	run(t, nil, "usermod", flag, fmt.Sprintf("%d-%d", next, next+65535), testUser)
}

// rerunAsUser runs this test binary again as the test user, with a bare
// environment, no terminal and no capability.
func (p place) rerunAsUser(t *testing.T) {
	t.Helper()
	run(t, nil, "cp", "/proc/self/exe", p.join("bin/e2e.test"))
	u, err := user.Lookup(testUser)
	must(t, err)
	cmd := exec.CommandContext(t.Context(), "setpriv", append([]string{
		"--reuid", u.Uid, "--regid", u.Gid, "--init-groups", "--inh-caps", "-all", "--bounding-set", "+all",
		p.join("bin/e2e.test")}, testFlags()...)...)
	cmd.Dir = p.join("home")
	cmd.Env = []string{"PATH=" + p.path(), "HOME=" + p.join("home"), "USER=" + testUser, "LANG=C.UTF-8",
		"TMPDIR=/tmp", baseEnv + "=" + string(p), "CORACLE_MUST_WORK=" + os.Getenv("CORACLE_MUST_WORK")}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		t.Errorf("scripts as %s: %v", testUser, err)
	}
}

// testFlags are our own flags less those that name files of the first run,
// and with the scripts as the only test.
func testFlags() []string {
	var flags []string
	scripts := "-test.run=^TestScripts$"
	for _, arg := range os.Args[1:] {
		switch name, value, _ := strings.Cut(arg, "="); name {
		case "-test.testlogfile", "-test.coverprofile", "-test.gocoverdir", "-test.outputdir":
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
