package spec

import (
	"fmt"
	"path"
	"strings"

	"coracle/fuse"

	"golang.org/x/sys/unix"
)

// scratchHandle is the number of the descriptor of the host view's tmpfs.
const scratchHandle = firstHandle - 1

// hostRoot makes the view of the host's own root (fuse.HostView) on dir, which
// becomes the root. One tmpfs, mounted on scratch, holds what is not the
// host's: the root's own directory and the overlays' upper directories, which
// the container cannot reach, since only the former is bound on dir.
func (c *child) hostRoot(mounts []fuse.HostMount, scratch, dir string) {
	const label = "make a root of the host's directories"
	c.newFS(label, "tmpfs", []fuse.Param{{Key: "mode", Value: "0700"}}, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	c.place(label, scratch)
	c.p.Call(label, unix.SYS_DUP3, c.mount, scratchHandle, unix.O_CLOEXEC)
	c.closeReg(c.mount)
	c.p.Call(label, unix.SYS_MKDIRAT, scratchHandle, "root", 0o755)
	c.openTree(label, scratchHandle, "root", false)
	c.placeRoot(label, dir)
	for _, m := range mounts {
		c.hostMount(m)
	}
}

// hostMount makes one entry. Parents of targets are directories of the tmpfs
// that this plan has made itself, so their names lead nowhere else.
func (c *child) hostMount(m fuse.HostMount) {
	label := string(m.Kind) + " /" + m.Target
	switch m.Kind {
	case fuse.HostDir:
		c.p.Call(label, unix.SYS_MKDIRAT, c.root, m.Target, m.Mode).Allow(unix.EEXIST)
	case fuse.HostSymlink:
		c.p.Call(label, unix.SYS_SYMLINKAT, m.Source, c.root, m.Target)
	case fuse.HostFile:
		c.p.Call(label, unix.SYS_MKNODAT, c.root, m.Target, unix.S_IFREG|m.Mode, 0)
	case fuse.HostTmpfs:
		c.newFS(label, "tmpfs", tmpfsParams(m.Data), unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
		c.hostAttach(label, m.Target)
	case fuse.HostBind:
		c.openTree(label, atFDCWD, m.Source, false)
		if m.ReadOnly {
			c.setattr(label, unix.MOUNT_ATTR_RDONLY, 0, 0, false)
		}
		c.hostAttach(label, m.Target)
	case fuse.HostOverlay:
		c.hostOverlay(label, m)
	default:
		c.fail(fmt.Errorf("a host mount of kind %q is unknown", m.Kind))
	}
}

func (c *child) hostOverlay(label string, m fuse.HostMount) {
	c.p.Call(label, unix.SYS_MKDIRAT, scratchHandle, m.Upper, m.Mode)
	c.p.Call(label, unix.SYS_MKDIRAT, scratchHandle, m.Work, 0o700)
	scratch := fmt.Sprintf("/proc/self/fd/%d", scratchHandle)
	c.newFS(label, "overlay", []fuse.Param{
		{Key: "userxattr", Flag: true}, {Key: "lowerdir+", Value: m.Source},
		{Key: "upperdir", Value: path.Join(scratch, m.Upper)}, {Key: "workdir", Value: path.Join(scratch, m.Work)},
	}, 0)
	c.hostAttach(label, m.Target)
}

func (c *child) hostAttach(label, target string) {
	c.p.Call(label, unix.SYS_MOVE_MOUNT, c.mount, "", c.root, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
	c.closeReg(c.mount)
}

func tmpfsParams(data string) []fuse.Param { return parseMountOpts(strings.Split(data, ",")).data }
