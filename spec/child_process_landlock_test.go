package spec

import (
	"os"
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
