package sandbox

import (
	"strings"
	"testing"
)

// Wherever a home directory comes into sight its credentials do not, but for what is named.
func TestCredentials(t *testing.T) {
	home := func(line string) string {
		return strings.Replace(plainView, "/home/u tmpfs\n/home/u/p overlay\n", line, 1)
	}
	all := func(at string) string { return "mask " + at + "/.ssh\nmask " + at + "/.netrc\n" }
	elsewhere := func(line string) string { return strings.Replace(plainView, "/tmp tmpfs\n", "/tmp tmpfs\n"+line, 1) }
	inHome := func(f *Facts) { f.Cwd = "/home/u" }
	for _, tt := range []struct {
		name string
		o    Options
		f    func(*Facts)
		want string
	}{
		{name: "out of sight", want: plainView},
		{name: "real", o: Options{Home: Real, Cwd: None}, want: home("") + all("/home/u")},
		{name: "a flag's", o: Options{ReadOnly: []string{"/home/u"}, Cwd: None}, want: home("/home/u shield\n") + all("/home/u")},
		{name: "to be written", o: Options{ReadWrite: []string{"/home/u"}, Cwd: None}, want: home("/home/u rw\n/home/u/.ssh ro\n") + all("/home/u")},
		{name: "the current directory", o: Options{Cwd: Overlay}, f: inHome, want: home("/home/u overlay\n") + all("/home/u")},
		{name: "elsewhere", o: Options{ReadOnly: []string{"/home/u:/tmp/h"}}, want: elsewhere("/tmp/h shield /home/u\n") + all("/tmp/h")},
		{name: "with what holds it", o: Options{Overlay: []string{"/home:/tmp/h"}}, want: elsewhere("/tmp/h overlay /home\n") + all("/tmp/h/u")},
		{name: "a part", o: Options{ReadOnly: []string{"/home/u/.config"}}, want: strings.Replace(plainView, "/home/u/p", "/home/u/.config shield\n/home/u/p", 1) + "mask /home/u/.config/gh\n"},
		{name: "named", o: Options{Home: Real, Cwd: None, ReadOnly: []string{"/home/u/.ssh"}}, want: home("/home/u/.ssh shield\n") + "mask /home/u/.netrc\n"},
		{name: "one of them named", o: Options{Home: Real, Cwd: None, ReadOnly: []string{"/home/u/.ssh/config"}}, want: home("/home/u/.ssh tmpfs\n/home/u/.ssh/config ro\n") + "mask /home/u/.netrc\n"},
		{name: "by a link", o: Options{Home: Real, Cwd: None}, want: home("") + "mask /home/u/dot/ssh\n"},
		{name: "by a link, one named", o: Options{Home: Real, Cwd: None, ReadOnly: []string{"/home/u/dot/ssh/config"}}, want: home("/home/u/dot/ssh tmpfs\n/home/u/dot/ssh/config ro\n")},
		{name: "where it starts", o: Options{Home: Overlay}, f: func(f *Facts) { f.Cwd = "/home/u/.ssh" }, want: home("/home/u overlay\n") + "mask /home/u/.netrc\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, f := newFake("/home/u/.ssh", "/home/u/.ssh/config=file", "/home/u/.netrc=file"), facts()
			if strings.HasPrefix(tt.name, "by a link") {
				h = newFake("/home/u/.ssh=-> /home/u/dot/ssh", "/home/u/dot", "/home/u/dot/ssh", "/home/u/dot/ssh/config=file")
			}
			if tt.name == "a part" {
				h = newFake("/home/u/.config", "/home/u/.config/gh", "/home/u/.config/x=file")
			}
			if tt.f != nil {
				tt.f(&f)
			}
			checkView(t, tt.o, f, h, tt.want)
		})
	}
}

// What is our own is in sight nowhere, and nothing that leads there can be renamed.
func TestOwn(t *testing.T) {
	elsewhere := func(line string) string { return strings.Replace(plainView, "/home/u/p overlay\n", line, 1) }
	for _, tt := range []struct {
		name string
		o    Options
		own  string
		want string
	}{
		{name: "out of sight", own: "/home/u/.local/share/coracle", want: plainView},
		{name: "in what is copied", own: "/home/u/p/sub/store", want: elsewhere("/home/u/p overlay\n/home/u/p/sub/store tmpfs\n")},
		{name: "in what is written to", o: Options{Cwd: RW}, own: "/home/u/p/sub/store", want: elsewhere("/home/u/p rw\n/home/u/p/sub rw\n/home/u/p/sub/store tmpfs\n")},
		{name: "by a link", o: Options{Cwd: RW}, own: "/l", want: elsewhere("/home/u/p rw\n/home/u/p/sub rw\n/home/u/p/sub/store tmpfs\n")},
		{name: "elsewhere", o: Options{ReadWrite: []string{"/home/u/p/sub:/tmp/s"}}, own: "/home/u/p/sub/store",
			want: strings.Replace(elsewhere("/home/u/p overlay\n/home/u/p/sub/store tmpfs\n"), "/tmp tmpfs\n", "/tmp tmpfs\n/tmp/s rw /home/u/p/sub\n/tmp/s/store tmpfs\n", 1)},
		{name: "named", o: Options{ReadOnly: []string{"/home/u/p/sub/store"}}, own: "/home/u/p/sub/store", want: elsewhere("/home/u/p overlay\n/home/u/p/sub/store shield\n")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, f := newFake("/home/u/p/sub/store", "/l=-> /home/u/p/sub/store"), facts()
			f.Own = []string{tt.own}
			checkView(t, tt.o, f, h, tt.want)
		})
	}
}

// Without HOME the home is that of the user database; with one that is nowhere it is /tmp.
func TestHome(t *testing.T) {
	for env, want := range map[string]string{"HOME=/home/u": "/home/u", "OTHER=x": "/home/u", "HOME=": "/home/u", "HOME=/nosuch": "/tmp", "HOME=/usr/share": "/usr/share"} {
		f := facts()
		f.Environ[0] = env
		pl, err := New(Options{}, f, newFake())
		if err != nil || pl.Home != want {
			t.Errorf("%s: %q, %v", env, pl.Home, err)
		}
	}
}
