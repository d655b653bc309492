package sandbox

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"coracle/fuse"

	"golang.org/x/sys/unix"
)

// fakeHost has files by name: dir, file, socket, or "-> TARGET" for a link.
type fakeHost struct {
	files   map[string]string
	owners  map[string]fuse.Stat // 0 and 0 where there is none
	mounts  string
	sockets string
}

func newFake(extra ...string) *fakeHost {
	h := &fakeHost{files: map[string]string{}, mounts: "1 0 8:1 / / rw - ext4 /dev/sda rw\n"}
	for _, name := range []string{"/", "/tmp", "/var", "/var/tmp", "/var/lib", "/run", "/home", "/home/u", "/home/u/p", "/home/u/p/sub", "/usr", "/usr/share", "/etc", "/root", "/proc", "/dev", "/sys"} {
		h.files[name] = "dir"
	}
	for name, kind := range map[string]string{"/var/run": "-> /run", "/bin": "-> /usr/bin", "/etc/passwd": "file", "/home/u/p/Makefile": "file"} {
		h.files[name] = kind
	}
	for _, word := range extra {
		name, kind, _ := strings.Cut(word, "=")
		if h.files[name] = kind; kind == "" {
			h.files[name] = "dir"
		}
	}
	return h
}

func (h *fakeHost) Real(name string) (string, error) {
	at := "/"
	for part := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		at = path.Join(at, part)
		if to, ok := strings.CutPrefix(h.files[at], "-> "); ok {
			at = to
		}
	}
	if _, err := h.Stat(at); err != nil {
		return "", err
	}
	return at, nil
}

func (h *fakeHost) Stat(name string) (fuse.Stat, error) {
	modes := map[string]uint32{"dir": unix.S_IFDIR | 0o755, "file": unix.S_IFREG | 0o644, "socket": unix.S_IFSOCK | 0o666}
	kind, ok := h.files[name]
	if !ok {
		return fuse.Stat{}, &fs.PathError{Op: "lstat", Path: name, Err: unix.ENOENT}
	}
	if strings.HasPrefix(kind, "->") {
		return fuse.Stat{Mode: unix.S_IFLNK | 0o777}, nil
	}
	st := h.owners[name]
	st.Mode = modes[kind]
	return st, nil
}

func (h *fakeHost) GroupName(gid uint32) string { return map[uint32]string{2000: "proj"}[gid] }

