package fuse

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// insideStack mounts args[0] on args[1] and reads a file of each layer there;
// args[2] says how many.
func insideStack(args []string) error {
	var r Rootfs
	if err := readJSON(args[0], &r); err != nil {
		return err
	}
	if err := r.Mount(args[1]); err != nil {
		return err
	}
	n, _ := strconv.Atoi(args[2])
	for i := range n {
		if _, err := os.Stat(fmt.Sprintf("%s/f%d", args[1], i)); err != nil {
			return err
		}
	}
	if top, err := os.ReadFile(args[1] + "/top"); err != nil || string(top) != strconv.Itoa(0) {
		return fmt.Errorf("the topmost layer is %s, %w", top, err)
	}
	if r.ReadOnly {
		return nil
	}
	return errors.Join(os.WriteFile(args[1]+"/top", []byte("x"), 0o600), os.Remove(args[1]+"/f0"))
}

// TestStacks mounts real layers in each of the ways that Choose knows.
func TestStacks(t *testing.T) {
	c := unprivileged(t)
	dir := c.dir(t)
	f, err := Probe(t.Context(), ProbeRequest{Dir: t.TempDir()})
	must(t, err)
	need(t, f.Overlay, "overlay in a user namespace")
	old := f
	old.LowerPlus = false
	disk := f
	disk.TmpfsUpper = false
	long := strings.Repeat("p", 200) + "/" + strings.Repeat("q", 100)
	for name, tt := range map[string]struct {
		facts   Facts
		n       int
		name    string // of the layers' directory
		scratch bool
		ro      bool
	}{
		"fsconfig":             {facts: f, n: 3, name: "l"},
		"fsconfig 128":         {facts: f, n: 128, name: "l"},
		"fsconfig odd names":   {facts: f, n: 3, name: `a:b,c\d "e" =f`},
		"fsconfig long names":  {facts: f, n: 3, name: long},
		"mount 3":              {facts: old, n: 3, name: "l"},
		"mount 128":            {facts: old, n: 128, name: "l"},
		"mount odd names":      {facts: old, n: 3, name: `a:b,c\d "e" =f`},
		"mount long names":     {facts: old, n: 12, name: long},
		"on a tmpfs":           {facts: f, n: 3, name: "l", scratch: true},
		"on a tmpfs, mount":    {facts: old, n: 3, name: "l", scratch: true},
		"disposable on a disk": {facts: disk, n: 3, name: "l", scratch: true},
		"read-only":            {facts: f, n: 3, name: "l", ro: true},
		"one, read-only":       {facts: f, n: 1, name: "l", ro: true},
	} {
		t.Run(name, func(t *testing.T) {
			base := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"), tt.name)
			r := Request{LayersDir: base, Cache: filepath.Join(dir, "run"), Disposable: tt.scratch}
			for i := range tt.n {
				l := filepath.Join(base, fmt.Sprintf("%064x", i), "m-0123456789abcdef", "fs")
				write(t, l, map[string]string{"f" + strconv.Itoa(i): "", "top": strconv.Itoa(i)})
				r.Lowers = append(r.Lowers, l)
			}
			own := filepath.Join(base, "own")
			write(t, own, map[string]string{"m/": "", "s/": ""})
			if !tt.ro {
				r.Upper, r.Work = filepath.Join(own, "s", "upper"), filepath.Join(own, "s", "work")
			}
			if tt.scratch {
				r.Scratch = filepath.Join(own, "s")
			}
			chown(t, dir, c)
			must(t, r.check())
			root, err := choose(r, tt.facts, nil)
			if tt.ro && tt.n == 1 {
				root, err = Choose(t.Context(), r)
			}
			must(t, err)
			writeJSON(t, filepath.Join(own, "root.json"), root)
			if _, err := os.Stat(r.Cache); err == nil {
				chown(t, r.Cache, c)
			}
			c.run(t, "stack", filepath.Join(own, "root.json"), filepath.Join(own, "m"), strconv.Itoa(tt.n))
			left := readNames(filepath.Join(own, "s"))
			if disposable := tt.scratch && tt.facts.TmpfsUpper; disposable != (len(left) == 0) && !tt.ro {
				t.Errorf("the disk has %v", left)
			}
		})
	}
}

func chown(t *testing.T, dir string, c caller) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	must(t, filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(p, c.uid, c.gid))
	}))
}

