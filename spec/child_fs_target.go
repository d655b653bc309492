package spec

import (
	"encoding/binary"
	"path"
	"strings"

	"coracle/userns"

	"golang.org/x/sys/unix"
)

// target is where something is to be mounted.
type target struct {
	label   string
	dest    string
	kind    targetKind
	resolve uint64 // RESOLVE_* beside RESOLVE_IN_ROOT
	found   func() // steps for a target that was there before, in c.target
	opening string // label of the step that opens it
}

// targetKind is what is made where a target is missing.
type targetKind int

const (
	dirTarget targetKind = iota
	fileTarget
	likeMount // a directory where c.mount is one, else a file
)

// openTarget opens where something is to be mounted, and makes it first where
// it is missing: directories, and for a file an empty file.
func (c *child) openTarget(label, dest string, isDir bool, resolve uint64) {
	kind := fileTarget
	if isDir {
		kind = dirTarget
	}
	c.open(target{label: label, dest: dest, kind: kind, resolve: resolve})
}

func (c *child) open(t target) {
	dest := fromRoot(t.dest)
	inProc := strings.HasPrefix(dest+"/", "/proc/") // as it was asked for, not where links lead
	missing, elsewhere, found, there := c.p.NewSpot(), c.p.NewSpot(), c.p.NewSpot(), c.p.NewSpot()
	t.opening = t.label + ": open the target"
	looking, refusal := t.label+": look at the target", t.label+": the image's links lead into /proc"
	look := func() {
		if !inProc {
			c.refuseProc(looking, refusal, c.target)
		}
	}
	if !inProc && c.onRoot(dest) {
		// On the root's own mount nothing is of procfs: see Compile.
		c.inRoot(t.opening, dest, unix.O_PATH, t.resolve|unix.RESOLVE_NO_XDEV, c.target).Catch(0, elsewhere)
	} else {
		c.p.Jump(elsewhere)
	}
	c.p.Mark(found)
	if t.found != nil {
		t.found()
	}
	c.p.Jump(there)
	c.p.Mark(elsewhere)
	c.inRoot(t.opening, dest, unix.O_PATH, t.resolve, c.target).Catch(unix.ENOENT, missing)
	look()
	c.p.Jump(found)
	c.p.Mark(missing)
	if links := c.resolved(t, dest); links != dest {
		// A link to nothing is in the way, unless a mount hides it: make what it
		// names.
		dangling, made := &catch{unix.ENOENT, c.p.NewSpot()}, c.p.NewSpot()
		c.makeTarget(t, dest, dangling)
		c.p.Jump(made)
		c.p.Mark(dangling.at)
		c.makeTarget(t, links, nil)
		c.p.Mark(made)
	} else {
		c.makeTarget(t, dest, nil)
	}
	look()
	c.p.Mark(there)
}

// fromRoot is a clean path from the root on.
func fromRoot(dest string) string {
	if strings.HasPrefix(dest, "/") {
		return path.Clean(dest)
	}
	return path.Clean("/" + dest)
}

// onRoot says whether a destination may be on the root's own mount, so that it
// is worth a try: not where there is no openat2(2) to ask with, and not at or
// below a mount that comes before.
func (c *child) onRoot(dest string) bool {
	if c.x.lacks.openat2 || c.joined {
		return false
	}
	for at := dest; at != "/"; at = path.Dir(at) {
		if c.mounted[at] {
			return false
		}
	}
	return true
}

// mountsOn says that something is mounted at dest from now on, if no link leads
// elsewhere.
func (c *child) mountsOn(dest string) {
	if c.mounted == nil {
		c.mounted = make(map[string]bool, len(c.s.Mounts))
	}
	c.mounted[fromRoot(dest)] = true
}

// resolved is where the root's links lead from dest, as far as they exist.
func (c *child) resolved(t target, dest string) string {
	if c.x.Resolve == nil || t.resolve&unix.RESOLVE_NO_SYMLINKS != 0 {
		return dest
	}
	return fromRoot(c.x.Resolve(dest))
}

