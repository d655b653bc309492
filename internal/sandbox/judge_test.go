package sandbox

import (
	"runtime"
	"strings"
	"testing"

	"coracle/internal/denial"
	"coracle/spec/seccomp"

	"golang.org/x/sys/unix"
)

// judging is a host of which the caller may write to some.
type judging struct{ *fakeHost }

func (h judging) Socket(name string) bool {
	st, err := h.Stat(name)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK
}
func (h judging) Writable(name string) bool {
	return name == "/home/u" || below(name, "/home/u") || name == "/usr/share"
}

func TestJudge(t *testing.T) {
	look := func(action, name string) denial.Access {
		return denial.Access{Action: action, Path: name, Parent: true}
	}
	there := func(action, name string) denial.Access {
		return denial.Access{Action: action, Path: name, Parent: true, Exists: true}
	}
	const keys, host = "it would have your keys or tokens", "it changes the host's files, which no review comes before"
	for _, tt := range []struct {
		name             string
		o                Options
		a                denial.Access
		wall, flag, risk string
	}{
		{"a file of the home", Options{}, look(denial.Read, "/home/u/notes"), denial.Hidden, "--ro /home/u/notes", ""},
		{"one that nobody has", Options{}, look(denial.Read, "/home/u/nothing"), "", "", ""},
		{"a key", Options{}, look(denial.Look, "/home/u/.ssh/id"), denial.Credentials, "--ro /home/u/.ssh/id", keys},
		{"a key of a real home", Options{Home: Real}, there(denial.Read, "/home/u/.ssh"), denial.Credentials, "--ro /home/u/.ssh", keys},
		{"a file to be seen", Options{}, there(denial.Read, "/etc/passwd"), "", "", ""},
		{"a link into what is hidden", Options{}, look(denial.Read, "/etc/resolv.conf"), denial.Hidden, "--ro /run/resolv", "services and sessions keep tokens and keys there, too"},
		{"what was asked to be hidden", Options{Hide: []string{"/etc/passwd"}}, there(denial.Read, "/etc/passwd"), denial.Hidden, "", ""},
		{"write in the home", Options{}, look(denial.Write, "/home/u/new"), "", "", ""},
		{"write where the directory is hidden", Options{}, denial.Access{Action: denial.Write, Path: "/home/u/d/new"}, denial.Hidden, "--rw /home/u/d", host},
		{"write in the current directory", Options{}, look(denial.Write, "/home/u/p/new"), "", "", ""},
		{"write to the host", Options{}, look(denial.Write, "/usr/share/new"), denial.ReadOnly, "--rw /usr/share", host},
		{"mkdir of what is there", Options{}, denial.Access{Action: denial.Write, Path: "/usr/share", Parent: true, Exists: true, Create: true}, "", "", ""},
		{"what the host would refuse, too", Options{}, there(denial.Write, "/etc/passwd"), "", "", ""},
		{"a current directory that is read-only", Options{Cwd: RO}, look(denial.Write, "/home/u/p/new"), denial.ReadOnly, "--cwd overlay", ""},
		{"a hook", Options{ReadWrite: []string{"."}}, there(denial.Write, "/home/u/p/.git/hooks/pre-commit"), denial.Protected, "--rw /home/u/p/.git/hooks/pre-commit", "other programs execute what it writes there"},
		{"remove of the host's", Options{}, there(denial.Remove, "/usr/share/x"), denial.ReadOnly, "--rw /usr/share", host},
		{"a socket", Options{}, look(denial.Connect, "/run/s"), denial.Sockets, "--allow-unix /run/s", "who listens there does what it is asked outside of the sandbox: docker's, a session bus or an agent of keys is as good as no sandbox"},
		{"a socket that may be", Options{AllowUnix: []string{"/run/s"}}, there(denial.Connect, "/run/s"), "", "", ""},
		{"its own socket", Options{}, there(denial.Connect, "/tmp/own"), "", "", ""},
		{"of proc", Options{}, look(denial.Read, "/proc/kcore"), "", "", ""},
		{"no root", Options{Root: NoRoot, Cwd: None}, look(denial.Read, "/etc/passwd"), denial.Hidden, "--ro /etc/passwd", ""},
		{"input opened anew", Options{}, denial.Access{Action: denial.Write, Path: "/usr/share/x", Exists: true, Reopened: true}, denial.Landlock, "--rw /usr/share/x", host},
		{"input read anew", Options{}, denial.Access{Action: denial.Read, Path: "/usr/share/x", Exists: true, Reopened: true}, "", "", ""},
	} {
		h := newFake("/home/u/notes=file", "/home/u/.ssh", "/home/u/.ssh/id=file", "/etc/resolv.conf=-> /run/resolv", "/run/resolv=file", "/home/u/d", "/run/s=socket", "/usr/share/x=file",
			"/home/u/p/.git", "/home/u/p/.git/hooks", "/home/u/p/.git/hooks/pre-commit=file")
		f := facts()
		f.Landlock = 6
		tt.o.Command = []string{"true"}
		pl, err := New(tt.o, f, h)
		if err != nil {
			t.Fatal(tt.name, err)
		}
		d, refused := pl.Judge(tt.a, judging{h})
		if !refused {
			d = denial.Denial{}
		}
		if d.Wall != tt.wall || d.Flag != tt.flag || d.Danger != tt.risk {
			t.Errorf("%s: wall %q, flag %q, danger %q", tt.name, d.Wall, d.Flag, d.Danger)
		}
	}
}

