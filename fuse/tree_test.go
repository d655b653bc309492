package fuse

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// insideLayers makes three layers, in the base map, that use all that layers
// can have. Topmost is 2.
func insideLayers(args []string) error {
	if err := os.Chdir(args[0]); err != nil {
		return err
	}
	var errs []error
	try := func(err error) { errs = append(errs, err) }
	put := func(name, data string, mode uint32, uid, gid int) {
		try(os.MkdirAll(filepath.Dir(name), 0o755))
		try(os.WriteFile(name, []byte(data), 0o600))
		try(os.Chown(name, uid, gid))
		try(unix.Chmod(name, mode))
		times := []unix.Timespec{{Sec: 1000}, {Sec: 1234567, Nsec: 89}}
		try(unix.UtimesNanoAt(unix.AT_FDCWD, name, times, 0))
	}
	put("0/etc/passwd", "root:x:0:0", 0o644, 0, 0)
	put("0/a/one", "linked below", 0o644, 5, 6)
	try(os.Link("0/a/one", "0/a/two"))
	try(os.Mkdir("0/z", 0o755))
	try(os.Link("0/a/one", "0/z/three"))
	put("0/hidden/by/opaque", "never", 0o644, 0, 0)
	put("0/gone", "never", 0o644, 0, 0)
	put("0/gone2", "never", 0o644, 0, 0)
	put("0/dir/becomes/file", "never", 0o644, 0, 0)
	put("0/file-becomes-dir", "never", 0o644, 0, 0)
	put("0/suid", "suid", 0o4755, 0, 7)
	put("0/empty", "", 0o600, 1, 1)
	put("0/caps", "caps", 0o755, 0, 0)
	try(unix.Setxattr("0/caps", "security.capability", capsV2(), 0))
	try(unix.Setxattr("0/caps", "user.note", []byte("kept"), 0))
	try(os.Symlink("/etc/passwd", "0/link"))
	try(os.Lchown("0/link", 3, 4))
	try(unix.Mkfifo("0/fifo", 0o640))
	try(os.Mkdir("0/sticky", 0o700))
	try(unix.Chmod("0/sticky", 0o1777))
	put("0/"+strings.Repeat("long/", 40)+"name", "a long path", 0o644, 0, 0)
	put("1/a/one", "another one", 0o644, 9, 9) // two and three keep the old data
	put("1/hidden/shown", "shown", 0o644, 0, 0)
	try(unix.Setxattr("1/hidden", xattrOpaque, []byte("y"), 0))
	try(unix.Mknod("1/gone", unix.S_IFCHR, 0))
	put("1/dir/becomes", "a file", 0o644, 0, 0)
	put("1/file-becomes-dir/f", "f", 0o644, 0, 0)
	put("2/etc/passwd", "root:x:0:0 and more", 0o644, 0, 0)
	put("2/sparse", "", 0o644, 0, 0)
	try(os.Truncate("2/sparse", 1<<20))
	put("2/gone2", "", 0o644, 0, 0)
	try(unix.Setxattr("2/gone2", xattrWhiteout, []byte("y"), 0))
	try(unix.Setxattr("2", xattrOpaque, []byte("x"), 0))
	try(unix.Chmod("2", 0o755))
	return errors.Join(errs...)
}

func capsV2() []byte {
	b := make([]byte, capsV2Size)
	b[3] = 2             // VFS_CAP_REVISION_2
	b[4], b[5] = 0, 0x04 // cap_net_bind_service permitted
	return b
}

// insideTree builds with args[0] (meta or copy) what args[1] asks for.
func insideTree(args []string) error {
	var r TreeRequest
	if err := readJSON(args[1], &r); err != nil {
		return err
	}
	f := BuildMeta
	if args[0] == "copy" {
		f = CopyLayers
	}
	s, err := f(tctx, r)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(s)
}

