package fuse

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// trial is a place to try mounts in: a directory of the store, which the
// process enters, and a tmpfs below it.
type trial struct {
	n int
}

// probeIn does it all in dir and leaves it empty.
func probeIn(dir string) (f Facts, err error) {
	if err := os.Chdir(dir); err != nil {
		return f, fmt.Errorf("enter %s: %w", dir, err)
	}
	// Nothing tried here may be seen by anybody else.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return f, fmt.Errorf("make mounts private: %w", err)
	}
	t := &trial{}
	defer func() { err = errors.Join(err, t.clean()) }()
	if err := t.prepare(); err != nil {
		return f, err
	}
	f.Whiteout = unix.Mknod("lower/whiteout", unix.S_IFCHR, 0) == nil
	f.Reflink = tryReflink("lower/a", "clone")

	two := stack{lowers: []string{"lower", "lower2"}, flags: userxattr()}
	onStore := two
	onStore.upper, onStore.work = t.upper("")
	if why := t.try(t.new(onStore)); why == nil {
		f.LowerPlus, f.Overlay = true, true
	} else if why = t.try(t.old(onStore)); why == nil {
		f.Overlay = true
	} else {
		f.OverlayWhy = why.Error()
	}
	t.lowers(&f, two)
	if !f.Overlay && !f.LowerOnly {
		return f, nil
	}
	t.options(&f, two)
	f.MaxLayers = t.limit(f.LowerPlus)
	f.DataOnly = t.dataOnly(f)
	return f, nil
}

func userxattr() []Param { return []Param{{Key: "userxattr", Flag: true}} }

// prepare makes two lowers, a metadata tree over the second, and a tmpfs.
func (t *trial) prepare() error {
	for _, d := range []string{"lower", "lower2", "lower2/d", "meta", "tmp", "m"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return fmt.Errorf("prepare the probe: %w", err)
		}
	}
	for name, data := range map[string]string{"lower/a": "a", "lower2/f": "data", "lower2/d/g": "g"} {
		if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
			return fmt.Errorf("prepare the probe: %w", err)
		}
	}
	if err := os.Link("lower/a", "lower/b"); err != nil && !errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("prepare the probe: %w", err)
	}
	if err := unix.Mount("tmpfs", "tmp", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("prepare the probe: mount a tmpfs: %w", err)
	}
	return nil
}

func (t *trial) clean() error {
	_ = unix.Unmount("tmp", unix.MNT_DETACH)
	for _, d := range readNames(".") {
		if err := os.RemoveAll(d); err != nil {
			return fmt.Errorf("clean up after the probe: %w", err)
		}
	}
	return nil
}