// insideFuse does the child's part: opens the device, mounts, hands the
// descriptor over (it waits until its parent has taken it), and uses the root.
func insideFuse(args []string) error {
	var r Rootfs
	if err := readJSON(args[0], &r); err != nil {
		return err
	}
	for _, d := range r.Mkdirs {
		if err := mkdir(d.Path, d.Mode); err != nil {
			return err
		}
	}
	dev, err := unix.Open(r.Fuse.Device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", r.Fuse.Device, err)
	}
	if err := unix.Dup3(dev, r.Fuse.FD, unix.O_CLOEXEC); err != nil {
		return err
	}
	if err := unix.Mount("fuse-overlayfs", args[1], "fuse", r.Flags, r.Fuse.MountData); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	_ = unix.Close(dev)
	if err := unix.Sendmsg(3, []byte{0}, unix.UnixRights(r.Fuse.FD), nil, 0); err != nil {
		return err
	}
	_ = unix.Close(r.Fuse.FD)
	return useFuse(args[1])
}

func useFuse(m string) error {
	if data, err := os.ReadFile(m + "/top"); err != nil || string(data) != "0" {
		return fmt.Errorf("the topmost layer is %q, %w", data, err)
	}
	return errors.Join(os.WriteFile(m+"/top", []byte("x"), 0o600), os.Remove(m+"/f1"), os.Chown(m+"/top", 0, 0))
}

// TestFuseOverlayFS plays launcher: it takes the descriptor, starts the server
// in the child's user namespace (by nsenter; spec does it with raw calls), and
// sees it end with the mount.
func TestFuseOverlayFS(t *testing.T) {
	program, err := exec.LookPath("fuse-overlayfs")
	need(t, err == nil, "fuse-overlayfs")
	c := unprivileged(t)
	if os.Geteuid() == 0 {
		_ = os.Chmod(fuseDevice, 0o666) // as udev does everywhere
	}
	_, err = fuseServer(fuseDevice)
	need(t, err == nil, fmt.Sprint("FUSE: ", err))
	dir := c.dir(t)
	r := Request{LayersDir: dir, Driver: DriverFuse, Upper: dir + "/upper", Work: dir + "/work"}
	for i := range 2 {
		l := filepath.Join(dir, strconv.Itoa(i))
		write(t, l, map[string]string{"f" + strconv.Itoa(i): "", "top": strconv.Itoa(i)})
		r.Lowers = append(r.Lowers, l)
	}
	write(t, dir, map[string]string{"m/": ""})
	chown(t, dir, c)
	root, err := r.fuseOverlay(program)
	must(t, err)
	writeJSON(t, dir+"/root.json", root)

	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	child := c.command(t, "[inside:fuse]", dir+"/root.json", dir+"/m")
	var said bytes.Buffer
	child.Stderr, child.ExtraFiles = &said, []*os.File{theirs}
	must(t, child.Start())
	_ = theirs.Close()
	dev := takeFD(t, ours, &said)
	enter := []string{"--user", "-t", strconv.Itoa(child.Process.Pid)}
	if os.Geteuid() != 0 {
		enter = append(enter, "--preserve-credentials") // the caller is root inside already, and may not call setgroups
	}
	server := exec.Command("nsenter", append(append(enter, "--"), root.Fuse.Argv...)...)
	server.Stderr, server.ExtraFiles = os.Stderr, []*os.File{dev}
	must(t, server.Start())
	_ = dev.Close()
	if err := child.Wait(); err != nil {
		t.Errorf("the child: %v\n%s", err, said.String())
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		_ = server.Process.Signal(syscall.SIGKILL)
		t.Error("the server outlives its mount")
	}
	if data, err := os.ReadFile(dir + "/upper/top"); os.Geteuid() == 0 && (err != nil || string(data) != "x") {
		t.Errorf("the upper holds %q, %v", data, err)
	}
}

func takeFD(t *testing.T, sock *os.File, said *bytes.Buffer) *os.File {
	t.Helper()
	oob := make([]byte, unix.CmsgSpace(4))
	must(t, unix.SetsockoptTimeval(int(sock.Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}))
	_, n, _, _, err := unix.Recvmsg(int(sock.Fd()), make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	must(t, err)
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) != 1 {
		t.Fatalf("no descriptor came: %v %s", err, said.String())
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	must(t, err)
	return os.NewFile(uintptr(fds[0]), "fuse")
}
