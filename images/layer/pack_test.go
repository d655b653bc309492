package layer

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What Pack writes, GNU tar reads and Unpack makes again, the same.
func TestPackRoundTrip(t *testing.T) {
	src := t.TempDir()
	long := strings.Repeat("long/", 60) + "name"
	for name, mode := range map[string]os.FileMode{"a": 0o640, "d/b": 0o4755, ".wh.c": 0o600, "d/.wh..wh..opq": 0o600, long: 0o644, "odd\n\x01\xff": 0o644} {
		p := filepath.Join(src, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("content of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := unix.Chmod(p, uint32(mode.Perm())|map[bool]uint32{true: 0o4000}[name == "d/b"]); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		os.Symlink("/etc/passwd", filepath.Join(src, "link")), os.Link(filepath.Join(src, "a"), filepath.Join(src, "d/hard")),
		unix.Mkfifo(filepath.Join(src, "fifo"), 0o620), unix.Chmod(src, 0o751),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	xattrs := unix.Setxattr(filepath.Join(src, "a"), "user.colour", []byte("red\x00blue"), 0) == nil
	if err := unix.Setxattr(filepath.Join(src, "d/b"), XattrStat, []byte("7:8:0104711"), 0); err != nil && xattrs {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	dir, err := os.Open(src)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := Pack(context.Background(), int(dir.Fd()), &archive); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tar", "--numeric-owner", "-tv")
	cmd.Stdin = bytes.NewReader(archive.Bytes())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	if xattrs && !strings.Contains(string(out), "-rws--x--x 7/8 ") {
		t.Errorf("the owner that was meant is not in\n%s", out)
	}
	dst := t.TempDir()
	st, err := Local(dst)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dst, "tar")
	if err := os.WriteFile(file, archive.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	blob, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	if xattrs && os.Getuid() != 0 {
		if err := unix.Removexattr(filepath.Join(src, "d/b"), XattrStat); err != nil {
			t.Fatal(err)
		}
		archive.Reset()
		if err := Pack(context.Background(), int(dir.Fd()), &archive); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, archive.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := st.Unpack(context.Background(), Request{Blob: blob, Dir: "new/fs", Plain: true}); err != nil {
		t.Fatal(err)
	}
	// find's words: type, mode, links, size, target, name.
	find := func(dir string) string {
		out, err := exec.Command("sh", "-c", `cd "$0" && find . ! -name b -printf '%y %m %n %l %P\n' -type f -exec md5sum {} + | sort`, dir).CombinedOutput()
		if err != nil {
			t.Fatalf("find: %v\n%s", err, out)
		}
		return string(out)
	}
	if want, got := find(src), find(filepath.Join(dst, "new/fs")); got != want || len(want) < 200 {
		t.Errorf("unpacked:\n%s\nwant\n%s", got, want)
	}
	if xattrs {
		value := make([]byte, 64)
		n, err := unix.Getxattr(filepath.Join(dst, "new/fs/a"), "user.colour", value)
		if err != nil || string(value[:n]) != "red\x00blue" {
			t.Errorf("the attribute is %q, %v", value[:max(n, 0)], err)
		}
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

func TestPackCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := Pack(ctx, int(dir.Fd()), &bytes.Buffer{}); err == nil {
		t.Error("a cancelled Pack goes on")
	}
}
