package spec

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// imageDir puts a directory with all that a copy can lose into root.
func imageDir(t *testing.T, root string) string {
	t.Helper()
	dir := filepath.Join(root, "data")
	for _, err := range []error{
		os.MkdirAll(dir+"/sub/deep", 0o755),
		os.WriteFile(dir+"/file", []byte("hello"), 0o640),
		os.WriteFile(dir+"/sub/deep/tool", []byte("tool"), 0o755),
		os.Chmod(dir+"/sub/deep/tool", 0o755|os.ModeSetuid),
		os.Link(dir+"/file", dir+"/sub/second"),
		os.Symlink("/etc/passwd", dir+"/link"),
		unix.Mkfifo(dir+"/pipe", 0o622),
		os.Chmod(dir+"/pipe", 0o622),
		os.Chmod(dir+"/sub", 0o710),
		os.Chmod(dir, 0o1770|os.ModeSticky),
		os.WriteFile(dir+"/sparse", nil, 0o600),
		os.Truncate(dir+"/sparse", 1<<30),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestStartCopiesUp(t *testing.T) {
	root := busyboxRoot(t)
	imageDir(t, root)
	script := `cd /data; stat -c '%n %A %a' . file sub sub/deep/tool pipe link; readlink link; cat file sub/deep/tool; echo
		test file -ef sub/second && echo linked; stat -c %s sparse; rm file && touch new && echo writable; grep -c ' /data ' /proc/self/mountinfo`
	want := ". drwxrwx--T 1770\nfile -rw-r----- 640\nsub drwx--x--- 710\nsub/deep/tool -rwsr-xr-x 4755\npipe prw--w--w- 622\nlink lrwxrwxrwx 777\n" +
		"/etc/passwd\nhellotool\nlinked\n1073741824\nwritable\n1\n"
	for _, init := range []bool{false, true} {
		s := testSpec(root, "sh", "-c", script)
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Type: "tmpfs", Options: []string{"tmpcopyup", "size=1m", "nosuid"}})
		if out, _, err := runSpec(t, s, Extra{Init: init}); err != nil || out != want {
			t.Errorf("%v: got\n%s\nwant\n%s", err, out, want)
		}
	}
	if _, err := os.Stat(root + "/data/file"); err != nil {
		t.Errorf("the image's own was written to: %v", err)
	}
	// Read-only, with a mode of its own, twice, and where there is nothing.
	s := testSpec(root, "sh", "-c", "stat -c %a /data /sub; cat /data/file; ls /sub /none; touch /data/x 2>/dev/null || echo ro")
	s.Mounts = append(s.Mounts,
		specs.Mount{Destination: "/data", Type: "tmpfs", Options: []string{"tmpcopyup", "ro", "mode=700"}},
		specs.Mount{Destination: "/sub", Source: root + "/data/sub", Options: []string{"bind"}},
		specs.Mount{Destination: "/sub", Type: "tmpfs", Options: []string{"tmpcopyup"}},
		specs.Mount{Destination: "/none", Type: "tmpfs", Options: []string{"tmpcopyup"}})
	if out, _, err := runSpec(t, s, Extra{}); err != nil || out != "700\n710\nhello/none:\n\n/sub:\ndeep\nsecond\nro\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestStartCopiesUpOwnersAndAttributes(t *testing.T) {
	need(t, os.Geteuid() == 0, "root, for several owners")
	root := busyboxRoot(t)
	dir := imageDir(t, root)
	if err := errors.Join(os.Chown(dir+"/file", 5, 6), os.Chown(dir, 7, 8), os.Lchown(dir+"/link", 9, 9), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	script := "stat -c '%u:%g' /data /data/file /data/link /data/sub"
	s := without(testSpec(root, "sh", "-c", script), specs.UserNamespace)
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Type: "tmpfs", Options: []string{"tmpcopyup"}})
	if out, _, err := runSpec(t, s, Extra{}); err != nil || out != "7:8\n5:6\n9:9\n0:0\n" {
		t.Errorf("%q, %v", out, err)
	}
	s.Mounts[len(s.Mounts)-1].Options = []string{"tmpcopyup", "uid=3", "gid=4"}
	if out, _, err := runSpec(t, s, Extra{}); err != nil || !strings.HasPrefix(out, "3:4\n5:6\n") {
		t.Errorf("with an owner of its own: %q, %v", out, err)
	}
	// In a user namespace without these ids nobody can have them.
	if err := os.Chmod(dir+"/file", 0o644); err != nil { // nor can its root read what is not for all
		t.Fatal(err)
	}
	s = testSpec(root, "sh", "-c", script)
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Type: "tmpfs", Options: []string{"tmpcopyup"}})
	if out, _, err := runSpec(t, s, Extra{}); err != nil || out != "0:0\n0:0\n0:0\n0:0\n" {
		t.Errorf("without the ids: %q, %v", out, err)
	}
}