// makeTarget makes dest, one component below a descriptor of the last, and
// opens it.
func (c *child) makeTarget(t target, dest string, k *catch) {
	label := t.label + ": make the target"
	parts := strings.Split(strings.Trim(dest, "/"), "/")
	last := len(parts) - 1
	parent := c.root
	for i, name := range parts[:last] {
		c.p.Call(label, unix.SYS_MKDIRAT, parent, name, 0o755).Allow(unix.EEXIST)
		if i > 0 {
			c.closeReg(c.dir)
		}
		k.on(c.inRoot(t.label+": open the target's parent", strings.Join(parts[:i+1], "/"), unix.O_PATH|unix.O_DIRECTORY, t.resolve, c.dir))
		parent = c.dir
	}
	file, made := c.p.NewSpot(), c.p.NewSpot()
	if t.kind == likeMount {
		// The kernel is asked, not the launcher, who may not see the source.
		// EACCES: a directory, but not ours to enter.
		c.p.Call(label, unix.SYS_FCHDIR, c.mount).Catch(unix.ENOTDIR, file).Allow(unix.EACCES)
	}
	if t.kind != fileTarget {
		c.p.Call(label, unix.SYS_MKDIRAT, parent, parts[last], 0o755).Allow(unix.EEXIST)
	}
	if t.kind == likeMount {
		c.p.Jump(made)
	}
	c.p.Mark(file)
	if t.kind != dirTarget {
		c.p.Call(label, unix.SYS_MKNODAT, parent, parts[last], unix.S_IFREG|0o644, 0).Allow(unix.EEXIST)
	}
	c.p.Mark(made)
	if last > 0 {
		c.closeReg(c.dir)
	}
	k.on(c.inRoot(t.opening, dest, unix.O_PATH, t.resolve, c.target))
}

const procSuperMagic = 0x9fa0

// refuseProc stops a mount that an image's links have led into procfs: there
// it could hide what the kernel or an LSM says of a process (CVE-2019-19921,
// CVE-2025-52881).
func (c *child) refuseProc(label, refusal string, r userns.Reg) {
	if c.statfs == nil {
		c.statfs = c.p.Bytes(make([]byte, 256)) // struct statfs; f_type comes first
	}
	c.p.Call(label, unix.SYS_FSTATFS, r, c.statfs)
	c.p.RefuseWord(refusal, c.statfs, procSuperMagic, unix.EXDEV)
}

// attach puts c.mount on c.target and forgets both.
func (c *child) attach(label string) userns.Step {
	s := c.move(label)
	c.closeReg(c.mount)
	c.closeReg(c.target)
	return s
}

func (c *child) move(label string) userns.Step {
	if c.x.lacks.mounts {
		s := c.moveOnto(label, c.numbered(label, c.target, numTarget))
		c.attached()
		return s
	}
	s := c.p.Call(label, unix.SYS_MOVE_MOUNT, c.mount, "", c.target, "",
		unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	c.attached()
	return s
}

func (c *child) closeReg(r userns.Reg) {
	c.p.Call("", unix.SYS_CLOSE, r)
}

// openTree clones a mount, with all below it when recursive.
func (c *child) openTree(label string, dirfd any, name string, recursive bool) {
	if c.x.lacks.mounts {
		c.stageTree(label, dirfd, name, recursive)
		return
	}
	flags := uintptr(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	c.p.Call(label, unix.SYS_OPEN_TREE, dirfd, name, flags).To(c.mount)
}

// setattr changes attributes of c.mount before it is attached.
func (c *child) setattr(label string, set, clr, propagation uint64, recursive bool) {
	if c.x.lacks.setattr {
		c.later(changed{label, set, clr, propagation, recursive})
		return
	}
	c.setattrCall(c.mount, label, set, clr, propagation, recursive)
}

// setattrOf changes attributes of a mount that is attached.
func (c *child) setattrOf(r userns.Reg, label string, set, clr, propagation uint64, recursive bool) {
	if c.x.lacks.setattr {
		c.change(r, changed{label, set, clr, propagation, recursive})
		return
	}
	c.setattrCall(r, label, set, clr, propagation, recursive)
}

func (c *child) setattrCall(r userns.Reg, label string, set, clr, propagation uint64, recursive bool) userns.Step {
	flags := uintptr(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	return c.p.Call(label, unix.SYS_MOUNT_SETATTR, r, "", flags, mountAttr(set, clr, propagation), 32)
}

// mountAttr lays out struct mount_attr.
func mountAttr(set, clr, propagation uint64) []byte {
	b := make([]byte, 32)
	binary.NativeEndian.PutUint64(b, set)
	binary.NativeEndian.PutUint64(b[8:], clr)
	binary.NativeEndian.PutUint64(b[16:], propagation)
	return b
}
