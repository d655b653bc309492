package spec

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A tmpfs has the mode of what it hides, its own, or that of any new tmpfs; what
// the container's root may not enter can be hidden all the same.
func TestStartTmpfs(t *testing.T) {
	need(t, os.Geteuid() == 0, "root, to give a directory to somebody else")
	root, vol := busyboxRoot(t), t.TempDir()
	for _, err := range []error{
		os.Mkdir(root+"/secret", 0o700), os.Mkdir(root+"/group", 0o755), os.Chmod(root+"/group", 0o2770|os.ModeSetgid),
		os.Mkdir(vol+"/theirs", 0o710), os.Chown(vol+"/theirs", 4242, 4242), os.WriteFile(vol+"/theirs/key", nil, 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s := testSpec(root)
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/v", Source: vol, Options: []string{"rbind"}})
	for _, dest := range []string{"/secret", "/group", "/new/deep", "/v/theirs", "/proc/fs"} {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: dest, Type: "tmpfs", Options: []string{"nosuid", "noatime"}})
	}
	s.Mounts = append(s.Mounts,
		specs.Mount{Destination: "/own", Type: "tmpfs", Source: "mem", Options: []string{"mode=1711", "size=64k"}},
		specs.Mount{Destination: "/own", Type: "tmpfs", Source: "upper"}) // on top
	s.Process.Args = []string{"sh", "-c", "stat -c %a /secret /group /new /new/deep /v/theirs /own; ls /v/theirs; grep ' /own ' /proc/self/mounts | cut -d ' ' -f 1; grep ' /secret ' /proc/self/mounts | cut -d ' ' -f 1"}
	out, _, err := runSpec(t, s, Extra{})
	nameless := "none"
	if probeKernel().mounts {
		nameless = "tmpfs"
	}
	if want := "700\n2770\n755\n1777\n710\n1711\nmem\nupper\n" + nameless + "\n"; err != nil || out != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
	at := mounted(t, s, Extra{})
	for _, dest := range []string{"/secret", "/group", "/new/deep", "/v/theirs", "/proc/fs"} {
		wantMount(t, at, dest, "rw", "nosuid", "noatime", "tmpfs")
	}
}

// What is wrong with a tmpfs is said by the option.
func TestStartTmpfsErrors(t *testing.T) {
	for option, want := range map[string]string{"size=much": "option size=much", "mode=9": "option mode=9", "what": "option what"} {
		s := testSpec(busyboxRoot(t), "true")
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/m", Type: "tmpfs", Options: []string{option}})
		if _, _, err := runSpec(t, s, Extra{}); err == nil || !probeKernel().mounts && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", option, err)
		}
	}
	s := testSpec(busyboxRoot(t), "true")
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/bin/busybox", Type: "tmpfs"})
	if _, _, err := runSpec(t, s, Extra{}); err == nil || !strings.Contains(err.Error(), "/bin/busybox") {
		t.Errorf("on a file: %v", err)
	}
}

// A destination that links lead into procfs is refused, be it on the root's own
// mount as written or not.
func TestStartTargetsInProc(t *testing.T) {
	root := busyboxRoot(t)
	if err := errors.Join(os.Symlink("/proc/self/attr", root+"/link"), os.Symlink("proc", root+"/p")); err != nil {
		t.Fatal(err)
	}
	for _, dest := range []string{"/link", "/p", "/p/tty"} {
		for _, m := range []specs.Mount{{Type: "tmpfs"}, {Source: root, Options: []string{"rbind"}}} {
			s := testSpec(root, "true")
			m.Destination = dest
			s.Mounts = append(s.Mounts, m)
			if _, _, err := runSpec(t, s, Extra{}); !errors.Is(err, unix.EXDEV) {
				t.Errorf("%s %s: %v", m.Type, dest, err)
			}
		}
	}
}
