package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// TestMain lets this binary be the stage that the tests start.
func TestMain(m *testing.M) {
	if os.Args[0] == StageName {
		os.Exit(StoreMain(map[string]Handler{"echo": func(_ context.Context, in json.RawMessage) (any, error) {
			if string(in) == `"fail"` {
				return nil, &hintError{"as asked", "ask for something else"}
			}
			return in, nil
		}, "try-escape": tryEscape}))
	}
	os.Exit(m.Run())
}

// need skips a test for want of something, unless everything has to work here.
func need(t testing.TB, have bool, what string) {
	t.Helper()
	if have {
		return
	}
	if os.Getenv("CORACLE_MUST_WORK") == "1" {
		t.Fatalf("needs %s", what)
	}
	t.Skipf("needs %s", what)
}

// The ids of the stage's user namespace: a caller and 65,536 subordinate ids.
const (
	callerID = 64001
	firstSub = 300000
	subCount = 65536
)

type env struct {
	Stage
	root   string
	client *Client // nil for a local stage
	cmd    *exec.Cmd
	host   func(id int) int // what an id of the stage is here
}

func localEnv(t testing.TB) *env {
	t.Helper()
	need(t, os.Getuid() == 0, "root")
	root := t.TempDir()
	s, err := Local(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &env{Stage: s, root: root, host: func(id int) int { return id }}
}

// stageEnv starts the real stage in a user namespace.
func stageEnv(t testing.TB, single bool) *env {
	t.Helper()
	need(t, os.Getuid() == 0, "root")
	root := t.TempDir()
	if err := os.Chown(root, callerID, callerID); err != nil {
		t.Fatal(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "stage")
	defer theirs.Close()
	m := []syscall.SysProcIDMap{{ContainerID: 0, HostID: callerID, Size: 1}}
	if !single {
		m = append(m, syscall.SysProcIDMap{ContainerID: 1, HostID: firstSub, Size: subCount})
	}
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{StageName}, ExtraFiles: []*os.File{theirs},
		Stderr: os.Stderr, SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, UidMappings: m, GidMappings: m,
			Credential: &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true},
		}}
	if err := cmd.Start(); err != nil {
		unix.Close(fds[0])
		need(t, false, "user namespaces: "+err.Error())
	}
	c := NewClient(os.NewFile(uintptr(fds[0]), "launcher"))
	t.Cleanup(func() {
		c.Close()
		cmd.Wait()
	})
	dir, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := c.Start(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	return &env{Stage: c, client: c, cmd: cmd, root: root, host: func(id int) int {
		if id == 0 || single {
			return callerID
		}
		return firstSub + id - 1
	}}
}

// everywhere runs a test with each way of doing the work.
func everywhere(t *testing.T, f func(t *testing.T, e *env)) {
	t.Run("local", func(t *testing.T) { f(t, localEnv(t)) })
	t.Run("old kernel", func(t *testing.T) {
		e := localEnv(t)
		e.Stage.(*local).noOpen2 = true
		f(t, e)
	})
	t.Run("stage", func(t *testing.T) { f(t, stageEnv(t, false)) })
}

// ent is an entry of a test's archive.
type ent struct {
	tar.Header
	body string
}

var when = time.Unix(1_600_000_000, 123_000_000)

func file(name, body string) ent {
	return ent{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, ModTime: when}, body}
}
func folder(name string) ent {
	return ent{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: when}, ""}
}
func symlink(name, target string) ent {
	return ent{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: when}, ""}
}
func hard(name, target string) ent {
	return ent{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, ModTime: when}, ""}
}
func (e ent) owned(uid, gid int) ent { e.Uid, e.Gid = uid, gid; return e }
func (e ent) moded(mode int64) ent   { e.Mode = mode; return e }
func (e ent) with(key, val string) ent {
	all := map[string]string{"SCHILY.xattr." + key: val}
	maps.Copy(all, e.PAXRecords)
	e.PAXRecords = all
	return e
}

func archiveOf(t testing.TB, ents ...ent) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range ents {
		e.Size = int64(len(e.body))
		e.Format = tar.FormatPAX
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatalf("%q: %v", e.Name, err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func blobOf(t testing.TB, data []byte) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "blob")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	return f
}

// unpack unpacks an archive into NAME/fs, without finishing it.
func (e *env) unpack(t testing.TB, name string, data []byte, mods ...func(*Request)) (Result, error) {
	t.Helper()
	r := Request{Blob: blobOf(t, data), Dir: name + "/fs"}
	if sniff(data) == "" {
		r.DiffID = digest.FromBytes(data)
	}
	for _, m := range mods {
		m(&r)
	}
	return e.Unpack(t.Context(), r)
}

