package denial

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"coracle/spec/seccomp"

	"golang.org/x/sys/unix"
)

func TestList(t *testing.T) {
	var l List
	l.Add(Denial{Kind: Syscall, What: "unshare", Wall: Seccomp, Action: Call})
	l.Add(Denial{Kind: Path, What: "/a", Wall: Hidden, Action: Look, Flag: "--ro /a"})
	l.Add(Denial{Kind: Path, What: "/a", Wall: Hidden, Action: Write, Flag: "--rw /a", Danger: "d"})
	l.Add(Denial{Kind: Path, What: "/a", Wall: Hidden, Action: Read, Flag: "--ro /a", Count: 3})
	for i := range 2 * most {
		l.Add(Denial{Kind: Network, What: strconv.Itoa(i), Wall: NoNetwork})
	}
	l.Add(Denial{Kind: Path, What: "/" + string(make([]byte, 2*longWhat)), Wall: Hidden})
	all, further := l.All()
	if len(all) != most || further != uint64(most+2+1) {
		t.Errorf("%d are kept, %d further", len(all), further)
	}
	want := Denial{Kind: Path, What: "/a", Wall: Hidden, Action: Write, Flag: "--rw /a", Danger: "d", Count: 5}
	if all[0] != want {
		t.Errorf("got %+v, want %+v", all[0], want)
	}
	if all[len(all)-1].What != "unshare" {
		t.Error("system calls do not come last")
	}
	var long List
	long.Add(Denial{What: string(make([]byte, 2*longWhat))})
	if all, _ := long.All(); len(all[0].What) != longWhat {
		t.Error("a long name is kept as it is")
	}
}

func TestWanted(t *testing.T) {
	for _, tt := range []struct {
		nr   uint32
		a    [6]uint64
		want []want
	}{
		{unix.SYS_OPENAT, [6]uint64{5, 9, unix.O_RDONLY}, []want{{dir: 5, addr: 9, action: Read}}},
		{unix.SYS_OPENAT, [6]uint64{5, 9, unix.O_RDWR | unix.O_NOFOLLOW}, []want{{dir: 5, addr: 9, action: Write, noFollow: true}}},
		{unix.SYS_OPENAT, [6]uint64{5, 9, unix.O_PATH}, []want{{dir: 5, addr: 9, action: Look}}},
		{unix.SYS_OPENAT, [6]uint64{0xffffff9c, 9, unix.O_CREAT}, []want{{dir: unix.AT_FDCWD, addr: 9, action: Write}}},
		{unix.SYS_OPENAT2, [6]uint64{5, 9, 70, 24}, []want{{dir: 5, addr: 9, action: Read, how: 70}}},
		{unix.SYS_FACCESSAT, [6]uint64{5, 9, unix.X_OK}, []want{{dir: 5, addr: 9, action: Execute}}},
		{unix.SYS_MKDIRAT, [6]uint64{5, 9}, []want{{dir: 5, addr: 9, action: Write, noFollow: true, create: true}}},
		{unix.SYS_SYMLINKAT, [6]uint64{1, 5, 9}, []want{{dir: 5, addr: 9, action: Write, noFollow: true, create: true}}},
		{unix.SYS_RENAMEAT2, [6]uint64{5, 9, 6, 10}, []want{{dir: 5, addr: 9, action: Remove, noFollow: true}, {dir: 6, addr: 10, action: Write, noFollow: true}}},
		{unix.SYS_EXECVE, [6]uint64{9}, []want{{dir: unix.AT_FDCWD, addr: 9, action: Execute}}},
		{unix.SYS_READ, [6]uint64{9}, nil},
	} {
		got, n := wanted(tt.nr, tt.a)
		if n != len(tt.want) || n > 0 && got[0] != tt.want[0] || n > 1 && got[1] != tt.want[1] {
			t.Errorf("%d %v: %+v", tt.nr, tt.a, got[:n])
		}
	}
	for _, w := range Watched() {
		if _, n := wanted(w.Nr, [6]uint64{}); n == 0 && w.Nr != unix.SYS_CONNECT && w.Nr != unix.SYS_BIND {
			t.Errorf("call %d is watched, and nobody knows what it names", w.Nr)
		}
	}
}

// TestWatched386 asks the table of i386's numbers for names: a call and its own namesake
// here must mean the same.
func TestWatched386(t *testing.T) {
	names := map[string]string{"fstatat64": "newfstatat", "stat64": "stat", "lstat64": "lstat", "truncate64": "truncate", "chown32": "chown", "lchown32": "lchown", "utimensat_time64": "utimensat"}
	seen := map[string]bool{}
	for _, w := range Watched386() {
		name := seccomp.Name386(seccomp.Data{Nr: w.Nr, Arch: unix.AUDIT_ARCH_I386})
		if name == "socketcall" {
			continue
		}
		if own := names[name]; own != "" {
			name = own
		}
		nr, _, known := task{}.from386(w.Nr, [6]uint64{})
		if !known || seccomp.Name(nr) != name {
			t.Errorf("%d is %s, and taken for %s", w.Nr, name, seccomp.Name(nr))
		}
		seen[name] = true
	}
	for _, w := range Watched() {
		if name := seccomp.Name(w.Nr); runtime.GOARCH == "amd64" && !seen[name] {
			t.Errorf("%s is not watched by i386's number", name)
		}
	}
}

func TestRecords(t *testing.T) {
	root := t.TempDir()
	if _, err := Load(root, ""); err == nil {
		t.Error("a record where there is none")
	}
	for i := range keep + 3 {
		if err := Save(root, Record{ID: "a" + strconv.Itoa(100+i), Denials: []Denial{{What: "/x"}}}); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-100) * time.Minute)
		_ = os.Chtimes(filepath.Join(root, "denials", "a"+strconv.Itoa(100+i)+".json"), at, at)
	}
	sweep(root, time.Now())
	all, _ := list(root)
	if len(all) != keep {
		t.Errorf("%d records are kept", len(all))
	}
	if r, err := Load(root, ""); err != nil || r.ID != "a134" || len(r.Denials) != 1 {
		t.Errorf("the last one: %+v, %v", r, err)
	}
	if r, err := Load(root, "a120"); err != nil || r.ID != "a120" {
		t.Errorf("a120: %+v, %v", r, err)
	}
	for _, id := range []string{"a1", "b", "a100", "../denials/a120"} {
		if _, err := Load(root, id); err == nil {
			t.Errorf("%s was found", id)
		}
	}
	Forget(root, "../denials/a121")
	sweep(root, time.Now().Add(age))
	if all, _ := list(root); len(all) != 0 {
		t.Errorf("%d records are older than they may be", len(all))
	}
	if err := os.WriteFile(filepath.Join(root, "denials", "c.json"), []byte(`{"version":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(root, "c"); err == nil {
		t.Error("a record of another version was read")
	}
	Forget(root, "")
	if _, err := os.Stat(filepath.Join(root, "denials")); err == nil {
		t.Error("something is left")
	}
}

func TestWord(t *testing.T) {
	for in, want := range map[string]string{"/a/b-c.d": "/a/b-c.d", "": "''", "/a b": "'/a b'", "it's": `'it'\''s'`, "$x": "'$x'"} {
		if got := Word(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}
