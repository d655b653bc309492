package spec

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"coracle/userns"

	"golang.org/x/sys/unix"
)

// changed is a change of a mount's attributes that waits until it is attached:
// without mount_setattr(2), from Linux 5.12, only then it can be changed.
type changed struct {
	label         string
	set, clr, how uint64
	recursive     bool
}

var errNoSetattr = errors.New("attributes of all mounts below take mount_setattr(2), from Linux 5.12")

// later keeps a change of c.mount for attached. One that is staged is attached
// already.
func (c *child) later(ch changed) {
	if ch.recursive && ch.set|ch.clr != 0 && !strings.HasSuffix(ch.label, readonlySuffix) {
		c.fail(fmt.Errorf("%s: %w; this is %s", ch.label, errNoSetattr, release()))
	}
	if c.x.lacks.mounts {
		c.change(c.mount, ch)
		return
	}
	c.waiting = append(c.waiting, ch)
}

// attached carries out what was kept for the mount in c.mount.
func (c *child) attached() {
	for _, ch := range c.waiting {
		c.change(c.mount, ch)
	}
	c.waiting = nil
}

// change is mount_setattr(2) by mount(2), which takes a path, and all flags
// anew: those that the mount has are read first, so that none is lost.
func (c *child) change(r userns.Reg, ch changed) {
	c.remount(ch, c.numbered(ch.label, r, numChanged), r)
}

// changeBelow changes what is mounted below a bind's source, one after the
// other, by the list that the launcher has read.
func (c *child) changeBelow(label, source, dest string, set, clr uint64) {
	source, err := filepath.EvalSymlinks(c.x.hostPath(source))
	if err != nil {
		c.fail(fmt.Errorf("%s: look for mounts below: %w", label, err))
		return
	}
	for _, point := range c.x.mountPoints {
		below, ok := strings.CutPrefix(point, strings.TrimSuffix(source, "/")+"/")
		if !ok || below == "" {
			continue
		}
		hidden := c.p.NewSpot() // by another mount, or not cloned at all
		c.inRoot(label, path.Join(dest, below), unix.O_PATH, 0, c.target).Catch(unix.ENOENT, hidden)
		c.change(c.target, changed{label: label + ": " + below, set: set, clr: clr})
		c.closeReg(c.target)
		c.p.Mark(hidden)
	}
}

// mountPoints are those of this process's mount namespace.
func mountPoints() ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list the mounts: %w", err)
	}
	var points []string
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 4 {
			points = append(points, unescape.Replace(f[4]))
		}
	}
	return points, nil
}

// sameFlags are those that statfs(2) and mount(2) have in common; times stay as
// they are.
const sameFlags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// attributes reads those of a mount, as struct statfs.
func (c *child) attributes(label string, r userns.Reg) []byte {
	st := c.p.Bytes(make([]byte, 256))
	c.p.Call(label, unix.SYS_FSTATFS, r, st)
	return st
}

func (c *child) remount(ch changed, name string, r userns.Reg) {
	if ch.set|ch.clr != 0 {
		c.p.Peek(c.attributes(ch.label, r)[statfsFlags:], c.tmp)
		c.p.Blend(c.tmp, sameFlags&^mountFlags(ch.clr&^unix.MOUNT_ATTR__ATIME), mountFlags(ch.set)|unix.MS_REMOUNT|unix.MS_BIND)
		c.p.Call(ch.label, unix.SYS_MOUNT, "none", name, 0, c.tmp, 0)
	}
	if ch.how != 0 {
		how := uintptr(ch.how)
		if ch.recursive {
			how |= unix.MS_REC
		}
		c.p.Call(ch.label, unix.SYS_MOUNT, "none", name, 0, how, 0)
	}
}
