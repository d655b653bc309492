package sandbox

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"coracle/internal/denial"
)

// proposed is a proposal in words: "KEY VALUE", what is a comment with a # before it.
func proposed(l Lesson) []string {
	var out []string
	for _, s := range l.Propose() {
		line := s.Key + " " + s.Value
		if s.Off {
			line = "# " + line
		}
		out = append(out, line)
	}
	return out
}

func TestPropose(t *testing.T) {
	pl, err := New(Options{Command: []string{"true"}, Home: Overlay, Cwd: Overlay}, facts(), newFake())
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string) Use { return Use{Path: "/home/u/" + name, Read: true, Host: true} }
	dir := func(name string) Use { return Use{Path: "/home/u/" + name, Looked: true, Host: true, Dir: true} }
	writes := func(name string) Use { return Use{Path: "/home/u/" + name, Write: true} }
	key := denial.Denial{Kind: denial.Path, What: "/home/u/.ssh/id", Wall: denial.Credentials, Flag: "--ro /home/u/.ssh/id", Danger: "keys"}
	sock := denial.Denial{Kind: denial.Socket, What: "/run/docker.sock", Wall: denial.Sockets, Flag: "--allow-unix /run/docker.sock", Danger: "root"}
	many := make([]Use, 0, 20)
	for i := range 10 {
		many = append(many, file(fmt.Sprintf("lib/a/%d", i)), file(fmt.Sprintf(".config/%d", i)))
	}
	for _, tt := range []struct {
		name string
		l    Lesson
		want []string
	}{
		{"nothing", Lesson{}, []string{"cwd ro", "network none"}},
		{"it writes here", Lesson{Written: true}, []string{"network none"}},
		{"as given", Lesson{Written: true, Given: []Setting{{Key: "network", Value: "host"}, {Key: "pids", Value: "9"}}}, []string{"network host", "pids 9"}},
		{"it reads", Lesson{Written: true, Uses: []Use{file("notes"), dir("d"), {Path: "/home/u/seen", Looked: true, Host: true}, {Path: "/home/u/not there", Read: true}}},
			[]string{"ro-try /home/u/notes", "ro-try /home/u/seen", "network none"}},
		{"a directory it lists", Lesson{Written: true, Uses: []Use{{Path: "/home/u/d", Read: true, Host: true, Dir: true}, file("d/x")}}, []string{"ro-try /home/u/d", "network none"}},
		{"it lists what has credentials", Lesson{Written: true, Uses: []Use{{Path: "/home/u/.config", Read: true, Host: true, Dir: true}, {Path: "/home/u", Read: true, Host: true, Dir: true}}}, []string{"network none"}},
		{"many files, and many among credentials", Lesson{Written: true, Uses: many[:20]}, nil},
		{"it fills a new directory", Lesson{Written: true, Uses: []Use{writes("new"), writes("new/x")}}, []string{"network none"}},
		{"it writes where the host has something", Lesson{Written: true, Uses: []Use{dir(".cache/app"), writes(".cache/app/x")}}, []string{"tmpfs /home/u/.cache/app", "network none"}},
		{"and reads there", Lesson{Written: true, Uses: []Use{dir(".cache/app"), file(".cache/app/y"), writes(".cache/app/x"), dir(".cache/app/sub"), writes(".cache/app/sub/z")}},
			[]string{"overlay /home/u/.cache/app", "network none"}},
		{"and reads among credentials", Lesson{Written: true, Uses: []Use{dir(".config"), file(".config/y"), writes(".config/x")}}, []string{"tmpfs /home/u/.config", "ro-try /home/u/.config/y", "network none"}},
		{"a file in the home itself", Lesson{Written: true, Uses: []Use{{Path: "/home/u/.wget-hsts", Read: true, Write: true, Host: true}}}, []string{"home overlay", "network none"}},
		{"a link in the home itself", Lesson{Written: true, Links: []string{"/home/u/l"}}, []string{"home overlay", "network none"}},
		{"a link elsewhere", Lesson{Written: true, Uses: []Use{file("opt/tool-1/tool")}, Links: []string{"/home/u/bin/tool"}}, []string{"ro-try /home/u/bin", "ro-try /home/u/opt/tool-1/tool", "network none"}},
		{"credentials and sockets", Lesson{Written: true, Denials: []denial.Denial{key, sock}}, []string{"# ro /home/u/.ssh/id", "# allow-unix /run/docker.sock", "network none"}},
		{"hidden", Lesson{Written: true, Denials: []denial.Denial{{What: "/tmp/it's", Wall: denial.Hidden, Flag: `--ro '/tmp/it'\''s'`}}}, []string{"ro-try /tmp/it's", "network none"}},
		{"read-only", Lesson{Denials: []denial.Denial{{What: "/srv/d/x", Wall: denial.ReadOnly, Action: denial.Write, Flag: "--rw /srv/d", Danger: "d"}, {What: "/x", Wall: denial.ReadOnly, Flag: "--rw /", Danger: "d"}}},
			[]string{"cwd ro", "overlay /srv/d", "# rw /x", "network none"}},
		{"protected", Lesson{Written: true, Denials: []denial.Denial{{What: "/p/.git/config", Wall: denial.Protected, Flag: "--rw /p/.git/config", Danger: "d"}}}, []string{"# rw /p/.git/config", "network none"}},
		{"the current directory", Lesson{Given: []Setting{{Key: "cwd", Value: "ro"}}, Denials: []denial.Denial{{What: "/home/u/p/x", Wall: denial.ReadOnly, Flag: "--cwd overlay"}}}, []string{"cwd overlay", "network none"}},
		{"network", Lesson{Written: true, Denials: []denial.Denial{{Kind: denial.Network, Flag: "--allow-net a.org"}, {Kind: denial.Network, Flag: "--allow-net a.org:443"}, {Kind: denial.Network, Flag: "--allow-net b.org"}, {Kind: denial.Network, Flag: "--allow-net NAME"}},
			Allowed: []string{"c.org:80"}}, []string{"allow-net a.org:443", "allow-net b.org", "allow-net c.org:80"}},
		{"what may be a secret", Lesson{Written: true, Uses: []Use{file("d/notes"), file("d/api_token"), file("x/server.key"), {Path: "/home/u/x", Read: true, Host: true, Dir: true}}},
			[]string{"ro-try /home/u/d/notes", "ro-try /home/u/x", "# ro-try /home/u/d/api_token", "# hide /home/u/x/server.key", "network none"}},
		{"a state of a service's", Lesson{Written: true, Denials: []denial.Denial{{What: "/run/user/1/k", Wall: denial.Hidden, Flag: "--ro /run/user/1/k", Danger: "d"}}}, []string{"# ro /run/user/1/k", "network none"}},
		{"system calls", Lesson{Written: true, Denials: []denial.Denial{{Kind: denial.Syscall, Flag: "--seccomp FILE"}}}, []string{"network none"}},
	} {
		tt.l.Plan = &pl
		got := proposed(tt.l)
		if tt.want == nil { // many
			if got[0] != "ro-try /home/u/.config/0" || len(got) != 12 || !slices.Contains(got, "ro-try /home/u/lib/a") {
				t.Errorf("%s: %q", tt.name, got)
			}
			continue
		}
		if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
