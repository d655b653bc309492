package spec

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// inside is what a shell script says in the container.
func inside(t *testing.T, c *Container, script string) string {
	t.Helper()
	out, _, err := execIn(t, c, shell(script), ExecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestMountsAddAndRemove(t *testing.T) {
	c := running(t, nil)
	ctx := context.Background()
	src := t.TempDir()
	if err := errors.Join(os.WriteFile(src+"/f", []byte("from outside\n"), 0o644), os.Mkdir(src+"/private", 0o700)); err != nil {
		t.Fatal(err)
	}
	mounts := []specs.Mount{
		{Destination: "/new/dir", Source: src, Options: []string{"rbind", "ro"}},
		{Destination: "/tmp/file", Type: "bind", Source: src + "/f", Options: []string{"bind"}},
		{Destination: "/tmp/mem", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=64k", "mode=0711", "noexec"}},
		{Destination: "/tmp/mem/below", Source: src + "/private", Options: []string{"bind"}},
	}
	if err := c.rt.AddMounts(ctx, c.ID, mounts); err != nil {
		t.Fatal(err)
	}
	look := `cat /new/dir/f /tmp/file; touch /new/dir/x 2>&1; touch /tmp/mem/below/y; stat -c %a /tmp/mem; grep -c -e ' /new/dir ' -e ' /tmp/file ' -e ' /tmp/mem' /proc/self/mountinfo`
	if got, want := inside(t, c, look), "from outside\nfrom outside\ntouch: /new/dir/x: Read-only file system\n711\n4\n"; got != want {
		t.Errorf("added: %q, want %q", got, want)
	}
	if _, err := os.Stat(src + "/private/y"); err != nil {
		t.Error(err)
	}
	if err := c.rt.RemoveMounts(ctx, c.ID, mounts); err != nil {
		t.Fatal(err)
	}
	if got := inside(t, c, `cat /tmp/file; ls /new/dir /tmp/mem; grep -c -e ' /new/dir ' -e ' /tmp/mem' -e ' /tmp/file ' /proc/self/mountinfo`); got != "/new/dir:\n\n/tmp/mem:\n0\n" {
		t.Errorf("removed: %q", got)
	}
	for dest, want := range map[string]error{"/new/dir": unix.EINVAL, "/": nil, "/nowhere": unix.ENOENT} {
		err := c.rt.RemoveMounts(ctx, c.ID, []specs.Mount{{Destination: dest, Type: "tmpfs"}})
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("remove %s: %v, want %v", dest, err, want)
		}
	}
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(data), c.Rootfs) {
		t.Errorf("mounted here: %v", err)
	}
}

func TestMountsRefused(t *testing.T) {
	c := running(t, nil)
	for _, tt := range []struct {
		mount specs.Mount
		want  string
	}{
		{specs.Mount{Destination: "/", Type: "tmpfs"}, "mounts[0].destination: \"/\" is the root itself"},
		{specs.Mount{Type: "tmpfs"}, "mounts[0].destination: missing"},
		{specs.Mount{Destination: "/x", Source: "/no/such/source", Options: []string{"bind"}}, "bind /no/such/source on /x: no such file"},
		{specs.Mount{Destination: "/x", Type: "nosuchfs"}, "mount nosuchfs on /x: no such device"},
		{specs.Mount{Destination: "/proc", Type: "proc", Options: []string{"remount", "rw"}}, "mounts[0].options: remount"},
		{specs.Mount{Destination: "/x", Type: "tmpfs", Options: []string{"tmpcopyup"}}, "mounts[0].options: tmpcopyup"},
		{specs.Mount{Destination: "/x", Type: "overlay", Options: []string{"lowerdir=" + strings.Repeat("/a", 200)}}, "more than 255 bytes"},
	} {
		if err := c.rt.AddMounts(context.Background(), c.ID, []specs.Mount{tt.mount}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.mount, err, tt.want)
		}
	}
	if err := c.rt.AddMounts(context.Background(), "gone", nil); !errors.Is(err, ErrNotExist) {
		t.Errorf("no such container: %v", err)
	}
	if err := c.Kill(context.Background(), unix.SIGKILL, false); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the end", func() bool { return c.Status().Status == specs.StateStopped })
	if err := c.rt.AddMounts(context.Background(), c.ID, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a stopped one: %v", err)
	}
}