// Extended attributes and holes, by the function itself.
func TestCopyKeepsAttributesAndHoles(t *testing.T) {
	if !elsewhere(t, false) {
		return
	}
	dir, mem := imageDir(t, t.TempDir()), t.TempDir()
	if err := unix.Setxattr(dir+"/sub", "user.note", []byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	mountTmpfs(t, mem, 0)
	if err := copyBetween(t, dir, mem); err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 10)
	if n, err := unix.Getxattr(mem+"/sub", "user.note", value); err != nil || string(value[:n]) != "kept" {
		t.Errorf("%q, %v", value, err)
	}
	var st unix.Stat_t
	if err := unix.Stat(mem+"/sparse", &st); err != nil || st.Size != 1<<30 || st.Blocks != 0 {
		t.Errorf("the hole has become %d blocks, %v", st.Blocks, err)
	}
}

func copyBetween(t *testing.T, from, to string) error {
	t.Helper()
	src, err := openDir(unix.AT_FDCWD, from)
	if err != nil {
		t.Fatal(err)
	}
	dst, err := openDir(unix.AT_FDCWD, to)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	defer dst.Close()
	c := copier{target: int(dst.Fd()), links: make(map[fileID]string)}
	return c.dir(src, dst, "")
}

// The reason of a copy that fails reaches the user in words.
func TestStartCopyUpDoesNotFit(t *testing.T) {
	root := busyboxRoot(t)
	if err := os.WriteFile(filepath.Join(imageDir(t, root), "sub/big"), make([]byte, 200<<10), 0o644); err != nil {
		t.Fatal(err)
	}
	s := testSpec(root, "true")
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Type: "tmpfs", Options: []string{"tmpcopyup", "size=64k"}})
	_, _, err := runSpec(t, s, Extra{})
	var se *userns.StepError
	if !errors.As(err, &se) || !strings.HasPrefix(err.Error(), "mount tmpfs on /data: tmpcopyup: what the image has there does not fit into the tmpfs (its size is 64k): sub/big: ") {
		t.Errorf("got %v", err)
	}
}

// A link at the mount point cannot make the copy read the host's files.
func TestStartCopiesUpInsideTheRoot(t *testing.T) {
	out := t.TempDir()
	if err := os.WriteFile(out+"/secret", []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	root := busyboxRoot(t)
	replaceByLink(t, root+"/data", out)
	s := testSpec(root, "ls", "-A", "/data/")
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/data", Type: "tmpfs", Options: []string{"tmpcopyup"}})
	if got, _, err := runSpec(t, s, Extra{}); err != nil || got != "" {
		t.Errorf("%q, %v", got, err)
	}
	replaceByLink(t, root+"/data", "/proc/self/fd")
	if _, _, err := runSpec(t, s, Extra{}); err == nil {
		t.Error("it copied from /proc")
	}
}

func TestCarrierRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, args := range [][]string{nil, {"nothing"}, {carryCopyUp}} {
		if err := carry(args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