// insideCompare mounts args[1] and lists it, with owners as this map shows.
func insideCompare(args []string) error {
	var r Rootfs
	if err := readJSON(args[0], &r); err != nil {
		return err
	}
	if err := r.Mount(args[1]); err != nil {
		return err
	}
	if err := os.Chdir(args[1]); err != nil {
		return err
	}
	var lines []string
	err := filepath.WalkDir(".", func(p string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		line, err := describe(p)
		lines = append(lines, line)
		return err
	})
	if err != nil {
		return err
	}
	sort.Strings(lines)
	fmt.Println(strings.Join(lines, "\n"))
	if len(args) > 2 && args[2] == "write" {
		return changes()
	}
	return nil
}

func describe(p string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return "", err
	}
	line := fmt.Sprintf("%s %o %d:%d size %d mtime %d.%d", p, st.Mode, st.Uid, st.Gid, st.Size, st.Mtim.Sec, st.Mtim.Nsec)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR: // sizes and link counts of directories are the file system's own
		line = fmt.Sprintf("%s %o %d:%d", p, st.Mode, st.Uid, st.Gid)
	case unix.S_IFLNK:
		text, err := os.Readlink(p)
		return line + " -> " + text, err
	case unix.S_IFREG:
		data, err := os.ReadFile(p)
		if err != nil {
			return "", err
		}
		line += fmt.Sprintf(" links %d %.20q", st.Nlink, strings.Trim(string(data), "\x00"))
		var b [64]byte
		if n, err := unix.Getxattr(p, "security.capability", b[:]); err == nil {
			line += fmt.Sprintf(" caps %x", b[:n])
		}
		if n, err := unix.Getxattr(p, "user.note", b[:]); err == nil {
			line += fmt.Sprintf(" note %s", b[:n])
		}
	}
	return line, nil
}

// changes does to a root what containers do.
func changes() error {
	f, err := os.OpenFile("a/two", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(" and more")
	err = errors.Join(err, f.Close(), os.Rename("caps", "moved"), os.Chown("suid", 8, 8), os.Remove("link"))
	if err != nil {
		return err
	}
	for name, want := range map[string]string{"a/two": "linked below and more", "moved": "caps", "suid": "suid"} {
		if data, err := os.ReadFile(name); err != nil || string(data) != want {
			return fmt.Errorf("%s holds %q, %w", name, data, err)
		}
	}
	return nil
}

// keepID is a caller with subordinate ids whose own id is 1000 inside.
type mapped struct {
	caller
	uids []specs.LinuxIDMapping
}

func (m mapped) command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := m.caller.command(t, "[inside:"+name+"]", args...)
	cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = nil, nil
	for _, u := range m.uids {
		s := sysMap(u)
		cmd.SysProcAttr.UidMappings = append(cmd.SysProcAttr.UidMappings, s)
		cmd.SysProcAttr.GidMappings = append(cmd.SysProcAttr.GidMappings, s)
	}
	return cmd
}

func (m mapped) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := m.command(t, name, args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return string(out)
}

