package cgroupv2

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const subtreeControl = "cgroup.subtree_control"

// enable gives the children of dir the controllers that the files need.
func (m *maker) enable(dir string, files []File) error {
	return m.tree.fieldOf(m.enableIn(dir, controllers(files)), files)
}

// enableIn goes up as far as controllers are missing: they come from the top.
func (m *maker) enableIn(dir string, want []string) error {
	missing := without(want, strings.Fields(readIn(dir, subtreeControl)))
	if len(missing) == 0 {
		return nil
	}
	if above := without(missing, strings.Fields(readIn(dir, "cgroup.controllers"))); len(above) > 0 {
		if dir == m.tree.Mount {
			return &enableError{dir: dir, names: above, v1: len(without(above, m.tree.V1)) == 0}
		}
		if err := m.enableIn(filepath.Dir(dir), above); err != nil {
			return err
		}
	}
	on := "+" + strings.Join(missing, " +")
	if err := writeControl(m.sys, dir, on); err != nil {
		return &enableError{dir: dir, names: missing, err: err}
	}
	m.enabled = append(m.enabled, struct{ dir, on string }{dir, on})
	return nil
}

func writeControl(sys kernel, dir, value string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return sys.write(f, subtreeControl, value)
}

func without(names, taken []string) []string {
	var left []string
	for _, n := range names {
		if !slices.Contains(taken, n) {
			left = append(left, n)
		}
	}
	return left
}

// enableError is a controller that cannot be had below dir.
type enableError struct {
	dir   string
	names []string
	v1    bool  // version 1 hierarchies hold them all
	err   error // of the write to cgroup.subtree_control; nil where dir has no such controller
}

// field is what asks for it first.
func (e *enableError) field(files []File) string {
	for _, f := range files {
		if slices.Contains(e.names, f.Controller()) {
			return f.Field
		}
	}
	return files[0].Field
}

func (e *enableError) Error() string {
	what, is, belongs := "the controller "+strings.Join(e.names, ", "), " is", " belongs"
	if len(e.names) > 1 {
		what, is, belongs = "the controllers "+strings.Join(e.names, ", "), " are", " belong"
	}
	switch {
	case e.v1:
		return what + belongs + " to a cgroup v1 hierarchy on this machine"
	case e.err == nil:
		return what + is + " not in the tree at " + e.dir
	case errors.Is(e.err, unix.EBUSY):
		return what + " cannot be given to children of " + e.dir + ", for processes run in it (cgroup v2 allows them in leaves only)"
	case errors.Is(e.err, unix.EOPNOTSUPP):
		return what + " cannot be enabled in " + e.dir + ", which is threaded"
	case errors.Is(e.err, os.ErrPermission), errors.Is(e.err, unix.EROFS):
		return what + is + " not delegated below " + e.dir
	}
	return what + " cannot be enabled in " + e.dir
}

// lacking says why there is no place at all.
func (t Tree) lacking() string {
	switch t.Layout {
	case Absent:
		return "no cgroup v2 tree is mounted"
	case Legacy:
		return "this machine has cgroup v1 hierarchies only, and coracle uses version 2"
	}
	return fmt.Sprintf("our own cgroup, %s, is not in the tree at %s", t.Own, t.Mount)
}

// host is what the advice depends on.
type host struct {
	uid     int
	name    string // for loginctl
	systemd bool   // runs the machine
	manager bool   // the user's own is there
}

func currentHost() host {
	h := host{uid: os.Geteuid(), name: "$USER"}
	if u, err := user.Current(); err == nil {
		h.name = u.Username
	}
	_, err := os.Stat("/run/systemd/system")
	h.systemd = err == nil
	_, err = os.Stat(fmt.Sprintf("/run/user/%d/systemd", h.uid))
	h.manager = err == nil
	return h
}

// hint says what to type so that the limit can be had. e is nil when not even
// a directory could be made.
func (t Tree) hint(h host, e *enableError) string {
	switch {
	case t.Layout == Absent && h.uid == 0:
		return "mount -t cgroup2 none /sys/fs/cgroup"
	case t.Layout == Absent, t.Layout == Legacy, e != nil && e.v1:
		return "boot with systemd.unified_cgroup_hierarchy=1 (without systemd: cgroup_no_v1=all), or start without limits"
	case e != nil && errors.Is(e.err, unix.EBUSY) && h.systemd:
		return "start coracle in a scope of its own: systemd-run --user --scope -p Delegate=yes coracle …"
	case e != nil && errors.Is(e.err, unix.EBUSY):
		return fmt.Sprintf("move the processes of %s into a child of it first: mkdir %[1]s/leaf && for p in $(cat %[1]s/cgroup.procs); do echo $p > %[1]s/leaf/cgroup.procs; done", e.dir)
	case h.uid != 0 && h.systemd && e != nil:
		return fmt.Sprintf("delegated here: %s; for all: printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | sudo install -D -m 644 /dev/stdin /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload, then log in again", list(t.Offered))
	case h.uid != 0 && h.systemd && !h.manager:
		return "sudo loginctl enable-linger " + h.name + ", then use --systemd-cgroup (engine: --cgroup-manager auto)"
	case h.uid != 0 && h.systemd:
		return "use --systemd-cgroup (engine: --cgroup-manager auto), or start coracle in a scope of its own: systemd-run --user --scope -p Delegate=yes coracle …"
	case t.ReadOnly:
		return "have the outer container mount " + t.Mount + " writable"
	case h.uid != 0 && t.OwnDir != "" && e == nil:
		return fmt.Sprintf("have a cgroup delegated: as root, mkdir %[1]s/%[2]s && chown -R %[2]s %[1]s/%[2]s, and start coracle in a child of it", t.OwnDir, h.name)
	}
	return "start without limits"
}

func list(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, " ")
}
