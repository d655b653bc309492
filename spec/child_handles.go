package spec

import (
	"cmp"
	"fmt"
	"path"
	"strings"

	"coracle/fuse"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// firstHandle is the number of the first handle unless Start finds another
// run of free numbers.
const firstHandle = 64

// ownHandles are free numbers below the handles. Descriptors that are opened
// until the child is done, its pipes among them, get the lowest: were those of a
// handle, the handle would close them.
const ownHandles = 18

// freeHandles finds n descriptor numbers that nothing in this process has, for
// the child, which inherits ours: overlay takes paths, so the numbers must be
// known beforehand.
func freeHandles(n int) (int, error) {
	var lim unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &lim); err != nil {
		return 0, fmt.Errorf("read the limit on descriptors: %w", err)
	}
	own, run := 0, 0
	for fd := 3; uint64(fd) < lim.Cur; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			run = 0
		} else if own < ownHandles {
			own++
		} else if run++; run == n {
			return fd - n + 1, nil
		}
	}
	return 0, fmt.Errorf("find %d free descriptors: %w", n, unix.EMFILE)
}

// handleCount is how many handles a container may need.
func handleCount(s *specs.Spec, r *fuse.Rootfs) int {
	n := 4 + len(s.Mounts)
	if r != nil {
		n += 2 + len(r.Params)
	}
	return n
}

// openHandles opens what the child cannot reach later (Extra.Handles): it
// still has the caller's id. It has to be the child who opens them: a mount of
// another mount namespace is no source for a bind or an overlay.
func (c *child) openHandles() {
	if !c.x.Handles {
		return
	}
	c.handles = make(map[string]int)
	c.openHandle(c.x.hostPath(c.s.Root.Path))
	if r := c.x.Root; r != nil {
		if r.Scratch != nil {
			c.openHandle(r.Scratch.Target)
		}
		for _, p := range r.Params {
			if layerParam(p.Key) {
				c.openHandle(layerPath(r.Dir, p))
			}
		}
		if r.Kind == fuse.Bind || r.Kind == fuse.Copy {
			c.openHandle(r.Source)
		}
	}
	for _, m := range c.s.Mounts {
		if o := parseMountOpts(m.Options); isBind(&m, &o) && !o.remount && !o.idmap && !o.ridmap && c.x.Trees[m.Destination] == nil {
			c.openHandle(c.x.hostPath(m.Source))
		}
	}
}

// layerPath is the directory that a parameter of an overlay names. Upper and
// work have their backslashes doubled, for the kernel (fuse.Rootfs.Params).
func layerPath(dir string, p fuse.Param) string {
	name := p.Value
	if p.Key == "upperdir" || p.Key == "workdir" {
		name = strings.ReplaceAll(name, `\\`, `\`)
	}
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
	fd := cmp.Or(c.x.handleBase, firstHandle) + len(c.handles)
	c.handles[name] = fd
	c.p.Call("open "+name, unix.SYS_OPENAT, atFDCWD, name, unix.O_PATH|unix.O_CLOEXEC, 0).To(c.tmp)
	placed := c.p.NewSpot()
	c.p.Call("open "+name, unix.SYS_DUP3, c.tmp, fd, unix.O_CLOEXEC).Catch(unix.EINVAL, placed) // it has the number already
	c.closeReg(c.tmp)
	c.p.Mark(placed)
}

// hostPath is a path of config.json on the host.
func (x *Extra) hostPath(name string) string {
	if path.IsAbs(name) {
		return name
	}
	return path.Join(x.Bundle, name)
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
