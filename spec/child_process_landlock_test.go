package spec

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Rules hold besides the mounts, which let all be written to here. A path that is not
// there allows nothing, a file takes the rights of files.
func TestLandlock(t *testing.T) {
	if LandlockABI() < 2 {
		if os.Getenv("CORACLE_MUST_WORK") != "" {
			t.Fatal("this kernel has no Landlock")
		}
		t.Skip("this kernel has no Landlock")
	}
	const read = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	const write = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_REG
	root := busyboxRoot(t)
	for _, name := range []string{"one", "two"} {
		if err := os.WriteFile(root+"/"+name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(root+"/dir", 0o755); err != nil {
		t.Fatal(err)
	}
	s := testSpec(root, "sh", "-c", `for f in one two dir/new new /dev/stdout /dev/null; do { echo $f >>$f; } 2>/dev/null || echo no $f; done`)
	s.Process.NoNewPrivileges = true
	all := "/dev/stdout\n"
	if out, _, err := runSpec(t, s, Extra{}); err != nil || out != all {
		t.Errorf("without rules: %q, %v", out, err)
	}
	x := Extra{}
	x.Landlock = Landlock{Handled: read | write, Rules: []LandlockRule{{"/", read}, {"/nosuch", write}, {"/two", read | write}, {"/dir", read | write}, {"/dev", write}}}
	if err := os.Remove(root + "/dir/new"); err != nil {
		t.Fatal(err)
	}
	if out, _, err := runSpec(t, s, x); err != nil || out != "no one\nno new\n"+all {
		t.Errorf("with rules: %q, %v", out, err)
	}
}

// Each wall by itself keeps a command from its own loopback: rules for ports with the
// interface up, and the interface down without rules.
func TestNoLoopback(t *testing.T) {
	if LandlockABI() < 4 {
		if os.Getenv("CORACLE_MUST_WORK") != "" {
			t.Fatal("this kernel's Landlock knows no ports")
		}
		t.Skip("this kernel's Landlock knows no ports")
	}
	root := busyboxRoot(t)
	s := testSpec(root, "sh", "-c", `timeout 1 nc -l -p 7000 2>&1 || echo nobody came; for p in 7001 7002; do nc 127.0.0.1 $p </dev/null 2>&1; done; true`)
	s.Process.NoNewPrivileges = true
	refused := "nc: can't connect to remote host (127.0.0.1): "
	x, lines := Extra{}, func(lines ...string) string { return strings.Join(lines, "\n") + "\n" }
	open := lines("nobody came", refused+"Connection refused", refused+"Connection refused")
	if out, _, err := runSpec(t, s, x); err != nil || !strings.HasSuffix(out, open) {
		t.Errorf("without walls: %q, %v", out, err)
	}
	x.NoLoopback = true
	down := lines("nobody came", refused+"Network is unreachable", refused+"Network is unreachable")
	if out, _, err := runSpec(t, s, x); err != nil || !strings.HasSuffix(out, down) {
		t.Errorf("with the interface down: %q, %v", out, err)
	}
	const read = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	x = Extra{}
	x.Landlock = Landlock{Handled: read, Rules: []LandlockRule{{"/", read}},
		Net: unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, Ports: []uint16{7002}}
	ruled := lines("nc: bind: Permission denied", "nobody came", refused+"Permission denied", refused+"Connection refused")
	if out, _, err := runSpec(t, s, x); err != nil || out != ruled {
		t.Errorf("with rules: %q, %v", out, err)
	}
}
