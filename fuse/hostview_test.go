package fuse

import (
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeHost is a host in a map: "dir/", "link -> to", "sock=", "locked!" (a
// directory that cannot be read), else a file with that content.
type fakeHost struct {
	files   map[string]string
	touched []string
}

func (h *fakeHost) Empty(name string) (bool, error) {
	entries, err := h.ReadDir(name, 1)
	return len(entries) == 0, err
}

func (h *fakeHost) ReadDir(name string, limit int) ([]HostEntry, error) {
	h.touched = append(h.touched, name)
	st, err := h.Lstat(name)
	if err != nil {
		return nil, err
	}
	if st.Mode&0o777 == 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: unix.EACCES}
	}
	seen := map[string]bool{}
	var out []HostEntry
	var all []string
	for p := range h.files {
		all = append(all, p)
	}
	sort.Strings(all)
	for _, p := range all {
		rest, ok := strings.CutPrefix(p, strings.TrimSuffix(name, "/")+"/")
		first, _, _ := strings.Cut(rest, "/")
		if ok && first != "" && !seen[first] {
			seen[first] = true
			st, _ := h.Lstat(path.Join(name, first))
			out = append(out, HostEntry{first, st.Mode & unix.S_IFMT})
		}
	}
	return out, nil
}

func (h *fakeHost) Lstat(name string) (Stat, error) {
	data, ok := h.files[name]
	switch {
	case ok && strings.HasPrefix(data, "-> "):
		return Stat{Mode: unix.S_IFLNK | 0o777}, nil
	case ok && data == "SOCKET":
		return Stat{Mode: unix.S_IFSOCK | 0o600}, nil
	case ok && data == "LOCKED":
		return Stat{Mode: unix.S_IFDIR}, nil
	case ok && data == "BIG":
		return Stat{Mode: unix.S_IFREG | 0o644, Size: smallFile + 1}, nil
	case ok && data == "OPEN":
		return Stat{Mode: unix.S_IFDIR | 0o1777}, nil
	case ok && data != "DIR":
		return Stat{Mode: unix.S_IFREG | 0o640, Size: int64(len(data))}, nil
	}
	if ok {
		return Stat{Mode: unix.S_IFDIR | 0o711}, nil
	}
	for p := range h.files {
		if strings.HasPrefix(p, strings.TrimSuffix(name, "/")+"/") {
			return Stat{Mode: unix.S_IFDIR | 0o755}, nil
		}
	}
	return Stat{}, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
}

func (h *fakeHost) Readlink(name string) (string, error) {
	return strings.TrimPrefix(h.files[name], "-> "), nil
}

func (h *fakeHost) ReadFile(name string, _ int64) ([]byte, error) {
	if h.files[name] == "SECRET" {
		return nil, &fs.PathError{Op: "open", Path: name, Err: unix.EACCES}
	}
	return []byte(h.files[name]), nil
}

// line is a mount in a few words: "ID PARENT POINT FSTYPE [OPTIONS]".
func mountLines(short string) []byte {
	var b strings.Builder
	for _, l := range strings.Split(strings.TrimSpace(short), "\n") {
		f := append(strings.Fields(l), "rw")
		fmt.Fprintf(&b, "%s %s 0:1 / %s %s shared:1 - %s none rw\n", f[0], f[1], f[2], f[4], f[3])
	}
	return []byte(b.String())
}