// Links that the container has planted lead nowhere but into it, and a mount
// does not land in procfs by them.
func TestMountsFollowLinksInside(t *testing.T) {
	outside, src := t.TempDir(), t.TempDir()
	c := running(t, nil)
	inside(t, c, "busybox ln -s "+strings.Repeat("../", 30)+strings.TrimPrefix(outside, "/")+" /tmp/out; busybox ln -s /proc/self/attr /tmp/attr; "+
		"busybox ln -s /proc/1/root /tmp/magic; mkdir -p /tmp/real; busybox ln -s real /tmp/fine")
	add := func(dest string) error {
		return c.rt.AddMounts(context.Background(), c.ID, []specs.Mount{{Destination: dest, Source: src, Options: []string{"bind"}}})
	}
	for dest, want := range map[string]error{"/tmp/attr": unix.EXDEV, "/tmp/attr/exec": unix.EXDEV, "/tmp/magic/x": unix.ELOOP, "/tmp/fine": nil, "/tmp/fine/deeper/still": nil} {
		if err := add(dest); (err == nil) != (want == nil) || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", dest, err, want)
		}
	}
	_ = add("/tmp/out/made") // it may be made in the container
	_ = add("/tmp/out")
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("made outside: %v", left)
	}
	if data, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(data), outside) {
		t.Error("mounted outside")
	}
	if got := inside(t, c, `grep -c ' /tmp/real' /proc/self/mountinfo`); got != "2\n" {
		t.Errorf("by a link that stays inside: %q mounts", got)
	}
}

// A process of the container, which may not unmount, cannot have a mask taken
// away by a link in the place of what was mounted.
func TestMountsRemoveFollowsNoLinks(t *testing.T) {
	c := running(t, nil)
	inside(t, c, "busybox ln -s /proc/keys /tmp/keys; busybox ln -s / /tmp/up")
	masks := func() string { return inside(t, c, "grep -c ' /proc/keys ' /proc/self/mountinfo") }
	if masks() != "1\n" {
		t.Fatal("/proc/keys is not masked")
	}
	for _, dest := range []string{"/tmp/keys", "/tmp/up/proc/keys"} {
		if err := c.rt.RemoveMounts(context.Background(), c.ID, []specs.Mount{{Destination: dest, Type: "tmpfs"}}); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: %v", dest, err)
		}
	}
	if masks() != "1\n" {
		t.Error("the mask is gone")
	}
}

// The container swaps the destination for a link that leads out, all the time.
func TestMountsWhileLinksAreSwapped(t *testing.T) {
	outside, src := t.TempDir(), t.TempDir()
	if err := os.Mkdir(outside+"/sub", 0o755); err != nil {
		t.Fatal(err)
	}
	c := running(t, nil)
	// As the container could: it has the same directory as we see here.
	vol := filepath.Join(c.Rootfs, "tmp")
	if err := errors.Join(os.Mkdir(vol+"/dir", 0o755), os.Symlink(strings.Repeat("../", 30)+outside, vol+"/link")); err != nil {
		t.Fatal(err)
	}
	stop, swapped := make(chan struct{}), make(chan int)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				swapped <- n
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, vol+"/dir", unix.AT_FDCWD, vol+"/link", unix.RENAME_EXCHANGE)
			}
		}
	}()
	added, refused := 0, 0
	for range 60 {
		if err := c.rt.AddMounts(context.Background(), c.ID, []specs.Mount{{Destination: "/tmp/dir/sub", Source: src, Options: []string{"bind"}},
			{Destination: "/tmp/dir/made", Type: "tmpfs"}}); err != nil {
			refused++
		} else {
			added++
		}
		if left, _ := os.ReadDir(outside); len(left) != 1 {
			t.Errorf("made outside: %v", left)
			break
		}
	}
	close(stop)
	t.Logf("%d added, %d refused, %d swaps", added, refused, <-swapped)
	if data, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(data), outside) {
		t.Error("mounted outside")
	}
}
