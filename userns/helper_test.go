package userns

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFileCapability(t *testing.T) {
	// `setcap cap_setuid+ep`, as getxattr returns it: revision 2 and 3.
	v2 := []byte("\x01\x00\x00\x02\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	v3 := append([]byte("\x01\x00\x00\x03"), append(v2[4:20:20], 0, 0, 0, 0)...)
	for _, c := range []struct {
		name  string
		xattr []byte
		want  bool
	}{{"revision 2", v2, true}, {"revision 3", v3, true}, {"none", nil, false}, {"short", v2[:8], false}} {
		if got := fileCapability(c.xattr, unix.CAP_SETUID); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if fileCapability(v2, unix.CAP_SETGID) {
		t.Error("cap_setgid of a file with cap_setuid")
	}
	if fileCapability(v2, 40) {
		t.Error("a capability of the upper word")
	}
}

func TestHelperProgram(t *testing.T) {
	s := fakeRoot(t, map[string]string{"usr/bin/newuidmap*": "", "usr/bin/newgidmap": "", "opt/newgidmap*": ""})
	if p := s.helperProgram("newuidmap", unix.CAP_SETUID); p.Path != "/usr/bin/newuidmap" || p.Setuid || p.Caps {
		t.Errorf("%+v", p)
	}
	if p := s.helperProgram("newgidmap", unix.CAP_SETGID); p.Path != "" {
		t.Errorf("found a file that is not executable: %+v", p)
	}
	s.path = []string{"relative", "/opt"}
	if p := s.helperProgram("newuidmap", unix.CAP_SETUID); p.Path != "" {
		t.Errorf("found outside PATH: %+v", p)
	}
	if p := s.helperProgram("newgidmap", unix.CAP_SETGID); p.Path != "/opt/newgidmap" {
		t.Errorf("not found in PATH: %+v", p)
	}
	s.path = nil
	if os.Getuid() != 0 {
		return // the rest needs root's files
	}
	name := filepath.Join(s.root, "usr/bin/newuidmap")
	if err := os.Chmod(name, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	if p := s.helperProgram("newuidmap", unix.CAP_SETUID); !p.Setuid {
		t.Errorf("setuid: %+v", p)
	}
	if err := os.Chown(name, 1, 1); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	if p := s.helperProgram("newuidmap", unix.CAP_SETUID); p.Setuid {
		t.Errorf("setuid of somebody who is not root: %+v", p)
	}
	v2 := "\x01\x00\x00\x02\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	if err := unix.Setxattr(name, "security.capability", []byte(v2), 0); err != nil {
		mustWork(t, "set file capabilities", err)
	}
	if p := s.helperProgram("newuidmap", unix.CAP_SETUID); !p.Caps {
		t.Errorf("file capability: %+v", p)
	}
}

func TestHelperShortage(t *testing.T) {
	good := helperProgram{Path: "/usr/bin/x", Setuid: true}
	caps := helperProgram{Path: "/usr/bin/x", Caps: true}
	for _, c := range []struct {
		name      string
		h         helperFacts
		why, hint string
	}{
		{"setuid", helperFacts{UID: good, GID: good}, "", ""},
		{"capabilities", helperFacts{UID: caps, GID: caps}, "", ""},
		{"one missing", helperFacts{UID: good}, "newgidmap is not installed", "sudo apt-get install uidmap"},
		{"both missing", helperFacts{}, "newuidmap and newgidmap are not installed", "sudo apt-get install uidmap"},
		{"no_new_privs", helperFacts{UID: good, GID: good, NoNewPrivs: true}, "no_new_privs is set", "no-new-privileges=false"},
		{"nosuid", helperFacts{UID: helperProgram{Path: "/x", Setuid: true, NoSuid: true}, GID: good}, "/x is on a file system mounted nosuid", "without nosuid"},
		{"plain newuidmap", helperFacts{UID: helperProgram{Path: "/x"}, GID: good}, "/x is neither setuid root nor has cap_setuid", "sudo setcap cap_setuid+ep /x"},
		{"plain newgidmap", helperFacts{UID: good, GID: helperProgram{Path: "/y"}}, "/y is neither setuid root nor has cap_setgid", "sudo setcap cap_setgid+ep /y"},
	} {
		why, hint := c.h.shortage("ID=ubuntu\nID_LIKE=debian\n")
		if !strings.Contains(why, c.why) || !strings.Contains(hint, c.hint) || (c.why == "") != (why == "") {
			t.Errorf("%s: %q, %q", c.name, why, hint)
		}
	}
}

func TestInstallHint(t *testing.T) {
	for osRelease, want := range map[string]string{
		"NAME=x\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n": "sudo apt-get install uidmap",
		"ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n":    "sudo dnf install shadow-utils",
		"ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n": "sudo zypper install shadow",
		"ID=arch":   "sudo pacman -S shadow",
		"ID=alpine": "sudo apk add shadow-uidmap",
		"ID=nixos":  "security.wrappers",
		"":          "install newuidmap and newgidmap",
	} {
		if got := installHint(osRelease); !strings.Contains(got, want) {
			t.Errorf("%q: %q", osRelease, got)
		}
	}
}