func show(p HostPlan) string {
	var b strings.Builder
	for _, m := range p.Mounts {
		fmt.Fprintf(&b, "%s %s", m.Kind, m.Target)
		switch m.Kind {
		case HostDir:
			fmt.Fprintf(&b, " %o", m.Mode)
		case HostSymlink:
			fmt.Fprintf(&b, " -> %s", m.Source)
		case HostFile:
			fmt.Fprintf(&b, " %o %q", m.Mode, m.Content)
		case HostOverlay:
			fmt.Fprintf(&b, " %s %s %o %d", m.Data, m.Upper, m.Mode, m.Flags)
		case HostBind:
			fmt.Fprintf(&b, " %s ro=%v rec=%v", m.Source, m.ReadOnly, m.Recursive)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestHostView(t *testing.T) {
	usual := map[string]string{
		"/usr/bin/sh": "x", "/bin": "-> usr/bin", "/etc/passwd": "p", "/home/me/f": "x", "/opt": "DIR", "/root": "LOCKED",
		"/tmp/x": "x", "/run/x": "x", "/proc/1/x": "", "/sys/x": "", "/dev/null": "", "/readme": "hi",
	}
	const base = "1 0 / ext4\n2 1 /proc proc\n3 1 /sys sysfs\n4 1 /dev devtmpfs\n5 4 /dev/pts devpts\n"
	for name, tt := range map[string]struct {
		files  map[string]string // beside usual
		mounts string
		facts  func(*Facts)
		want   []string // lines, in this order
		not    []string
	}{
		"usual": {want: []string{
			"symlink bin -> usr/bin", "dir dev 755",
			"overlay etc userxattr,lowerdir=/etc,upperdir=u1,workdir=w1 u1 755 0", "overlay home userxattr,lowerdir=/home,upperdir=u2,workdir=w2 u2 755 0",
			"dir opt 711", "dir proc 755", `file readme 640 "hi"`, "dir root 755", "bind root /root ro=true rec=false",
			"dir run 755", "dir sys 755", "dir tmp 1777", "overlay usr userxattr,lowerdir=/usr,upperdir=u3,workdir=w3 u3 755 0",
		}},
		"a home of its own": {mounts: "6 1 /home xfs rw,nosuid,nodev", want: []string{"overlay home userxattr,lowerdir=/home,upperdir=u2,workdir=w2 u2 755 6"}},
		"files mounted into etc, as in docker": {mounts: "6 1 /etc/hosts ext4\n7 1 /etc/huge ext4",
			files: map[string]string{"/etc/hosts": "h", "/etc/huge": "BIG", "/etc/ssl/cert": "c", "/etc/shadow": "SECRET", "/etc/l": "-> x", "/etc/s": "SOCKET"},
			want: []string{"dir etc 755", `file etc/hosts 640 "h"`, `file etc/huge 644 ""`, "bind etc/huge /etc/huge ro=true rec=false", "symlink etc/l -> x",
				`file etc/passwd 640 "p"`, `file etc/shadow 640 ""`, "bind etc/shadow /etc/shadow ro=true rec=false", "overlay etc/ssl userxattr,lowerdir=/etc/ssl,upperdir=u1,workdir=w1"},
			not: []string{" etc/s "}},
		"directories for everybody": {files: map[string]string{"/var/lib/x": "x", "/var/tmp": "OPEN", "/home/tmp": "OPEN"},
			want: []string{"overlay var userxattr,lowerdir=/var,upperdir=u4,workdir=w4 u4 755 0", "overlay var/tmp userxattr,lowerdir=/var/tmp,upperdir=u5,workdir=w5 u5 1777 0"},
			not:  []string{"home/tmp"}},
		"a private one": {files: map[string]string{"/var/lib/x": "x", "/var/tmp": "DIR"}, want: []string{"overlay var userxattr"}, not: []string{"var/tmp"}},
		"network and FUSE": {mounts: "6 1 /home/me nfs4\n7 1 /srv fuse.sshfs\n8 1 /boot vfat", files: map[string]string{"/srv/x": "x", "/boot/x": "x"},
			want: []string{"dir boot 755", "bind boot /boot ro=true rec=false", "dir home 755", "dir home/me 755", "bind home/me /home/me ro=true rec=false", "dir srv 755", "bind srv /srv ro=true rec=false"}},
		"automounts": {mounts: "6 1 /net autofs\n7 1 /home autofs\n8 7 /home/me nfs\n9 1 /direct autofs\n10 9 /direct ext4", files: map[string]string{"/direct/x": "x", "/net/never": "x"},
			want: []string{"overlay direct userxattr", "dir home 755", "dir home/me 755", "bind home/me", "dir net 755"}, not: []string{"net/never"}},
		"covered": {mounts: "6 1 /mnt ext4\n7 6 /mnt/a ext4\n8 6 /mnt tmpfs", files: map[string]string{"/mnt/b/c": "x"},
			want: []string{"overlay mnt userxattr,lowerdir=/mnt"}, not: []string{"mnt/a"}},
		"a mount in a directory that cannot be read": {mounts: "6 1 /root/in ext4", files: map[string]string{"/root/in/x": "x"},
			want: []string{"dir root 0", "overlay root/in userxattr"}},
		"a chroot without a mount of its own": {mounts: "CHROOT", want: []string{"overlay etc userxattr"}},
		"no overlays":                         {facts: func(f *Facts) { f.HostLower = false }, want: []string{"dir etc 755", "bind etc /etc ro=true rec=false"}, not: []string{"overlay"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := &fakeHost{files: map[string]string{}}
			for _, m := range []map[string]string{usual, tt.files} {
				for k, v := range m {
					h.files[k] = v
				}
			}
			lines := base + tt.mounts
			if tt.mounts == "CHROOT" {
				lines = "2 1 /proc proc"
			}
			info := mountLines(lines)
			f := good()
			f.XinoOn = false
			if tt.facts != nil {
				tt.facts(&f)
			}
			p, err := HostView(HostInput{Mountinfo: info, FS: h, Facts: f})
			must(t, err)
			text := show(p)
			at := 0
			for _, w := range tt.want {
				i := strings.Index(text[at:], w)
				if i < 0 {
					t.Fatalf("no %q in its place in\n%s", w, text)
				}
				at += i
			}
			for _, n := range tt.not {
				if strings.Contains(text, n) {
					t.Errorf("has %q:\n%s", n, text)
				}
			}
			if name == "usual" && strings.Count(text, "\n") != len(tt.want) {
				t.Errorf("more steps than needed:\n%s", text)
			}
			for _, d := range h.touched {
				if d == "/net" || d == "/srv" || d == "/home/me" && strings.Contains(tt.mounts, "nfs") {
					t.Errorf("%s was looked into", d)
				}
			}
			parentsFirst(t, p)
		})
	}
}

// parentsFirst checks that every step finds what it needs made.
func parentsFirst(t *testing.T, p HostPlan) {
	t.Helper()
	made := map[string]HostKind{".": HostDir}
	for _, m := range p.Mounts {
		if m.Kind == HostBind {
			if k := made[m.Target]; k != HostDir && k != HostFile {
				t.Errorf("bind on %s, which is %q", m.Target, k)
			}
			continue
		}
		if m.Present {
			if made[path.Dir(m.Target)] != HostOverlay {
				t.Errorf("%s is to be in %s, which is %q", m.Target, path.Dir(m.Target), made[path.Dir(m.Target)])
			}
			continue
		}
		if made[path.Dir(m.Target)] != HostDir {
			t.Errorf("%s is made in %s, which is %q", m.Target, path.Dir(m.Target), made[path.Dir(m.Target)])
		}
		if made[m.Target] != "" {
			t.Errorf("%s is made twice", m.Target)
		}
		made[m.Target] = m.Kind
	}
}

func TestParseMountinfo(t *testing.T) {
	line := "36 35 98:0 /mnt1 /mnt\\0402\\134x rw,noatime master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue\n"
	got, err := parseMountinfo([]byte(line))
	must(t, err)
	want := mountInfo{id: 36, parent: 35, point: `/mnt 2\x`, options: "rw,noatime", fstype: "ext3", super: "rw,errors=continue"}
	if len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, bad := range []string{"x", "1 2 0:1 / rw - ext4 a b", "a 2 0:1 / / rw - ext4 a b", "1 a 0:1 / / rw - ext4 a", "1 2 0:1 / rel rw - ext4 a", "1 2 0:1 / /a/../b rw - ext4 a", "1 2 0:1 / / rw -"} {
		if _, err := parseMountinfo([]byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// FuzzHostView: whatever stands in mountinfo, a plan is executable or refused.
func FuzzHostView(f *testing.F) {
	f.Add([]byte("1 0 0:1 / / rw - ext4 a b\n2 1 0:1 / /usr/bin rw - tmpfs a b\n"))
	f.Add(mountLines("1 2 / ext4\n2 1 / ext4\n3 3 /usr nfs\n4 2 /usr/bin/sh ext4"))
	f.Add([]byte("1 0 0:1 / /\\040 rw - ext4 a b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h := &fakeHost{files: map[string]string{"/usr/bin/sh": "x", "/etc/passwd": "p", "/l": "-> usr"}}
		p, err := HostView(HostInput{Mountinfo: data, FS: h, Facts: good()})
		if err != nil {
			return
		}
		for _, m := range p.Mounts {
			if strings.HasPrefix(m.Target, "/") || path.Clean(m.Target) != m.Target || strings.HasPrefix(m.Target, "..") {
				t.Errorf("target %q", m.Target)
			}
		}
		parentsFirst(t, p)
	})
}