func readNames(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// upper makes a fresh upper and work directory. They are named by a prefix:
// "" on the store, "tmp/" on the tmpfs.
func (t *trial) upper(prefix string) (upper, work string) {
	t.n++
	upper, work = prefix+"u"+strconv.Itoa(t.n), prefix+"w"+strconv.Itoa(t.n)
	_ = os.Mkdir(upper, 0o755) // a mount without it fails, and that is the answer
	_ = os.Mkdir(work, 0o755)
	return upper, work
}

func (t *trial) new(s stack) Rootfs {
	return Rootfs{Kind: OverlayFS, FSType: "overlay", Params: s.params()}
}

func (t *trial) old(s stack) Rootfs {
	return Rootfs{Kind: OverlayMount, FSType: "overlay", Data: s.data()}
}

// either prefers what was found to work.
func (t *trial) either(f *Facts, s stack) Rootfs {
	if f.LowerPlus {
		return t.new(s)
	}
	return t.old(s)
}

// try mounts, and looks whether the lower shows and, with an upper, whether a
// write, a copy-up and a removal work.
func (t *trial) try(r Rootfs, checks ...func() error) error {
	if err := r.Mount("m"); err != nil {
		return err
	}
	defer unix.Unmount("m", unix.MNT_DETACH)
	for _, check := range append([]func() error{writable}, checks...) {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func writable() error {
	if err := os.WriteFile("m/new", nil, 0o600); err != nil {
		return fmt.Errorf("write through the overlay: %w", err)
	}
	if err := os.WriteFile("m/f", []byte("changed"), 0o644); err != nil {
		return fmt.Errorf("change a file through the overlay: %w", err)
	}
	if err := os.Remove("m/d/g"); err != nil {
		return fmt.Errorf("remove a file through the overlay: %w", err)
	}
	return nil
}

// lowers asks whether the store and the host's own root can be lowers of an
// upper on a tmpfs.
func (t *trial) lowers(f *Facts, two stack) {
	s := two
	s.upper, s.work = t.upper("tmp/")
	if !f.Overlay && t.try(t.new(s)) == nil {
		f.LowerPlus, f.TmpfsUpper = true, true
	} else {
		s.upper, s.work = t.upper("tmp/")
		f.TmpfsUpper = t.try(t.either(f, s)) == nil
	}
	f.LowerOnly = f.Overlay || f.TmpfsUpper
	// One with a mount below it is refused whatever the kernel can do, and
	// /usr/local is often another file system.
	for _, dir := range []string{"/usr", "/usr/bin", "/usr/lib", "/etc"} {
		host := stack{lowers: []string{dir}, flags: userxattr()}
		host.upper, host.work = t.upper("tmp/")
		if r := t.either(f, host); r.Mount("m") == nil {
			f.HostLower = os.WriteFile("m/.coracle-probe", nil, 0o600) == nil
			_ = unix.Unmount("m", unix.MNT_DETACH)
			return
		}
	}
}

// options asks for the options whose effect, not only whose name, must hold.
func (t *trial) options(f *Facts, two stack) {
	with := func(prefix, key, value string, checks ...func() error) bool {
		s := two
		s.flags = append(userxattr(), Param{Key: key, Value: value, Flag: value == ""})
		s.upper, s.work = t.upper(prefix)
		return t.try(t.either(f, s), checks...) == nil
	}
	if f.Overlay {
		f.IndexOn = with("", "index", "on", linksHold)
		f.Volatile = with("", "volatile", "")
	}
	if f.TmpfsUpper {
		f.XinoOn = with("tmp/", "xino", "on", oneDevice)
	}
}

// linksHold: after a copy-up the other name of a file shows the change.
func linksHold() error {
	if err := os.WriteFile("m/a", []byte("z"), 0o644); err != nil {
		return err
	}
	b, err := os.ReadFile("m/b")
	if err == nil && string(b) != "z" {
		err = errors.New("hard links part on copy-up")
	}
	return err
}

// oneDevice: files of the lower show the device number of the overlay.
func oneDevice() error {
	var root, file unix.Stat_t
	if err := errors.Join(unix.Stat("m", &root), unix.Stat("m/a", &file)); err != nil {
		return err
	}
	if root.Dev != file.Dev {
		return errors.New("lower files keep a device of their own")
	}
	return nil
}

// limit counts how many lowers one overlay takes: the kernel says so when the
// value is set (OVL_MAX_STACK), without a mount.
func (t *trial) limit(lowerPlus bool) int {
	if !lowerPlus {
		return 500 // fs/overlayfs/params.c since 4.20; the page of mount(2) ends earlier
	}
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	for n := range 2000 {
		if err := unix.FsconfigSetString(fd, "lowerdir+", "lower"); err != nil {
			return n
		}
	}
	return 0
}

// dataOnly reads a file whose metadata is in one tree and whose data in
// another.
func (t *trial) dataOnly(f Facts) bool {
	if !f.LowerPlus {
		return false
	}
	if os.WriteFile("meta/f", nil, 0o640) != nil || os.Truncate("meta/f", 4) != nil || markMeta("meta/f", "/f") != nil {
		return false
	}
	s := stack{lowers: []string{"meta"}, datas: []string{"lower", "lower2"}, flags: userxattr()}
	prefix := ""
	if !f.Overlay {
		prefix = "tmp/"
	}
	s.upper, s.work = t.upper(prefix)
	if t.new(s).Mount("m") != nil {
		return false
	}
	defer unix.Unmount("m", unix.MNT_DETACH)
	b, err := os.ReadFile("m/f")
	return err == nil && string(b) == "data"
}

func markMeta(path, redirect string) error {
	return errors.Join(
		unix.Lsetxattr(path, xattrMetacopy, nil, 0),
		unix.Lsetxattr(path, xattrRedirect, []byte(redirect), 0))
}

func tryReflink(from, to string) bool {
	src, err := os.Open(from)
	if err != nil {
		return false
	}
	defer src.Close()
	dst, err := os.OpenFile(filepath.Clean(to), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return false
	}
	defer dst.Close()
	return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil
}
