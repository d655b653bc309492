package fuse

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Choose says how a root is to be mounted: the native overlay where it works,
// else fuse-overlayfs, else a copy; or what Request.Driver names, and then a
// DriverError where that is not possible. What the kernel and the store allow
// comes from Probe.
func Choose(ctx context.Context, r Request) (Rootfs, error) {
	if err := r.check(); err != nil {
		return Rootfs{}, err
	}
	if r.Driver == DriverCopy {
		return r.copied("")
	}
	if r.Upper == "" && len(r.Lowers) == 1 && r.Meta == "" {
		return Rootfs{Kind: Bind, Driver: "bind", Source: r.Lowers[0], ReadOnly: true}, nil
	}
	f, err := Probe(ctx, ProbeRequest{Dir: r.LayersDir, Cache: r.Cache})
	if err != nil {
		return Rootfs{}, err
	}
	server := func() (string, error) { return fuseServer(fuseDevice) }
	return choose(r, f, server)
}

// choose is the pure part; server finds fuse-overlayfs, and is asked only when
// it is needed.
func choose(r Request, f Facts, server func() (string, error)) (Rootfs, error) {
	why := overlayRefused(r, f)
	if r.Driver != DriverFuse && why == nil {
		return r.overlay(f)
	}
	if r.Driver == DriverOverlay {
		return Rootfs{}, why
	}
	if r.Meta != "" {
		return Rootfs{}, &DriverError{Driver: DriverFuse, Reason: "translated ids need a native overlay with data-only layers",
			hint: "use another --userns, or unpack the image a second time"}
	}
	program, err := server()
	if err == nil {
		return r.fuseOverlay(program)
	}
	if r.Driver == DriverFuse {
		return Rootfs{}, err
	}
	return r.copied(fmt.Sprintf("the image is copied for this container: %v; %v", why, err))
}

func (r Request) check() error {
	switch r.Driver {
	case "", DriverOverlay, DriverFuse, DriverCopy:
	default:
		return &DriverError{Driver: r.Driver, Reason: "no such driver", hint: "use overlay, fuse-overlayfs or copy"}
	}
	if len(r.Lowers) == 0 {
		return fmt.Errorf("%w: a root without layers", ErrBadRequest)
	}
	if (r.Upper == "") != (r.Work == "") {
		return fmt.Errorf("%w: upper and work directories come together", ErrBadRequest)
	}
	for _, p := range append([]string{r.LayersDir, r.Upper, r.Work, r.Meta, r.Scratch}, r.Lowers...) {
		if p != "" && (!filepath.IsAbs(p) || strings.ContainsRune(p, 0)) {
			return fmt.Errorf("%w: %q is not an absolute path", ErrBadRequest, p)
		}
	}
	if r.Scratch != "" && (!below(r.Upper, r.Scratch) || !below(r.Work, r.Scratch)) {
		return fmt.Errorf("%w: upper and work must be below the scratch directory", ErrBadRequest)
	}
	return nil
}

