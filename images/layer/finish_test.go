package layer

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const finishTime = "1600000000.123000000"

func TestMissingParentsInherit(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		e.layer(t, "base", nil, folder("./").moded(0o751).owned(3, 4), folder("var").moded(0o700).owned(1, 2),
			folder("var/mail").moded(0o2770).owned(0, 8).with("user.kept", "yes"), folder("usr/lib"), symlink("lib", "usr/lib"),
			folder("gone").moded(0o700), folder("opq").moded(0o700), folder("opq/in").moded(0o700), folder("named").moded(0o700))
		mid := e.layer(t, "mid", []string{"base"}, file("var/mail/a", "a"), file(".wh.gone", ""), folder("./"))
		top := e.layer(t, "top", []string{"mid", "base"}, file("var/mail/b", "b"), file("gone/x", ""), file("lib/y", ""),
			file("opq/.wh..wh..opq", ""), file("opq/in/z", ""), file("named/first", ""), folder("named").moded(0o711), file("new/n", ""))
		h := e.host
		mail := fmt.Sprintf(`0042770 %d:%d %s user.kept="yes"`, h(0), h(8), finishTime)
		for _, c := range []struct{ dir, name, want string }{
			{mid, ".", fmt.Sprintf("0040755 %d:%d %s", h(0), h(0), finishTime)},
			{mid, "var", fmt.Sprintf("0040700 %d:%d %s", h(1), h(2), finishTime)},
			{mid, "var/mail", mail}, {top, "var/mail", mail},
			{top, ".", fmt.Sprintf("0040755 %d:%d %s", h(0), h(0), finishTime)},
			{top, "gone", fmt.Sprintf("0040755 %d:%d ", h(0), h(0))},
			{top, "lib", fmt.Sprintf("0040755 %d:%d %s", h(0), h(0), finishTime)},
			{top, "opq", fmt.Sprintf(`0040700 %d:%d %s user.overlay.opaque="y"`, h(0), h(0), finishTime)},
			{top, "opq/in", fmt.Sprintf("0040755 %d:%d ", h(0), h(0))},
			{top, "named", fmt.Sprintf("0040711 %d:%d %s", h(0), h(0), finishTime)},
			{top, "new", fmt.Sprintf("0040755 %d:%d ", h(0), h(0))},
		} {
			if got := treeOf(t, c.dir, "owner mtime xattrs")[c.name]; got != c.want && (!strings.HasSuffix(c.want, " ") || !strings.HasPrefix(got, c.want)) {
				t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
			}
		}
		if _, err := os.Lstat(filepath.Join(e.root, "top/pending")); err == nil {
			t.Error("the notes are still there")
		}
	})
}

func TestHardLinksIntoLowerLayers(t *testing.T) {
	everywhere(t, func(t *testing.T, e *env) {
		capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
		e.layer(t, "base", nil, folder("bin").moded(0o711).owned(0, 9),
			file("bin/su", "old"), symlink("sbin", "bin"), symlink("bin/sh", "dash"))
		e.layer(t, "mid", []string{"base"}, folder("bin").moded(0o711).owned(0, 9),
			file("bin/su", "the file").owned(5, 6).moded(0o4711).with("security.capability", capability).with("user.n", "v"))
		dir := e.layer(t, "top", []string{"mid", "base"}, folder("links").moded(0o700),
			hard("links/su", "sbin/su"), hard("links/su2", "sbin/su"), hard("links/su3", "links/su2"), hard("links/sh", "bin/sh"),
			hard("links/late", "bin/su"), file("links/late", "replaced"), hard("moved", "bin/sh"), file("bin/.wh.sh", ""), hard("moved2", "bin/sh"))
		got := treeOf(t, dir, "owner mtime xattrs")
		h := e.host
		su := fmt.Sprintf(`0104711 %d:%d %s "the file"`, h(5), h(6), finishTime)
		if !strings.HasPrefix(got["bin/su"], su) || !strings.Contains(got["bin/su"], `user.n="v"`) || !strings.Contains(got["bin/su"], "security.capability=") {
			t.Errorf("bin/su: %s", got["bin/su"])
		}
		for _, n := range []string{"links/su", "links/su2", "links/su3"} {
			if !strings.HasSuffix(got[n], " =bin/su") {
				t.Errorf("%s: %s", n, got[n])
			}
		}
		for name, want := range map[string]string{
			"bin": fmt.Sprintf("0040711 %d:%d %s", h(0), h(9), finishTime), "links": fmt.Sprintf("0040700 %d:%d %s", h(0), h(0), finishTime),
			"links/late": fmt.Sprintf("0100644 %d:%d %s %q", h(0), h(0), finishTime, "replaced"),
			"bin/sh":     "0020000 ", "moved": fmt.Sprintf("0120777 %d:%d %s -> %q", h(0), h(0), finishTime, "dash"),
		} {
			if !strings.HasPrefix(got[name], want) {
				t.Errorf("%s: %s\nwant %s", name, got[name], want)
			}
		}
		if !strings.HasSuffix(got["moved2"], "=moved") && !strings.HasSuffix(got["moved2"], "=links/sh") {
			t.Errorf("moved2: %s, moved %s, links/sh %s", got["moved2"], got["moved"], got["links/sh"])
		}
	})
}

