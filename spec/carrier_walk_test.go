package spec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"coracle/fuse"

	"golang.org/x/sys/unix"
)

// walkTree makes a root with links of all kinds, and something outside.
func walkTree(t *testing.T) *os.File {
	t.Helper()
	top := t.TempDir()
	root := top + "/root"
	for _, d := range []string{root + "/a/b", root + "/etc", top + "/outside"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{
		"abs": "/a/b", "rel": "a/../a/b", "up": "../../../outside", "down": "../../a", "dangling": "none/x", "loop": "loop",
		"file": "etc/f", "a/up": "../../a/b", "chain": "a/up/../up", "dirlink": "a/",
	} {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(root+"/etc/f", nil, 0o644), os.WriteFile(top+"/outside/secret", nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

// outcome is where a walk has led, or its errno.
func outcome(t *testing.T, fd int, err error) string {
	t.Helper()
	if err != nil {
		var errno syscall.Errno
		if !errors.As(err, &errno) {
			return "no errno: " + err.Error()
		}
		return unix.ErrnoName(errno)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("inode %d, %o", st.Ino, st.Mode)
}

// The carrier's walk leads where openat2(2) leads, or fails as it does.
func TestWalkIsAsOpenat2(t *testing.T) {
	if !elsewhere(t, false) {
		return
	}
	need(t, !probeKernel().openat2, "openat2, to compare with")
	dir := walkTree(t)
	type walked struct {
		name           string
		flags, resolve uint64
		want           string
	}
	var all []walked
	for _, name := range []string{
		"", "/", ".", "..", "../..", "a", "/a/b", "a/b/", "abs", "rel", "up", "up/secret", "../outside/secret", "down", "dangling", "none", "none/x", "loop", "loop/x",
		"file", "file/x", "etc/f", "chain", "chain/..", "dirlink/b", "a/b/../../../../outside", strings.Repeat("a/../", 100) + "a",
	} {
		for _, w := range []walked{
			{name, unix.O_PATH, 0, ""}, {name, unix.O_PATH | unix.O_DIRECTORY, 0, ""}, {name, unix.O_RDONLY, 0, ""},
			{name, unix.O_PATH, unix.RESOLVE_NO_SYMLINKS, ""}, {name, unix.O_RDONLY, unix.RESOLVE_NO_SYMLINKS, ""},
		} {
			if w.resolve != 0 && strings.Contains(name, "..") {
				continue // where no link is followed, ".." is what it looks like
			}
			fd, err := unix.Openat2(int(dir.Fd()), strings.TrimPrefix(name, "/")+dotIfEmpty(name), &unix.OpenHow{
				Flags: w.flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | w.resolve})
			if w.want = outcome(t, fd, err); err == nil {
				unix.Close(fd)
			}
			all = append(all, w)
		}
	}
	if err := lack("openat2", unix.ENOSYS); err != nil { // for this process, which is the test's own
		t.Fatal(err)
	}
	for _, w := range all {
		f, err := walk(dir, w.name, w.flags, w.resolve)
		fd := -1
		if err == nil {
			fd = int(f.Fd())
		}
		got := outcome(t, fd, err)
		if err == nil {
			f.Close()
		}
		// A link that may not be followed is no directory, on the way.
		if w.resolve != 0 && w.want == "ELOOP" && got == "ENOTDIR" {
			continue
		}
		if got != w.want {
			t.Errorf("%.40q, flags %#x, resolve %#x: %s, want %s", w.name, w.flags, w.resolve, got, w.want)
		}
	}
}

// What is mounted below /proc/sys does not take a sysctl.
func TestWalkStaysOnOneMount(t *testing.T) {
	if !elsewhere(t, false) {
		return
	}
	dir := walkTree(t)
	at := dir.Name() + "/etc"
	if err := errors.Join(unix.Mount("tmpfs", at, "tmpfs", 0, ""), os.Mkdir(at+"/sys", 0o755), os.WriteFile(at+"/sys/x", nil, 0o644), os.WriteFile(at+"/sys/y", nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(at+"/sys/y", at+"/sys/x", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	for _, calls := range []string{"openat2", "openat2,statx"} {
		if err := lack(calls, unix.ENOSYS); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]bool{"sys": false, "..": true} { // another mount is above
			sub, err := openDir(mustOpen(t, at), name)
			if err != nil {
				t.Fatal(err)
			}
			if other, err := otherMount(mustOpen(t, at), sub); err != nil || other != want {
				t.Errorf("without %s: %s on another mount: %v, %v", calls, name, other, err)
			}
			sub.Close()
		}
		const how = unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV
		if f, err := walk(dir, "etc/sys/y", unix.O_WRONLY, how); err != nil {
			t.Errorf("without %s: %v", calls, err)
		} else {
			f.Close()
		}
		if _, err := walk(dir, "etc/sys/x", unix.O_WRONLY, how); !errors.Is(err, unix.EXDEV) {
			t.Errorf("without %s, mounted over: %v", calls, err)
		}
	}
}

func TestClassicOptions(t *testing.T) {
	p := func(words ...string) []fuse.Param {
		var out []fuse.Param
		for _, w := range words {
			k, v, ok := strings.Cut(w, "=")
			out = append(out, fuse.Param{Key: k, Value: v, Flag: !ok})
		}
		return out
	}
	for name, tt := range map[string]struct {
		fstype string
		params []fuse.Param
		attrs  uint64
		want   classic
	}{
		"tmpfs":         {"tmpfs", p("source=mem", "size=64k", "mode=700"), unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_RDONLY, classic{"mem", unix.MS_NOSUID | unix.MS_RDONLY, "size=64k,mode=700"}},
		"no source":     {"proc", nil, 0, classic{"proc", 0, ""}},
		"flags":         {"tmpfs", p("sync", "dirsync", "lazytime", "async", "noswap"), 0, classic{"tmpfs", unix.MS_SYNCHRONOUS | unix.MS_DIRSYNC | unix.MS_LAZYTIME, "noswap"}},
		"read-only":     {"ext4", p("source=/dev/x", "ro"), 0, classic{"/dev/x", unix.MS_RDONLY, ""}},
		"layers":        {"overlay", p("source=overlay", "userxattr", "lowerdir+=a:b", "lowerdir+=c,d", "datadir+=e", "upperdir=u,p", "workdir=w"), 0, classic{"overlay", 0, `lowerdir=a\:b:c\,d::e,userxattr,upperdir=u\,p,workdir=w`}},
		"access times":  {"tmpfs", nil, unix.MOUNT_ATTR_NOATIME | unix.MOUNT_ATTR_NODIRATIME, classic{"tmpfs", unix.MS_NOATIME | unix.MS_NODIRATIME, ""}},
		"strict access": {"tmpfs", nil, unix.MOUNT_ATTR_STRICTATIME, classic{"tmpfs", unix.MS_STRICTATIME, ""}},
	} {
		if got, err := classicOptions(tt.fstype, tt.params, tt.attrs); err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, tt.want)
		}
	}
	if _, err := classicOptions("overlay", p("lowerdir+="+strings.Repeat("x", 4090)), 0); !errors.Is(err, errMountData) {
		t.Errorf("too long: %v", err)
	}
}

func mustOpen(t *testing.T, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}
