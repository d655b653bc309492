package spec

import (
	"fmt"
	"path"

	"coracle/fuse"

	"golang.org/x/sys/unix"
)

// firstHandle is the number of the first handle; the child has few other
// descriptors, with low numbers.
const firstHandle = 400

// openHandles opens what the child cannot reach later (Extra.Handles): it
// still has the caller's id. It has to be the child who opens them: a mount of
// another mount namespace is no source for a bind or an overlay.
func (c *child) openHandles() {
	if !c.x.Handles {
		return
	}
	c.handles = make(map[string]int)
	c.openHandle(c.s.Root.Path)
	if r := c.x.Root; r != nil {
		if r.Scratch != nil {
			c.openHandle(r.Scratch.Target)
		}
		for _, p := range r.Params {
			if layerParam(p.Key) {
				c.openHandle(absolute(r.Dir, p.Value))
			}
		}
		if r.Kind == fuse.Bind || r.Kind == fuse.Copy {
			c.openHandle(r.Source)
		}
	}
	for _, m := range c.s.Mounts {
		if o := parseMountOpts(m.Options); o.bind || o.rbind || m.Type == "bind" {
			c.openHandle(m.Source)
		}
	}
}

// absolute is name as seen from dir.
func absolute(dir, name string) string {
	if path.IsAbs(name) {
		return name
	}
	return path.Join(dir, name)
}

func layerParam(key string) bool {
	switch key {
	case "lowerdir+", "datadir+", "upperdir", "workdir":
		return true
	}
	return false
}

func (c *child) openHandle(name string) {
	if _, done := c.handles[name]; done {
		return
	}
	fd := firstHandle + len(c.handles)
	c.handles[name] = fd
	c.p.Call("open "+name, unix.SYS_OPENAT, atFDCWD, name, unix.O_PATH|unix.O_CLOEXEC, 0).To(c.tmp)
	c.p.Call("open "+name, unix.SYS_DUP3, c.tmp, fd, unix.O_CLOEXEC)
	c.closeReg(c.tmp)
}

// source names a file of the host for a call that takes a directory
// descriptor and a name.
func (c *child) source(name string) (dirfd any, rest string) {
	if fd, ok := c.handles[name]; ok {
		return fd, ""
	}
	return atFDCWD, name
}

// sourcePath is source for a call that takes only a path.
func (c *child) sourcePath(name string) string {
	if fd, ok := c.handles[name]; ok {
		return fmt.Sprintf("/proc/self/fd/%d", fd)
	}
	return name
}