func TestHardLinkToNothing(t *testing.T) {
	e := localEnv(t)
	e.layer(t, "base", nil, folder("d"), file("gone", ""))
	e.layer(t, "mid", []string{"base"}, file(".wh.gone", ""))
	for _, target := range []string{"nowhere", "d", "gone", "d/x"} {
		if _, err := e.unpack(t, "top", archiveOf(t, hard("x", target))); err != nil {
			t.Fatal(err)
		}
		err := e.Finish(t.Context(), FinishRequest{Dir: "top/fs", Lowers: []string{"mid/fs", "base/fs"}})
		if !errors.Is(err, ErrBadEntry) {
			t.Errorf("%s: %v", target, err)
		}
		if err := e.Remove(t.Context(), "top"); err != nil {
			t.Fatal(err)
		}
	}
}

// mounted lists what the kernel shows of layers, topmost first.
func mounted(t *testing.T, dirs ...string) string {
	t.Helper()
	m := t.TempDir()
	lower := strings.Join(dirs, ":") + ":" + t.TempDir() // one lower alone is refused
	out, err := exec.Command("unshare", "-m", "sh", "-c", `mount -t overlay overlay -o "userxattr,lowerdir=$1" "$2" && cd "$2" && find . | sort && umount -l "$2"`, "sh", lower, m).CombinedOutput()
	if err != nil {
		need(t, false, "overlay mounts: "+string(out))
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

func TestTheKernelAgreesOnWhiteouts(t *testing.T) {
	for _, byXattr := range []bool{false, true} {
		t.Run(fmt.Sprint("xattr ", byXattr), func(t *testing.T) {
			e := localEnv(t)
			e.Stage.(*local).noMknod = byXattr
			base := e.layer(t, "base", nil, file("a", ""), file("b", ""), file("d/old", ""), file("d2/old", ""), file("e/x", ""), file("e/y", ""),
				file("f/old", ""), file("keep", ""), folder("usr/lib"), file("usr/lib/z", ""))
			mid := e.layer(t, "mid", []string{"base"},
				file(".wh.a", ""), file("b", "new"), file(".wh.b", ""), // a whiteout hides lower layers only
				file("d/new", ""), file("d/.wh..wh..opq", ""), // the marker after the file
				file(".wh.d2", ""), file("d2/new", ""), // deleted, then made anew
				file("f/new", ""), file(".wh.f", ""), // the other way round
				file("e/.wh.x", ""), file("e/.wh..wh.aufs", ""), file(".wh..wh.plnk/1", ""),
				symlink("lib", "usr/lib"), file("lib/.wh.z", ""))
			want := ". ./b ./d ./d/new ./d2 ./d2/new ./e ./e/y ./f ./f/new ./keep ./lib ./usr ./usr/lib"
			if got := mounted(t, mid, base); got != want {
				t.Errorf("the kernel shows\n%s, want\n%s", got, want)
			}
			top := e.layer(t, "top", []string{"mid", "base"}, file("d/.wh.new", ""), file("d/.wh..wh..opq", ""), file("a", "back"), folder("e"))
			want = ". ./a ./b ./d ./d2 ./d2/new ./e ./e/y ./f ./f/new ./keep ./lib ./usr ./usr/lib"
			if got := mounted(t, top, mid, base); got != want {
				t.Errorf("the kernel shows\n%s, want\n%s", got, want)
			}
			clean := e.layer(t, "clean", []string{"top", "mid", "base"}, file(".wh..wh..opq", ""), file("e/mine", ""), file("only", ""))
			if got, want := mounted(t, clean, top, mid, base), ". ./e ./e/mine ./only"; got != want {
				t.Errorf("below an opaque root the kernel shows\n%s, want\n%s", got, want)
			}
			if char := strings.Contains(fmt.Sprint(treeOf(t, mid, "")), "0020000 0:0"); char == byXattr {
				t.Errorf("whiteouts are of the wrong kind")
			}
		})
	}
}

func TestSparseFiles(t *testing.T) {
	const size = 10 << 20
	src := t.TempDir()
	f, err := os.Create(filepath.Join(src, "s"))
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{0, 1 << 20, 5 << 20, 9<<20 + 7} {
		f.WriteAt([]byte("data"), off)
	}
	f.Truncate(size)
	f.Close()
	many, _ := os.Create(filepath.Join(src, "many")) // more extents than one old header holds
	for i := range int64(60) {
		many.WriteAt([]byte("x"), i<<16)
	}
	many.Close()
	want := treeOf(t, src, "")
	e := localEnv(t)
	for _, format := range [][]string{{"--format=gnu"}, {"--format=posix", "--sparse-version=0.0"},
		{"--format=posix", "--sparse-version=0.1"}, {"--format=posix", "--sparse-version=1.0"}} {
		data, err := exec.Command("tar", append(format, "-S", "-cf", "-", "-C", src, "s", "many")...).Output()
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > size/2 {
			t.Fatalf("%v: tar wrote no sparse file", format)
		}
		name := strings.Join(format, "")
		if _, err := e.unpack(t, name, data); err != nil {
			t.Errorf("%v: %v", format, err)
			continue
		}
		got := treeOf(t, filepath.Join(e.root, name, "fs"), "")
		for _, n := range []string{"s", "many"} {
			if got[n] != want[n] {
				t.Errorf("%v: %s: %s, want %s", format, n, got[n], want[n])
			}
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(e.root, name, "fs/s"), &st); err != nil || st.Blocks*512 > 1<<20 {
			t.Errorf("%v: the file takes %d bytes: %v", format, st.Blocks*512, err)
		}
		// Copied up for a link, it keeps its holes.
		if _, err := e.unpack(t, name+"-top", archiveOf(t, hard("l", "s"))); err != nil {
			t.Fatal(err)
		}
		if err := e.Finish(t.Context(), FinishRequest{Dir: name + "-top/fs", Lowers: []string{name + "/fs"}}); err != nil {
			t.Fatal(err)
		}
		if err := unix.Stat(filepath.Join(e.root, name+"-top/fs/l"), &st); err != nil || st.Blocks*512 > 1<<20 || st.Size != size {
			t.Errorf("%v: the copy takes %d bytes of %d: %v", format, st.Blocks*512, st.Size, err)
		}
	}
}

func TestDefaultACLsAndSetgidOfTheStoreStayOut(t *testing.T) {
	e := localEnv(t)
	out, err := exec.Command("setfacl", "-d", "-m", "u:7:rwx", e.root).CombinedOutput()
	need(t, err == nil, fmt.Sprintf("setfacl: %v %s", err, out))
	os.Chown(e.root, 0, 50)
	os.Chmod(e.root, 0o2755)
	dir := e.layer(t, "a", nil, file("f", ""), folder("d"), file("d/f", ""))
	got := treeOf(t, dir, "owner xattrs")
	names := []string{".", "f", "d", "d/f"}
	slices.Sort(names)
	for _, n := range names {
		if strings.Contains(got[n], "acl") || strings.Contains(got[n], ":50") || strings.HasPrefix(got[n], "0042") {
			t.Errorf("%s: %s", n, got[n])
		}
	}
}
