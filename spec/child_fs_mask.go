package spec

import (
	"path"

	"coracle/fuse"

	"golang.org/x/sys/unix"
)

// readonlySuffix ends the labels of read-only paths: where nothing else can be
// had, the path's own mount is made read-only and not what is below it.
const readonlySuffix = " read-only"

// readonlyPaths remounts paths of the root read-only; a missing one is fine.
func (c *child) readonlyPaths() {
	if c.readonlyDev {
		c.inRoot("make /dev read-only", "dev", unix.O_PATH, 0, c.target)
		c.setattrOf(c.target, "make /dev read-only", unix.MOUNT_ATTR_RDONLY, 0, 0, false)
		c.closeReg(c.target)
	}
	for _, p := range c.s.Linux.ReadonlyPaths {
		label := "make " + p + readonlySuffix
		missing := c.p.NewSpot()
		c.inRoot(label, p, unix.O_PATH, 0, c.target).Catch(unix.ENOENT, missing)
		c.openTree(label, c.target, "", true)
		c.setattr(label, unix.MOUNT_ATTR_RDONLY, 0, 0, true)
		c.cover(label, p)
		c.p.Mark(missing)
	}
}

// cover attaches c.mount on c.target, and makes sure that this is where dest
// leads.
func (c *child) cover(label, dest string) {
	c.move(label)
	c.verify(label, dest)
	c.closeReg(c.mount)
	c.closeReg(c.target)
}

// maskedPaths hides files behind the host's /dev/null (never the container's,
// which an image may have replaced: CVE-2025-31133) and directories behind an
// empty read-only tmpfs; a missing one is fine. The target is the descriptor
// that was resolved, so what is masked is what the path named.
func (c *child) maskedPaths() {
	if len(c.s.Linux.MaskedPaths) == 0 {
		return
	}
	c.empty = c.p.NewReg()
	null := c.p.NewReg()
	st := c.p.Bytes(make([]byte, statSize))
	c.p.Call("open /dev/null", unix.SYS_OPENAT, atFDCWD, "/dev/null", unix.O_PATH|unix.O_CLOEXEC, 0).To(null)
	c.p.Call("look at /dev/null", unix.SYS_FSTAT, null, st)
	c.p.NeedWord("look at /dev/null: it is another file", st[statRdev:], unix.Mkdev(1, 3), unix.ENXIO)
	for _, p := range c.s.Linux.MaskedPaths {
		label := "mask " + path.Clean(p)
		missing, isFile, done := c.p.NewSpot(), c.p.NewSpot(), c.p.NewSpot()
		c.inRoot(label, p, unix.O_PATH, 0, c.target).Catch(unix.ENOENT, missing)
		// Not by trying to put a file on a directory: to let go of a mount that
		// was not used the kernel waits for all processors.
		c.p.Call(label, unix.SYS_FACCESSAT, c.target, ".", unix.F_OK).Catch(unix.ENOTDIR, isFile).Allow(unix.EACCES)
		c.emptyDir(label)
		c.p.Jump(done)
		c.p.Mark(isFile)
		c.openTree(label, null, "", false)
		c.p.Mark(done)
		c.move(label)
		c.verify(label, p)
		c.closeReg(c.mount)
		c.closeReg(c.target)
		c.p.Mark(missing)
	}
	c.closeReg(null)
}

// emptyDir leaves a mount of an empty read-only directory in c.mount: the first
// time that of a new tmpfs, which is kept, later a clone of it.
func (c *child) emptyDir(label string) {
	clone, done := c.p.NewSpot(), c.p.NewSpot()
	c.p.Need(label, c.empty, 0, unix.EEXIST).Catch(unix.EEXIST, clone)
	c.newFS(label, "tmpfs", []fuse.Param{{Key: "mode", Value: "0755"}, {Key: "nr_inodes", Value: "2"}, {Key: "size", Value: "4096"}},
		unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	c.p.Call(label, unix.SYS_FCNTL, c.mount, unix.F_DUPFD_CLOEXEC, 3).To(c.empty)
	c.p.Jump(done)
	c.p.Mark(clone)
	c.openTree(label, c.empty, "", false)
	c.p.Mark(done)
}
