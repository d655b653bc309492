package spec

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"coracle/fuse"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// Without open_tree(2), fsopen(2) and their kin a mount cannot be held in a
// descriptor before it is somewhere. So it is made on a stage, by mount(2): a
// tmpfs on the child's root directory, which no path but "/.." leads to and
// nobody else can see. There it gets its attributes, and from there it is moved
// to its target. Source and target are descriptors, by their paths in /proc, so
// no link is followed that the plan has not followed before.

const tmpfsMagic = 0x01021994

// openStage comes before the first mount.
func (c *child) openStage() {
	if !c.x.lacks.mounts {
		return
	}
	if c.hostMounts {
		c.fail(fmt.Errorf("a root in the host's mount namespace: %w", errNoMounts()))
		return
	}
	const label = "make a stage for mounts"
	on, at := "/", "/.."
	if c.sharing {
		// The child's root may be shared with the host; the mount that holds the
		// container's root is not (propagation), and that root comes on top. What
		// the stage hides there is taken hold of before.
		on = c.x.hostPath(c.s.Root.Path)
		at = on
		c.handles = make(map[string]int)
		c.openHandle(on)
		if r := c.x.Root; r != nil && r.Source != "" {
			c.openHandle(r.Source)
		}
	}
	c.stage = c.p.NewReg()
	c.p.Call(label, unix.SYS_MOUNT, "stage", on, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700,nr_inodes=4")
	// A bind of / with all below it goes without the stage.
	c.p.Call(label, unix.SYS_MOUNT, 0, at, 0, unix.MS_UNBINDABLE, 0)
	c.p.Call(label, unix.SYS_OPENAT, atFDCWD, at, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).To(c.stage)
	buf := c.p.Bytes(make([]byte, 256))
	c.p.Call(label, unix.SYS_FSTATFS, c.stage, buf)
	c.p.NeedWord(label, buf, tmpfsMagic, unix.EXDEV)
	c.p.Call(label, unix.SYS_MKDIRAT, c.stage, stagedDir, 0o700) // EEXIST: it is not ours
	c.p.Call(label, unix.SYS_MKNODAT, c.stage, stagedFile, unix.S_IFREG|0o600, 0)
	for _, name := range []string{stagedDir, stagedFile} {
		c.p.Call(label, unix.SYS_OPENAT, c.stage, name, unix.O_PATH|unix.O_CLOEXEC, 0).To(c.tmp)
		c.numbered(label, c.tmp, stagedNumber(name))
		c.closeReg(c.tmp)
	}
}

// Where mounts are made on the stage.
const stagedDir, stagedFile = "dir", "file"

func stagedNumber(name string) int {
	if name == stagedDir {
		return numDir
	}
	return numFile
}

func (c *child) stagedPath(name string) string { return c.numberPath(stagedNumber(name)) }

// closeStage comes before pivot_root(2), which must find nothing on the root.
func (c *child) closeStage() {
	if !c.x.lacks.mounts {
		return
	}
	const label = "take the stage away"
	for _, n := range []int{numDir, numFile} {
		c.p.Call(label, unix.SYS_CLOSE, c.number(n))
	}
	c.closeReg(c.stage)
	if !c.sharing { // else it goes with the old root
		c.p.Call(label, unix.SYS_UMOUNT2, "/..", unix.MNT_DETACH)
	}
}

// staged leaves what was mounted on the stage under that name in c.mount.
func (c *child) staged(label, name string) {
	c.p.Call(label, unix.SYS_OPENAT, c.stage, name, unix.O_PATH|unix.O_CLOEXEC, 0).To(c.mount)
}

// stageFS is tryFS on the stage.
func (c *child) stageFS(label, fstype string, params []fuse.Param, attrs uint64, k *catch) {
	o, err := classicOptions(fstype, params, attrs)
	if err != nil {
		c.fail(fmt.Errorf("%s: %w", label, err))
	}
	k.on(c.p.Call(label, unix.SYS_MOUNT, o.source, c.stagedPath(stagedDir), fstype, o.flags, o.data))
	c.staged(label, stagedDir)
}

// stageTree is openTree on the stage.
func (c *child) stageTree(label string, dirfd any, name string, recursive bool) {
	flags := uintptr(unix.MS_BIND)
	if recursive {
		flags |= unix.MS_REC
	}
	if name == "" {
		name = c.numbered(label, dirfd, numSource)
	}
	isFile, done := c.p.NewSpot(), c.p.NewSpot()
	c.p.Call(label, unix.SYS_MOUNT, name, c.stagedPath(stagedDir), 0, flags, 0).Catch(unix.ENOTDIR, isFile)
	c.staged(label, stagedDir)
	c.p.Jump(done)
	c.p.Mark(isFile)
	c.p.Call(label, unix.SYS_MOUNT, name, c.stagedPath(stagedFile), 0, flags, 0)
	c.staged(label, stagedFile)
	c.p.Mark(done)
}

// moveOnto attaches c.mount on what a path names, which is a descriptor's or
// one of the host's. The result is the step.
func (c *child) moveOnto(label, target string) userns.Step {
	return c.p.Call(label, unix.SYS_MOUNT, c.numbered(label, c.mount, numMoved), target, 0, unix.MS_MOVE, 0)
}

// remountFS changes options of the file system at a descriptor, and its mount's
// attributes with them: mount(2) takes all anew. Of the file system's own flags
// lazytime is lost, of which statfs(2) says nothing.
func (c *child) remountFS(label string, r userns.Reg, params []fuse.Param, set, clr uint64) {
	o, err := classicOptions("", params, 0)
	if err != nil {
		c.fail(fmt.Errorf("%s: %w", label, err))
	}
	c.p.Peek(c.attributes(label, r)[statfsFlags:], c.tmp)
	keep := uintptr(sameFlags | unix.MS_SYNCHRONOUS | unix.MS_MANDLOCK)
	for _, p := range params {
		switch p.Key {
		case "async":
			keep &^= unix.MS_SYNCHRONOUS
		case "nomand":
			keep &^= unix.MS_MANDLOCK
		}
	}
	c.p.Blend(c.tmp, keep&^mountFlags(clr&^unix.MOUNT_ATTR__ATIME), mountFlags(set)|o.flags|unix.MS_REMOUNT)
	c.p.Call(label, unix.SYS_MOUNT, "none", c.numbered(label, r, numChanged), 0, c.tmp, o.data)
}

// classic are the options of a file system as mount(2) takes them.
type classic struct {
	source string
	flags  uintptr
	data   string
}

// maxMountData is what mount(2) takes: a page, with its end.
const maxMountData = 4095

var errMountData = errors.New("mount(2) takes no more than 4095 bytes of options; fsopen(2) would, from Linux 5.2")

// classicOptions translates the parameters for fsconfig(2) and the attributes.
func classicOptions(fstype string, params []fuse.Param, attrs uint64) (classic, error) {
	o := classic{source: fstype, flags: mountFlags(attrs)}
	var data, lowers []string
	datas := ""
	for _, p := range params {
		switch {
		case p.Key == "source":
			o.source = p.Value
		case p.Key == "async", p.Key == "nolazytime", p.Key == "nomand", p.Key == "rw" && p.Flag:
		case p.Key == "lowerdir+":
			lowers = append(lowers, fuse.EscapeLower(p.Value))
		case p.Key == "datadir+":
			datas += "::" + fuse.EscapeLower(p.Value)
		case p.Flag && superblockFlag(p.Key) != 0:
			o.flags |= superblockFlag(p.Key)
		case p.Flag:
			data = append(data, p.Key)
		case fstype == "overlay":
			data = append(data, p.Key+"="+strings.ReplaceAll(p.Value, ",", `\,`))
		default:
			data = append(data, p.Key+"="+p.Value)
		}
	}
	if len(lowers) > 0 {
		data = slices.Insert(data, 0, "lowerdir="+strings.Join(lowers, ":")+datas)
	}
	o.data = strings.Join(data, ",")
	if len(o.data) > maxMountData {
		return o, errMountData
	}
	return o, nil
}
