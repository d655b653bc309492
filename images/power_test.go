package images

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"coracle/images/layer"
)

// disk is a small ext4 whose power can be cut.
type disk struct{ image, dir string }

func newDisk(t *testing.T) *disk {
	t.Helper()
	needs(t, "mkfs.ext4", "mount", "losetup")
	d := &disk{filepath.Join(t.TempDir(), "disk"), t.TempDir()}
	run(t, "truncate", "-s", "64M", d.image)
	run(t, "mkfs.ext4", "-q", d.image)
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.dir).CombinedOutput(); err != nil {
		if os.Getenv("CORACLE_MUST_WORK") == "1" {
			t.Fatalf("mount: %s", out)
		}
		t.Skipf("mount: %s", out)
	}
	t.Cleanup(func() { syscall.Unmount(d.dir, syscall.MNT_DETACH) })
	return d
}

// cut loses all that is not on the disk, and mounts again what is.
func (d *disk) cut(t *testing.T) {
	t.Helper()
	f, err := os.Open(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	const shutdown, noLogFlush = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN of linux/ext4.h
	flags := uint32(noLogFlush)
	_, _, e := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&flags)))
	f.Close()
	if e != 0 {
		t.Fatal(e)
	}
	run(t, "umount", d.dir)
	d.free(t)
	run(t, "mount", "-o", "loop", d.image, d.dir)
}

// free waits until nobody has the disk mounted: a mount namespace that was made meanwhile,
// by a test of another package, has it for a moment more, and would keep it powerless.
func (d *disk) free(t *testing.T) {
	t.Helper()
	for range 500 {
		out, err := exec.Command("losetup", "--associated", d.image).Output()
		if err != nil {
			t.Fatal(err)
		}
		if len(out) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("something holds the disk")
}

// What has a name after the power went has its content, too.
func TestPowerLoss(t *testing.T) {
	for _, how := range []string{"pull", "pull, then unpack"} {
		d := newDisk(t)
		s, err := Open(filepath.Join(d.dir, "s"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		withStage := func(f func(get func() (layer.Stage, error))) {
			st, err := layer.Local(s.root)
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			f(func() (layer.Stage, error) { return st, nil })
		}
		src := "oci:" + make3(t, nil).layout(t)
		var img *Image
		withStage(func(get func() (layer.Stage, error)) {
			o := PullOptions{}
			if how == "pull" {
				o = PullOptions{Class: class, Stage: get}
			}
			if img, err = s.Pull(t.Context(), src, o); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Layers(t.Context(), img, class, get); err != nil {
				t.Fatal(err)
			}
		})
		before := snapshot(t, s)
		d.cut(t)
		after := snapshot(t, s)
		for p, sum := range before {
			got, ok := after[p]
			if strings.HasPrefix(p, "layers/") && !ok && how != "pull" {
				continue // names may be lost, and their content is unpacked anew
			}
			if got != sum {
				t.Errorf("%s: %s is %q, was %q", how, p, got, sum)
			}
		}
		withStage(func(get func() (layer.Stage, error)) {
			again, err := s.Lookup(img.Names[0])
			if err != nil {
				t.Fatal(err)
			}
			dirs, err := s.Layers(t.Context(), again, class, get)
			if err != nil || readLayers(t, dirs, "top") != "2" {
				t.Errorf("%s: %v", how, err)
			}
		})
		run(t, "umount", d.dir)
	}
}