// layer unpacks and finishes a layer above lowers, and gives its directory.
func (e *env) layer(t testing.TB, name string, lowers []string, ents ...ent) string {
	t.Helper()
	if _, err := e.unpack(t, name, archiveOf(t, ents...)); err != nil {
		t.Fatalf("unpack %s: %v", name, err)
	}
	var below []string
	for _, l := range lowers {
		below = append(below, l+"/fs")
	}
	if err := e.Finish(t.Context(), FinishRequest{Dir: name + "/fs", Lowers: below}); err != nil {
		t.Fatalf("finish %s: %v", name, err)
	}
	return filepath.Join(e.root, name, "fs")
}

// tree describes everything below a directory, a line each: type, mode, owner,
// time, size and digest or target, xattrs. Times of directories that were not
// set by the archive are left out.
func treeOf(t testing.TB, dir string, parts string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	inodes := make(map[uint64]string)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		line := describe(t, p, &st, parts)
		if st.Nlink > 1 && !d.IsDir() {
			if first, ok := inodes[st.Ino]; ok {
				line += " =" + first
			} else {
				inodes[st.Ino] = rel
			}
		}
		all[rel] = line
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func describe(t testing.TB, p string, st *unix.Stat_t, parts string) string {
	line := fmt.Sprintf("%07o", st.Mode)
	if strings.Contains(parts, "owner") {
		line += fmt.Sprintf(" %d:%d", st.Uid, st.Gid)
	}
	if strings.Contains(parts, "mtime") {
		line += fmt.Sprintf(" %d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) < 40 {
			line += fmt.Sprintf(" %q", b)
		} else {
			line += fmt.Sprintf(" %d %x", len(b), sha256.Sum256(b))
		}
	case unix.S_IFLNK:
		target, _ := os.Readlink(p)
		line += fmt.Sprintf(" -> %q", target)
	case unix.S_IFCHR, unix.S_IFBLK:
		line += fmt.Sprintf(" %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	if strings.Contains(parts, "xattrs") {
		for _, x := range xattrsOf(p) {
			line += " " + x
		}
	}
	return line
}

func xattrsOf(p string) []string {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p, buf)
	if err != nil || n == 0 {
		return nil
	}
	var all []string
	for name := range strings.SplitSeq(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
		val := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(p, name, val)
		if err == nil {
			all = append(all, fmt.Sprintf("%s=%q", name, val[:n]))
		}
	}
	slices.Sort(all)
	return all
}

func sameTrees(t *testing.T, got, want map[string]string) {
	t.Helper()
	bad := 0
	for name, w := range want {
		if got[name] != w && bad < 10 {
			bad++
			t.Errorf("%q:\n got %q\nwant %q", name, got[name], w)
		}
	}
	for name, g := range got {
		if _, ok := want[name]; !ok && bad < 20 {
			bad++
			t.Errorf("%q: is there (%q), should not be", name, g)
		}
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func asErr[T any](err error, into *T) bool { return errors.As(err, into) }

// tryEscape tries, inside the stage, to see anything outside the store.
func tryEscape(context.Context, json.RawMessage) (any, error) {
	var got []string
	for _, p := range []string{"/etc/passwd", "../../../../etc/passwd", "/proc/self/exe"} {
		if _, err := os.Stat(p); err == nil {
			got = append(got, p)
		}
	}
	if err := os.Mkdir("/jail", 0o755); err == nil {
		if err := unix.Chroot("/jail"); err == nil { // the classic way out of a chroot
			got = append(got, "chroot")
		}
		os.Remove("/jail")
	}
	if err := unix.Mount("none", "/", "tmpfs", 0, ""); err == nil {
		got = append(got, "mount")
	}
	return got, nil
}

func asIs(err, want error) bool { return errors.Is(err, want) }

// lockAndBecome gives this goroutine's thread another user, for good.
func lockAndBecome(id int) {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
		if _, _, e := unix.RawSyscall(call, uintptr(id), uintptr(id), uintptr(id)); e != 0 {
			panic(e)
		}
	}
}

// timeOf makes a time that a tar format can hold.
func timeOf(sec, nsec int64, f tar.Format) time.Time {
	sec %= 1 << 33
	if f != tar.FormatPAX {
		nsec = 0
	}
	return time.Unix(sec, nsec%1e9)
}