// TestKeepID shows three layers in the default map, in another map by a
// metadata tree and in that map by a copy: all must look the same.
func TestKeepID(t *testing.T) {
	need(t, os.Geteuid() == 0, "root, to write id maps without newuidmap")
	const me, subs = 21000, 200000
	base := mapped{caller{me, me, 65536}, []specs.LinuxIDMapping{{ContainerID: 0, HostID: me, Size: 1}, {ContainerID: 1, HostID: subs, Size: 65535}}}
	keep := mapped{base.caller, []specs.LinuxIDMapping{
		{ContainerID: 0, HostID: subs, Size: 1000}, {ContainerID: 1000, HostID: me, Size: 1}, {ContainerID: 1001, HostID: subs + 1000, Size: 64535},
	}}
	dir := base.dir(t)
	must(t, os.Chmod(dir, 0o755))
	layers := filepath.Join(dir, "layers")
	for _, d := range []string{layers, layers + "/0", layers + "/1", layers + "/2", dir + "/m"} {
		must(t, os.Mkdir(d, 0o755))
		must(t, os.Chown(d, me, me))
	}
	base.run(t, "layers", layers)
	lowers := []string{layers + "/2", layers + "/1", layers + "/0"}
	f, err := Probe(t.Context(), ProbeRequest{Dir: layers})
	must(t, err)
	need(t, f.DataOnly && f.Overlay, "data-only layers in a user namespace")

	show := func(m mapped, meta string, lowers []string, write ...string) []string {
		req := Request{LayersDir: layers, Lowers: lowers, Meta: meta, Upper: dir + "/u", Work: dir + "/w"}
		r, err := choose(req, f, nil)
		must(t, err)
		must(t, os.RemoveAll(req.Upper))
		must(t, os.RemoveAll(req.Work))
		writeJSON(t, dir+"/root.json", r)
		return strings.Split(m.run(t, "compare", append([]string{dir + "/root.json", dir + "/m"}, write...)...), "\n")
	}
	want := show(base, "", lowers)

	segments, err := Translate(base.uids, keep.uids)
	must(t, err)
	build := func(m mapped, kind, name string) (string, TreeStats) {
		dst := filepath.Join(layers, name)
		writeJSON(t, dir+"/tree.json", TreeRequest{Lowers: lowers, Dst: dst, UIDs: segments, GIDs: segments})
		var s TreeStats
		must(t, json.Unmarshal([]byte(m.run(t, "tree", kind, dir+"/tree.json")), &s))
		return dst, s
	}
	for how, m := range map[string]mapped{"base": base, "keep": keep} {
		meta, s := build(m, "meta", "meta-"+how)
		if s.Bytes != 0 || s.Unmapped != 0 {
			t.Errorf("the metadata tree made with the map %s copied data: %+v", how, s)
		}
		same(t, "by a metadata tree made with the map "+how, want, show(keep, meta, lowers))
		show(keep, meta, lowers, "write")
	}
	whole, s := build(base, "copy", "copy")
	if s.Copied+s.Cloned == 0 {
		t.Errorf("the copy copied nothing: %+v", s)
	}
	same(t, "by a copy", want, show(keep, "", []string{whole}))
}

// same compares two listings. Where layers part a hard link by covering one
// of its names, the overlay still counts that name; a new tree cannot.
func same(t *testing.T, how string, want, got []string) {
	t.Helper()
	fix := func(lines []string) []string {
		out := slices.Clone(lines)
		for i, l := range out {
			if strings.Contains(l, `"linked below"`) {
				out[i] = strings.NewReplacer(" links 3 ", " links 2 ").Replace(l)
			}
		}
		return out
	}
	want, got = fix(want), fix(got)
	if slices.Equal(want, got) {
		return
	}
	for _, l := range want {
		if !slices.Contains(got, l) {
			t.Errorf("%s: missing %s", how, l)
		}
	}
	for _, l := range got {
		if !slices.Contains(want, l) {
			t.Errorf("%s: has    %s", how, l)
		}
	}
}

func TestTranslate(t *testing.T) {
	m := func(v ...uint32) (out []specs.LinuxIDMapping) {
		for i := 0; i < len(v); i += 3 {
			out = append(out, specs.LinuxIDMapping{ContainerID: v[i], HostID: v[i+1], Size: v[i+2]})
		}
		return out
	}
	for name, tt := range map[string]struct {
		base, target []specs.LinuxIDMapping
		want         []Segment
		fails        bool
	}{
		"keep-id":       {m(0, 1000, 1, 1, 100000, 65535), m(0, 100000, 1000, 1000, 1000, 1, 1001, 101000, 64535), []Segment{{0, 1, 1000}, {1000, 0, 1}, {1001, 1001, 64535}}, false},
		"the same":      {m(0, 1000, 1, 1, 5, 9), m(0, 1000, 1, 1, 5, 9), []Segment{{0, 0, 1}, {1, 1, 9}}, false},
		"nomap":         {m(0, 1000, 1, 1, 100000, 65535), m(0, 100000, 65535), []Segment{{0, 1, 65535}}, false},
		"no root":       {m(0, 1000, 1), m(0, 100000, 10), nil, true},
		"partly":        {m(0, 100, 10), m(0, 105, 10), []Segment{{0, 5, 5}}, false},
		"up to the top": {m(0, 1<<32-11, 10), m(0, 1<<32-11, 10), []Segment{{0, 0, 10}}, false},
	} {
		got, err := Translate(tt.base, tt.target)
		if (err != nil) != tt.fails || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, tt.want)
		}
	}
}