func (h *fakeHost) ReadDir(name string, _ int) ([]fuse.HostEntry, error) {
	var out []fuse.HostEntry
	for full := range h.files {
		if full != name && path.Dir(full) == name {
			st, _ := h.Stat(full)
			out = append(out, fuse.HostEntry{Name: path.Base(full), Type: st.Mode & unix.S_IFMT})
		}
	}
	slices.SortFunc(out, func(a, b fuse.HostEntry) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (h *fakeHost) Mounts() (fuse.HostMounts, error) { return fuse.ReadHostMounts([]byte(h.mounts)) }
func (h *fakeHost) UnixSockets() ([]byte, error)     { return []byte(h.sockets), nil }

func facts() Facts {
	return Facts{UID: 1000, GID: 1000, Name: "u", Home: "/home/u", Cwd: "/home/u/p", Environ: []string{"HOME=/home/u", "PATH=/usr/bin", "SECRET=x", "LANG=C.UTF-8", "TERM=xterm"},
		Empty: "/run/empty", Scratch: "/run/scratch"}
}

// view is a plan in words: a place a line, "PATH KIND [SOURCE]".
func view(pl Plan) string {
	var b strings.Builder
	for _, at := range pl.Places {
		fmt.Fprintf(&b, "%s %s", at.Path, at.Kind)
		if at.Source != "" && at.Source != at.Path {
			fmt.Fprintf(&b, " %s", at.Source)
		}
		b.WriteByte('\n')
	}
	for _, m := range pl.Masked {
		fmt.Fprintf(&b, "mask %s\n", m.Path)
	}
	return b.String()
}

// checkView holds the view that a plan gives against the one that is wanted.
func checkView(t *testing.T, o Options, f Facts, h *fakeHost, want string) {
	t.Helper()
	pl, err := New(o, f, h)
	if err != nil {
		t.Fatal(err)
	}
	if got := view(pl); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

const plainView = "/home shield\n/home/u tmpfs\n/home/u/p overlay\n/run tmpfs\n/tmp tmpfs\n/var shield\n/var/tmp tmpfs\n"

func TestView(t *testing.T) {
	below := "1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 8:2 / /home/u/p/sub/m rw - ext4 /dev/sdb rw\n"
	with := func(line string) string { return strings.Replace(plainView, "/home/u/p overlay\n", line, 1) }
	for _, tt := range []struct {
		name string
		o    Options
		f    func(*Facts)
		h    func(*fakeHost)
		want string
	}{
		{name: "nothing asked", want: plainView},
		{name: "rw", o: Options{ReadWrite: []string{"."}}, want: with("/home/u/p rw\n")},
		{name: "cwd in what is rw", o: Options{ReadWrite: []string{".."}}, want: strings.Replace(with(""), "/home/u tmpfs", "/home/u rw", 1)},
		{name: "cwd ro", o: Options{Cwd: RO}, want: with("/home/u/p shield\n")},
		{name: "cwd none", o: Options{Cwd: None}, want: with("")},
		{name: "in the home", f: func(f *Facts) { f.Cwd = "/home/u" }, want: with("")},
		{name: "a link", o: Options{ReadOnly: []string{"/l"}}, h: func(h *fakeHost) { h.files["/l"] = "-> /home/u/p/sub" }, want: with("/home/u/p overlay\n/home/u/p/sub shield\n")},
		{name: "try", o: Options{TryReadOnly: []string{"/nosuch", "Makefile"}}, want: with("/home/u/p overlay\n/home/u/p/Makefile ro\n")},
		{name: "hide", o: Options{Hide: []string{"/usr/share", "/etc/passwd"}}, want: strings.Replace(plainView, "/var shield", "/usr/share tmpfs\n/var shield", 1) + "mask /etc/passwd\n"},
		{name: "another home", f: func(f *Facts) { f.Environ[0] = "HOME=/tmp" }, want: plainView},
		{name: "overlay elsewhere", o: Options{Overlay: []string{"/usr/share:/tmp/s"}}, want: strings.Replace(plainView, "/tmp tmpfs\n", "/tmp tmpfs\n/tmp/s overlay /usr/share\n", 1)},
		{name: "mounts below", h: func(h *fakeHost) {
			h.mounts = below
			h.files["/home/u/p/sub/m"] = "dir"
			h.files["/home/u/p/b"] = "dir"
		},
			want: strings.Replace(strings.Replace(plainView, "/home shield\n", "", 1), "/home/u/p overlay\n", "/home/u/p ro\n/home/u/p/b overlay\n/home/u/p/sub ro\n/home/u/p/sub/m overlay\n", 1)},
		{name: "real home", o: Options{Home: Real, ReadOnly: []string{"/home/u/.aws"}}, h: func(h *fakeHost) { h.files["/home/u/.ssh"], h.files["/home/u/.aws"] = "dir", "dir" },
			want: strings.Replace(with("/home/u/.aws shield\n/home/u/p overlay\n"), "/home/u tmpfs\n", "", 1) + "mask /home/u/.ssh\n"},
		{name: "sockets", h: func(h *fakeHost) {
			h.sockets = "Num RefCount\n0: 2 0 1 1 1 5 /usr/s\n0: 2 0 1 1 1 5 @abstract\n0: 2 0 1 1 1 5 /run/s\n0: 2 0 1 1 1 5 /var/lib/s\n0: 2 0 1 1 1 5 /usr/gone\n"
			for _, s := range []string{"/usr/s", "/run/s", "/var/lib/s"} {
				h.files[s] = "socket"
			}
		}, want: plainView + "mask /usr/s\n"},
		{name: "allowed sockets", o: Options{AllowUnix: []string{"/run/s", "/usr/s"}}, h: func(h *fakeHost) {
			h.sockets = "Num\n0: 2 0 1 1 1 5 /usr/s\n"
			h.files["/usr/s"], h.files["/run/s"] = "socket", "socket"
		}, want: strings.Replace(strings.Replace(plainView, "/tmp tmpfs", "/run/s ro\n/tmp tmpfs", 1), "/var shield", "/usr/s ro\n/var shield", 1)},
		{name: "protected", o: Options{ReadWrite: []string{"."}}, h: func(h *fakeHost) { h.files["/home/u/p/.git"], h.files["/home/u/p/.git/hooks"] = "dir", "dir" },
			want: with("/home/u/p rw\n/home/u/p/.git rw\n/home/u/p/.git/hooks ro\n")},
		{name: "nested repositories", o: Options{ReadWrite: []string{"."}}, h: func(h *fakeHost) {
			for _, name := range []string{"sub/.git", "sub/.git/hooks", ".git", ".git/modules", ".git/modules/m", ".git/modules/m/hooks", "node_modules", "node_modules/x", "node_modules/x/.git", "node_modules/x/.git/hooks"} {
				h.files["/home/u/p/"+name] = "dir"
			}
			for name, kind := range map[string]string{"HEAD": "file", "objects": "dir", "refs": "dir"} {
				h.files["/home/u/p/.git/modules/m/"+name] = kind
			}
			for _, name := range []string{".git/worktrees", ".git/worktrees/w", ".git/worktrees/w/commondir"} {
				h.files["/home/u/p/"+name] = "dir"
			}
		}, want: with("/home/u/p rw\n/home/u/p/.git rw\n/home/u/p/.git/modules rw\n/home/u/p/.git/modules/m rw\n/home/u/p/.git/modules/m/hooks ro\n/home/u/p/.git/worktrees rw\n/home/u/p/.git/worktrees/w rw\n/home/u/p/.git/worktrees/w/commondir ro\n/home/u/p/sub rw\n/home/u/p/sub/.git rw\n/home/u/p/sub/.git/hooks ro\n")},
		{name: "a bare repository", o: Options{ReadWrite: []string{"."}}, h: func(h *fakeHost) {
			for name, kind := range map[string]string{"HEAD": "file", "config": "file", "objects": "dir", "refs": "dir"} {
				h.files["/home/u/p/sub/"+name] = kind
			}
		}, want: with("/home/u/p rw\n/home/u/p/sub rw\n/home/u/p/sub/config ro\n")},
		{name: "what leads to a repository elsewhere", o: Options{ReadWrite: []string{"."}}, h: func(h *fakeHost) {
			h.files["/home/u/p/.git"], h.files["/home/u/p/sub/.git"] = "file", "file"
		}, want: with("/home/u/p rw\n/home/u/p/.git ro\n/home/u/p/sub rw\n/home/u/p/sub/.git ro\n")},
		{name: "our own directories are in what would be a layer", f: func(f *Facts) { f.Empty = "/var/x/empty" }, want: strings.Replace(plainView, "/var shield\n", "", 1)},
		{name: "no root", o: Options{Root: NoRoot, ReadOnly: []string{"/bin"}}, h: func(h *fakeHost) { h.files["/usr/bin"] = "dir" },
			want: "/bin shield /usr/bin\n/home/u tmpfs\n/home/u/p overlay\n/run tmpfs\n/tmp tmpfs\n/var/tmp tmpfs\n"},
		{name: "private network", o: Options{Network: Network{Mode: PrivateNetwork, ResolvConf: "nameserver x"}}, h: func(h *fakeHost) { h.files["/etc/resolv.conf"], h.files["/run/r"] = "-> /run/r", "file" },
			want: strings.Replace(plainView, "/tmp tmpfs", "/run/r file\n/tmp tmpfs", 1)},
		{name: "host network", o: Options{Network: Network{Mode: HostNetwork}}, h: func(h *fakeHost) { h.files["/etc/resolv.conf"], h.files["/run/r"] = "-> /run/r", "file" },
			want: strings.Replace(plainView, "/tmp tmpfs", "/run/r ro\n/tmp tmpfs", 1)},
		{name: "root", f: func(f *Facts) { f.UID, f.Environ[0] = 0, "HOME=/home/u" }, h: func(h *fakeHost) { h.files["/etc/shadow"] = "file" }, want: plainView + "mask /etc/shadow\nmask /root\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, f := newFake(), facts()
			if tt.h != nil {
				tt.h(h)
			}
			if tt.f != nil {
				tt.f(&f)
			}
			checkView(t, tt.o, f, h, tt.want)
		})
	}
}

func TestAllow32(t *testing.T) {
	for _, tt := range []struct {
		o      Options
		goarch string
		want   string
	}{
		{Options{Allow32: true}, "amd64", ""},
		{Options{Allow32: true}, "arm64", "--allow-32bit: it is for i386's programs on amd64, and this is arm64"},
		{Options{Allow32: true, Seccomp: "p"}, "amd64", "--allow-32bit: the system call filter is that of --seccomp p"},
		{Options{Seccomp: "p"}, "arm64", ""},
	} {
		got := ""
		if err := tt.o.check32(tt.goarch); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v on %s: %q, want %q", tt.o, tt.goarch, got, tt.want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
		f    func(*Facts)
		h    func(*fakeHost)
		want string
	}{
		{name: "missing", o: Options{ReadOnly: []string{"/nosuch"}}, want: "--ro /nosuch: no such file"},
		{name: "nothing is made on the host", o: Options{Tmpfs: []string{"/usr/new"}}, want: "is not made"},
		{name: "nor in what is rw", o: Options{ReadWrite: []string{"."}, Tmpfs: []string{"new"}}, want: "is not made"},
		{name: "twice", o: Options{ReadWrite: []string{"."}, ReadOnly: []string{"../p"}}, want: "something else at the same place"},
		{name: "proc", o: Options{ReadOnly: []string{"/proc"}}, want: "the sandbox's own"},
		{name: "the root", o: Options{ReadWrite: []string{"/"}}, want: "the root itself"},
		{name: "overlay of a file", o: Options{Overlay: []string{"/etc/passwd"}}, want: "not a directory"},
		{name: "the host's processes elsewhere", o: Options{ReadOnly: []string{"/proc:/tmp/p"}}, want: "/proc of the host's would be shown"},
		{name: "and with all of it", o: Options{ReadWrite: []string{"/:/tmp/p"}}, want: "/proc of the host's would be shown"},
		{name: "also by a link", o: Options{ReadOnly: []string{"/l:/tmp/p"}}, h: func(h *fakeHost) { h.files["/l"] = "-> /dev" }, want: "/dev of the host's would be shown"},
		{name: "no socket", o: Options{AllowUnix: []string{"/etc/passwd"}}, want: "it is no socket"},
		{name: "cwd", o: Options{Cwd: "maybe"}, want: "no such choice"},
		{name: "home", o: Options{Home: "maybe"}, want: "no such choice"},
		{name: "a card", h: func(h *fakeHost) { h.mounts += "2 1 0:9 / /home rw - vfat /dev/sdb1 rw\n" }, want: "on vfat"},
		{name: "a file on a directory", o: Options{Overlay: []string{"/usr/share:/etc/passwd"}}, want: "one is a file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, f := newFake(), facts()
			if tt.h != nil {
				tt.h(h)
			}
			pl, err := New(tt.o, f, h)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q; view:\n%s", err, tt.want, view(pl))
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	f := facts()
	f.Environ = append(f.Environ, "CI=1", "CI_JOB=2", "SSH_AUTH_SOCK=/run/s", "LC_ALL=de")
	pl, err := New(Options{Env: []string{"A=b", "PATH=/x"}, EnvPass: []string{"CI*"}}, f, newFake())
	if err != nil {
		t.Fatal(err)
	}
	want := "A=b CI=1 CI_JOB=2 HOME=/home/u LANG=C.UTF-8 LC_ALL=de LOGNAME=u PATH=/x PWD=/home/u/p TERM=xterm USER=u"
	if got := strings.Join(pl.Env, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	f.Environ = append(f.Environ, "http_proxy=http://mine:1")
	pl, err = New(Options{Env: []string{"HTTP_PROXY="}, Network: Network{Mode: PrivateNetwork, Proxy: "http://p:1"}}, f, newFake())
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(slices.DeleteFunc(pl.Env, func(e string) bool { return !strings.Contains(strings.ToLower(e), "_proxy=") }), " ")
	if want := "HTTPS_PROXY=http://p:1 HTTP_PROXY= http_proxy=http://p:1 https_proxy=http://p:1 no_proxy=localhost,127.0.0.1,::1"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A directory of another group's is told of, and how to have that group, if it can be had.
func TestGroupNote(t *testing.T) {
	for _, c := range []struct {
		uid, gid   uint32
		text, hint string
	}{
		{1000, 1000, "", ""},
		{0, 0, "", ""}, // nothing of it can be changed anyway
		{1000, 2000, "/home/u/p belongs to the group proj and", "sg proj -c 'coracle sandbox …' runs it with that group; --cwd rw"},
		{1000, 2001, "/home/u/p belongs to the group 2001 and", "--cwd rw"},
	} {
		h, f := newFake(), facts()
		h.owners = map[string]fuse.Stat{"/home/u/p": {UID: c.uid, GID: c.gid}}
		f.Groups = []uint32{1000, 2000, 2001}
		pl, err := New(Options{}, f, h)
		if err != nil {
			t.Fatal(err)
		}
		if c.text == "" && len(pl.Notes) == 0 {
			continue
		}
		if len(pl.Notes) != 1 || !strings.HasPrefix(pl.Notes[0].Text, cmp.Or(c.text, "no note")) || !strings.HasPrefix(pl.Notes[0].Hint, c.hint) {
			t.Errorf("%d:%d: %+v", c.uid, c.gid, pl.Notes)
		}
	}
}

// What other programs execute and is not there yet is found once it has been made.
func TestExecuted(t *testing.T) {
	there := []string{"/home/u/p/old", "/home/u/p/old/.git", "/home/u/p/sub/.git=file"}
	pl, err := New(Options{ReadWrite: []string{"."}}, facts(), newFake(there...))
	if err != nil {
		t.Fatal(err)
	}
	if got := pl.Executed(newFake(there...)); len(got) != 0 {
		t.Errorf("without a change: %v", got)
	}
	made := append(there, "/home/u/p/.envrc=file", "/home/u/p/old/.git/hooks", "/home/u/p/.git=-> /tmp/x", "/home/u/p/new", "/home/u/p/new/.git",
		"/home/u/p/bare", "/home/u/p/bare/HEAD=file", "/home/u/p/bare/objects", "/home/u/p/bare/refs", "/home/u/p/data", "/home/u/p/data/HEAD=file")
	got := pl.Executed(newFake(made...))
	want := []string{"/home/u/p/.envrc", "/home/u/p/old/.git/hooks", "/home/u/p/bare", "/home/u/p/new/.git", "/home/u/p/.git"}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestSocketPaths(t *testing.T) {
	got := socketPaths("Num       RefCount Protocol Flags    Type St Inode Path\n00: 2 0 0 1 3 7 /run/a b\n00: 2 0 0 1 3 7 @/x\n00: 2 0 0 1 3 7\n00: 2 0 0 1 3 7 /x/../y\n00: 2 0 0 1 3 7 rel\n", []string{"/d", "/e"})
	if !slices.Equal(got, []string{"/run/a b", "/d/rel", "/e/rel"}) {
		t.Errorf("%q", got)
	}
}

// fakeTree is an image's root.
type fakeTree struct{ *fakeHost }

func (t fakeTree) Resolve(name string) string {
	if real, err := t.Real(name); err == nil {
		return real
	}
	return name
}
func (t fakeTree) Lstat(name string) (fuse.Stat, error) { return t.Stat(name) }
func (t fakeTree) Dir() string                          { return "" }
func (t fakeTree) Env() []string                        { return []string{"PATH=/image/bin", "HOME=/root", "OF=image"} }

// In an image the host's places are seen only where they are shown, hidden is what the
// image has, and links are the image's.
func TestImageAsRoot(t *testing.T) {
	tree := fakeTree{newFake("/srv", "/opt=-> /usr/share")}
	pl, err := New(Options{Root: "debian", Tree: tree, Hide: []string{"/srv", "/etc/passwd"}, ReadOnly: []string{"/home/u/p/sub"}, Tmpfs: []string{"/opt/x"}, Home: Real}, facts(), newFake("/home/u/.ssh"))
	if err != nil {
		t.Fatal(err)
	}
	want := "/home/u shield\n/home/u/p overlay\n/home/u/p/sub shield\n/opt/x tmpfs\n/run tmpfs\n/srv tmpfs\n/tmp tmpfs\n/var/tmp tmpfs\nmask /etc/passwd\nmask /home/u/.ssh\n"
	if got := view(pl); got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
	env := strings.Join(pl.Env, " ")
	if !strings.Contains(env, "HOME=/home/u ") || !strings.Contains(env, "OF=image") || !strings.Contains(env, "PATH=/image/bin") {
		t.Error(env)
	}
}
