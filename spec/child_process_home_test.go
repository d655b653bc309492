package spec

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWithHome(t *testing.T) {
	outside := t.TempDir() + "/passwd"
	const other = "mallory:x:7:7::/stolen:/bin/sh\n"
	if err := os.WriteFile(outside, []byte(other), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		make func(t *testing.T, etc string) error
		env  []string
		want string
	}{
		{"an entry", file("x:x:6:6::/six:/bin/sh\nme:x:7:7::/home/me:/bin/sh\n"), nil, "HOME=/home/me"},
		{"no entry", file("x:x:6:6::/six:/bin/sh\n"), nil, "HOME=/"},
		{"no file", func(*testing.T, string) error { return nil }, nil, "HOME=/"},
		{"its own", file("me:x:7:7::/home/me:/bin/sh\n"), []string{"A=b", "HOME="}, "A=b HOME="},
		{"no directory", file("me:x:7:7::relative:/bin/sh\n"), []string{"A=b"}, "A=b HOME=/"},
		{"a zero byte", file("me:x:7:7::/a\x00b:/bin/sh\n"), nil, "HOME=/"},
		{"a link that leads out", func(t *testing.T, etc string) error { return os.Symlink(outside, etc+"/passwd") }, nil, "HOME=/"},
		{"a way out", func(t *testing.T, etc string) error {
			return os.Symlink("../../../../../../../../"+outside, etc+"/passwd")
		}, nil, "HOME=/"},
		{"a named pipe", func(t *testing.T, etc string) error { return unix.Mkfifo(etc+"/passwd", 0o644) }, nil, "HOME=/"},
		{"a directory", func(t *testing.T, etc string) error { return os.Mkdir(etc+"/passwd", 0o755) }, nil, "HOME=/"},
	} {
		root := t.TempDir()
		if err := os.Mkdir(root+"/etc", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := tt.make(t, root+"/etc"); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(withHome(tt.env, root, 7), " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func file(text string) func(*testing.T, string) error {
	return func(_ *testing.T, etc string) error { return os.WriteFile(etc+"/passwd", []byte(text), 0o644) }
}
