package spec

import (
	"fmt"
	"path"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// devices makes what runtime-spec v1.3.0 config-linux.md#default-devices lists,
// unless /dev is the host's, and what linux.devices asks for.
func (c *child) devices() {
	fresh, host := false, false // what the last mount on /dev is
	for i := range c.s.Mounts {
		m := &c.s.Mounts[i]
		o := parseMountOpts(m.Options)
		if path.Clean("/"+m.Destination) == "/dev" && !o.remount {
			host = isBind(m, &o)
			fresh = !host
		}
	}
	if !host {
		c.defaultDevices(fresh)
	}
	for i := range c.s.Linux.Devices {
		c.device(i, &c.s.Linux.Devices[i])
	}
}

func (c *child) defaultDevices(fresh bool) {
	c.open(target{label: "open /dev", dest: "/dev"})
	for _, d := range []struct {
		name         string
		major, minor uint32
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}} {
		label := "make /dev/" + d.name
		made, refused := c.p.NewSpot(), c.p.NewSpot()
		if !c.userns { // there the kernel makes no device nodes
			c.p.Call(label, unix.SYS_MKNODAT, c.target, d.name, unix.S_IFCHR|0o666, unix.Mkdev(d.major, d.minor)).Catch(0, refused)
			c.p.Jump(made)
		}
		c.p.Mark(refused)
		c.p.Call(label, unix.SYS_MKNODAT, c.target, d.name, unix.S_IFREG|0o666, 0).Allow(unix.EEXIST)
		c.bindDevice(label, "/dev/"+d.name, d.name, unix.Mkdev(d.major, d.minor))
		c.p.Mark(made)
	}
	if !fresh { // the image's would lead to the host's terminals
		c.p.Call("link /dev/ptmx", unix.SYS_UNLINKAT, c.target, "ptmx", 0).Allow(unix.ENOENT)
	}
	for _, l := range [][2]string{{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"}} {
		c.p.Call("link /dev/"+l[0], unix.SYS_SYMLINKAT, l[1], c.target, l[0]).Allow(unix.EEXIST)
	}
	c.closeReg(c.target)
}

// bindDevice binds the host's node onto name in c.target, after a look at which
// device it is.
func (c *child) bindDevice(label, source, name string, dev uint64) {
	st := c.p.Bytes(make([]byte, statSize))
	label += ": bind the host's"
	c.openTree(label, atFDCWD, source, false)
	c.p.Call(label, unix.SYS_FSTAT, c.mount, st)
	c.p.NeedWord(label+": it is another device", st[statRdev:], dev, unix.ENXIO)
	if c.x.lacks.mounts {
		c.p.Call(label, unix.SYS_OPENAT, c.target, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0).To(c.tmp)
		c.moveOnto(label, c.numbered(label, c.tmp, numTarget))
		c.closeReg(c.tmp)
	} else {
		c.p.Call(label, unix.SYS_MOVE_MOUNT, c.mount, "", c.target, name, unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	c.closeReg(c.mount)
}

// device makes one of linux.devices (config-linux.md#devices): the node itself
// where the kernel lets us, else the host's is bound, which keeps its mode and
// owner. A file that is there already must be that device.
func (c *child) device(i int, d *specs.LinuxDevice) {
	dest, mode := path.Clean("/"+d.Path), uint32(0o666)
	if d.FileMode != nil {
		mode = uint32(*d.FileMode) & 0o7777
	}
	label, name := "make "+dest, path.Base(dest)
	dev := unix.Mkdev(uint32(d.Major), uint32(d.Minor))
	own, done := c.p.NewSpot(), c.p.NewSpot()
	switch d.Type {
	case "p":
		c.open(target{label: label, dest: path.Dir(dest)})
		c.fifo(label, name, mode, done)
	case "c", "u":
		c.open(target{label: label, dest: path.Dir(dest)})
		c.node(label, d.Path, unix.S_IFCHR|mode, dev, own, done)
	case "b":
		c.open(target{label: label, dest: path.Dir(dest)})
		c.node(label, d.Path, unix.S_IFBLK|mode, dev, own, done)
	default:
		c.fail(fmt.Errorf("linux.devices[%d].type: %s: %q is no type of device", i, d.Path, d.Type))
		return
	}
	c.p.Mark(own)
	if d.UID != nil || d.GID != nil {
		c.p.Call(label+": set its owner", unix.SYS_FCHOWNAT, c.target, name, orKeep(d.UID), orKeep(d.GID), unix.AT_SYMLINK_NOFOLLOW)
	}
	c.p.Mark(done)
	c.closeReg(c.target)
}

// fifo makes a named pipe in c.target; done is where it goes on when that very
// pipe is there already.
func (c *child) fifo(label, name string, mode uint32, done userns.Spot) {
	exists, made := c.p.NewSpot(), c.p.NewSpot()
	c.p.Call(label, unix.SYS_MKNODAT, c.target, name, unix.S_IFIFO|mode, 0).Catch(unix.EEXIST, exists)
	c.p.Jump(made)
	c.p.Mark(exists)
	st := c.p.Bytes(make([]byte, statSize))
	c.p.Call(label, unix.SYS_NEWFSTATAT, c.target, name, st, unix.AT_SYMLINK_NOFOLLOW)
	c.p.Peek(st[statMode:], c.tmp)
	c.p.Need(label+": another file is there", c.tmp, uintptr(unix.S_IFIFO|mode), unix.EEXIST)
	c.p.Jump(done)
	c.p.Mark(made)
}

// node makes a device node in c.target and goes on at own, or binds the host's
// and goes on at done.
func (c *child) node(label, dest string, mode uint32, dev uint64, own, done userns.Spot) {
	name := path.Base(dest)
	refused, exists, empty, placed := c.p.NewSpot(), c.p.NewSpot(), c.p.NewSpot(), c.p.NewSpot()
	if !c.userns { // there the kernel makes none
		c.p.Call(label, unix.SYS_MKNODAT, c.target, name, mode, dev).Catch(0, refused)
		c.p.Jump(own)
	}
	c.p.Mark(refused)
	c.p.Call(label, unix.SYS_MKNODAT, c.target, name, unix.S_IFREG|0o600, 0).Catch(unix.EEXIST, exists)
	c.p.Jump(placed)
	c.p.Mark(exists)
	st := c.p.Bytes(make([]byte, statSize))
	c.p.Call(label, unix.SYS_NEWFSTATAT, c.target, name, st, unix.AT_SYMLINK_NOFOLLOW)
	c.p.NeedWord(label, st[statRdev:], dev, unix.EEXIST).Catch(unix.EEXIST, empty)
	c.p.Jump(done)
	c.p.Mark(empty) // what an earlier start has left to bind on
	c.p.NeedWord(label+": another file is there", st[statRdev:], 0, unix.EEXIST)
	c.p.NeedWord(label+": another file is there", st[statBytes:], 0, unix.EEXIST)
	c.p.Mark(placed)
	c.bindDevice(label, dest, name, dev)
	c.p.Jump(done)
}

// orKeep is an id for chown(2), where -1 keeps what is.
func orKeep(id *uint32) uintptr {
	if id == nil {
		return uintptr(^uint32(0))
	}
	return uintptr(*id)
}