func below(path, dir string) bool {
	return strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// overlayRefused says why the native overlay cannot be had, nil where it can.
func overlayRefused(r Request, f Facts) error {
	refuse := func(reason, hint string) error {
		return &DriverError{Driver: DriverOverlay, Reason: reason, hint: hint}
	}
	if r.Meta != "" && !f.DataOnly {
		return refuse("this kernel has no data-only layers for user namespaces (Linux 6.16 has)", "use another --userns")
	}
	onTmpfs := r.Scratch != "" && f.TmpfsUpper
	switch {
	case r.Upper == "" || onTmpfs:
		if !f.LowerOnly {
			return refuse("the kernel refuses it in a user namespace: "+f.OverlayWhy, "coracle doctor")
		}
	case f.StoreFS != "":
		return refuse("the store is on "+f.StoreFS+", which cannot take an overlay's writes",
			"use --root with a directory on a local disk")
	case !f.Overlay:
		return refuse("the kernel refuses it in a user namespace: "+f.OverlayWhy, "coracle doctor; Linux 5.11 or later has it")
	}
	return nil
}

// overlay makes the stack and, for disposable writes, the tmpfs under its
// upper.
func (r Request) overlay(f Facts) (Rootfs, error) {
	s := stack{lowers: r.Lowers, upper: r.Upper, work: r.Work, flags: userxattr()}
	if r.Meta != "" {
		s.lowers, s.datas = []string{r.Meta}, r.Lowers
	}
	onTmpfs := r.Scratch != "" && f.TmpfsUpper
	switch {
	case onTmpfs && f.XinoOn:
		s.flags = append(s.flags, Param{Key: "xino", Value: "on"})
	case !onTmpfs && r.Upper != "" && r.Disposable && f.Volatile:
		s.flags = append(s.flags, Param{Key: "volatile", Flag: true})
	}
	// An index ties an upper to the very inodes of its lowers, so one that is
	// kept could not follow its store to another disk.
	if r.Disposable && !onTmpfs && f.IndexOn && r.Meta == "" {
		s.flags = append(s.flags, Param{Key: "index", Value: "on"})
	}
	root, err := overlayRootfs(s, f, r)
	if err != nil {
		return Rootfs{}, err
	}
	r.writes(&root, s.lowers[0])
	if onTmpfs {
		root.Scratch = scratchTmpfs(r.Scratch, r.ScratchSize)
	}
	return root, nil
}

func (r Request) writes(root *Rootfs, top string) {
	if r.Upper != "" {
		root.Mkdirs = []Mkdir{{Path: r.Upper, Mode: upperPerm(top)}, {Path: r.Work, Mode: 0o700}}
	}
}

func scratchTmpfs(dir string, size int64) *Tmpfs {
	t := &Tmpfs{Target: dir, Data: "mode=0755"}
	if size > 0 {
		t.Data += ",size=" + strconv.FormatInt(size, 10)
	}
	return t
}

func (r Request) copied(notice string) (Rootfs, error) {
	if r.Copy == "" {
		return Rootfs{}, fmt.Errorf("%w: no directory for a copy", ErrBadRequest)
	}
	if r.Meta != "" {
		return Rootfs{}, &DriverError{Driver: DriverCopy, Reason: "a copy translates ids by itself, it takes no metadata tree"}
	}
	root := Rootfs{Kind: Copy, Driver: DriverCopy, Source: r.Copy, Lowers: r.Lowers, Upper: r.Copy, Notice: notice}
	if notice != "" {
		root.Hint = "install fuse-overlayfs, or use --root with a directory on a local disk"
	}
	return root, nil
}

const fuseDevice = "/dev/fuse"

// fuseServer finds fuse-overlayfs and checks that the device can be opened.
func fuseServer(device string) (string, error) {
	refuse := func(reason, hint string) (string, error) {
		return "", &DriverError{Driver: DriverFuse, Reason: reason, hint: hint}
	}
	program, err := exec.LookPath("fuse-overlayfs")
	if err == nil {
		program, err = filepath.Abs(program)
	}
	if err != nil {
		return refuse("the program fuse-overlayfs is not installed", "install the package fuse-overlayfs")
	}
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return refuse("there is no "+device, "modprobe fuse, or give the container around us --device "+device)
	case err != nil:
		return refuse((&os.PathError{Op: "open", Path: device, Err: err}).Error(), "chmod 666 "+device+", as udev does")
	}
	_ = unix.Close(fd)
	return program, nil
}

// The descriptor numbers of Fuse: any that nothing else uses.
const (
	fuseChildFD  = 200
	fuseServerFD = 3
)

// fuseOverlay is the command line of fuse-overlayfs 1.x over libfuse 3.3,
// which takes /dev/fd/N for a mount that exists already. A root without writes
// has no upper.
func (r Request) fuseOverlay(program string) (Rootfs, error) {
	escaped := make([]string, len(r.Lowers))
	for i, l := range r.Lowers {
		if strings.ContainsAny(l, `:,\`) {
			return Rootfs{}, &DriverError{Driver: DriverFuse,
				Reason: fmt.Sprintf("the layer's path %q has a colon, comma or backslash", l), hint: "use --root with a plain path"}
		}
		escaped[i] = l
	}
	opts := "lowerdir=" + strings.Join(escaped, ":")
	if r.Upper != "" {
		if strings.ContainsAny(r.Upper+r.Work, `:,\`) {
			return Rootfs{}, &DriverError{Driver: DriverFuse,
				Reason: fmt.Sprintf("the path %q has a colon, comma or backslash", r.Upper), hint: "use --root with a plain path"}
		}
		opts += ",upperdir=" + r.Upper + ",workdir=" + r.Work
	}
	root := Rootfs{
		Kind: FuseOverlayFS, Driver: DriverFuse, Upper: r.Upper, ReadOnly: r.Upper == "",
		Flags: unix.MS_NODEV | unix.MS_NOATIME,
		Fuse: &Fuse{
			Device: fuseDevice, FD: fuseChildFD, ServerFD: fuseServerFD,
			MountData: fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", fuseChildFD),
			Argv:      []string{program, "-f", "-o", opts, fmt.Sprintf("/dev/fd/%d", fuseServerFD)},
		},
	}
	r.writes(&root, r.Lowers[0])
	return root, nil
}