func TestJudgeCall(t *testing.T) {
	d := JudgeCall(seccomp.Data{Nr: unix.SYS_SOCKET, Args: [6]uint64{unix.AF_PACKET}}, true, "")
	if d.What != "socket AF_PACKET" || d.Flag != "--seccomp FILE" || d.Danger == "" {
		t.Errorf("%+v", d)
	}
	if d := JudgeCall(seccomp.Data{Nr: unix.SYS_MOUNT}, true, ""); d.What != "mount" || d.Flag != "" {
		t.Errorf("%+v", d)
	}
	if d := JudgeCall(seccomp.Data{Nr: unix.SYS_MOUNT}, false, ""); d.What != "a call without a name" {
		t.Errorf("%+v", d)
	}
	i386 := seccomp.Data{Arch: unix.AUDIT_ARCH_I386, Nr: 102, Args: [6]uint64{1}} // socketcall(SYS_SOCKET)
	if d := JudgeCall(i386, false, ""); runtime.GOARCH == "amd64" && (d.What != "socketcall of 32 bits" || !strings.Contains(d.Why, "in memory")) {
		t.Errorf("%+v", d)
	}
	plain := seccomp.Data{Nr: unix.SYS_SOCKET, Args: [6]uint64{unix.AF_INET, unix.SOCK_STREAM, 262}}
	if d := JudgeCall(plain, true, ""); d.Flag != "--loopback allow" || d.Danger == "" {
		t.Errorf("%+v", d)
	}
}

func TestJudgeDial(t *testing.T) {
	loopback := denial.Dial{IP: "127.0.0.1", Port: 8080, TCP: true, Own: true}
	listen := denial.Dial{IP: "0.0.0.0", Port: 8080, TCP: true, Listen: true}
	deny := Network{Mode: NoNetwork, Loopback: DenyLoopback}
	ruled := Network{Mode: PrivateNetwork, Loopback: DenyLoopback, Ports: []uint16{53, 443}}
	for _, tt := range []struct {
		what             string
		n                Network
		abi              int
		dial             denial.Dial
		flag, wall, said string // flag "": it is no denial
	}{
		{"an address", Network{Mode: NoNetwork}, 7, denial.Dial{IP: "2001:db8::1", Port: 443, TCP: true}, "--allow-net [2001:db8::1]:443", denial.NoNetwork, "2001:db8::1 port 443"},
		{"a name", deny, 7, denial.Dial{IP: "192.0.2.1", Port: 53}, "--allow-net NAME", denial.NoNetwork, "names"},
		{"the host's port", deny, 7, denial.Dial{Port: 80, TCP: true, Own: true}, "--allow-net host:80", denial.NoNetwork, "the host's port 80"},
		{"its own, open", Network{Mode: NoNetwork}, 7, loopback, "", "", ""},
		{"its own", deny, 7, loopback, "--loopback allow", denial.NoNetwork, "port 8080 of its own loopback"},
		{"listening, open", Network{Mode: NoNetwork}, 7, listen, "", "", ""},
		{"listening", deny, 7, listen, "--loopback allow", denial.Landlock, "listening at port 8080"},
		{"listening without rules for ports", deny, 3, listen, "", "", ""},
		{"listening without any address", deny, 3, denial.Dial{IP: "127.0.0.1", TCP: true, Own: true, Listen: true}, "", "", ""},
		{"listening on the loopback without rules for ports", ruled, 3, denial.Dial{IP: "127.0.0.1", TCP: true, Own: true, Listen: true}, "--loopback allow", denial.NoNetwork, "listening"},
		{"UDP", deny, 7, denial.Dial{IP: "0.0.0.0", Port: 8080, Listen: true}, "", "", ""},
		{"a port of a rule", ruled, 7, denial.Dial{IP: "192.0.2.1", Port: 443, TCP: true}, "", "", ""},
		{"another port", ruled, 7, denial.Dial{IP: "192.0.2.1", Port: 80, TCP: true}, "--allow-net a:80", denial.Landlock, "tcp to 192.0.2.1:80"},
		{"another port of UDP", ruled, 7, denial.Dial{IP: "192.0.2.1", Port: 80}, "", "", ""},
		{"another port without rules for ports", ruled, 3, denial.Dial{IP: "192.0.2.1", Port: 80, TCP: true}, "", "", ""},
		{"all ports", Network{Mode: PrivateNetwork, Loopback: DenyLoopback, AllPorts: true}, 7, denial.Dial{IP: "192.0.2.1", Port: 80, TCP: true}, "", "", ""},
	} {
		pl := Plan{Network: tt.n, facts: Facts{Landlock: tt.abi}}
		d, refused := pl.JudgeDial(tt.dial, func() (string, string) { return "no rule allows it", "--allow-net a:80" })
		if !refused {
			d = denial.Denial{}
		}
		if d.Flag != tt.flag || d.Wall != tt.wall || d.What != tt.said {
			t.Errorf("%s: %+v", tt.what, d)
		}
	}
}
