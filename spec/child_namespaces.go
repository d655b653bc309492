package spec

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"coracle/userns"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// namespaceKind is a kind of namespace by its three names.
type namespaceKind struct {
	kind specs.LinuxNamespaceType // runtime-spec config-linux.md#namespaces
	flag uintptr                  // clone(2)
	file string                   // below /proc/PID/ns
}

// namespaceKinds are all there are, in the order in which they are joined.
var namespaceKinds = []namespaceKind{
	{specs.UserNamespace, unix.CLONE_NEWUSER, "user"},
	{specs.PIDNamespace, unix.CLONE_NEWPID, "pid"},
	{specs.NetworkNamespace, unix.CLONE_NEWNET, "net"},
	{specs.IPCNamespace, unix.CLONE_NEWIPC, "ipc"},
	{specs.UTSNamespace, unix.CLONE_NEWUTS, "uts"},
	{specs.CgroupNamespace, unix.CLONE_NEWCGROUP, "cgroup"},
	{specs.TimeNamespace, unix.CLONE_NEWTIME, "time"},
	{specs.MountNamespace, unix.CLONE_NEWNS, "mnt"}, // last: the others' files are named in the old one
}

// namespaces says which namespaces a container gets and where from.
type namespaces struct {
	fresh uintptr // CLONE_NEW* of those made for it
	joins []join  // those joined by path, in the order of namespaceKinds
}

// join is a namespace that exists already.
type join struct {
	namespaceKind
	path string
	open *os.File // nil: not opened yet, for a plan that is only printed
}

// Reports of the child to its launcher, see userns.Program.Report.
const (
	reportUserNS uint32 = iota + 1 // its user namespace wants its maps
	reportMounts                   // all is mounted, and the root not entered yet: time for hooks
)

// planNamespaces reads linux.namespaces.
func planNamespaces(s *specs.Spec) (namespaces, error) {
	var n namespaces
	if s.Linux == nil {
		return n, fmt.Errorf("config.json: linux is missing")
	}
	var seen uintptr
	for i, ns := range s.Linux.Namespaces {
		k := slices.IndexFunc(namespaceKinds, func(k namespaceKind) bool { return k.kind == ns.Type })
		if k < 0 {
			return n, fmt.Errorf("linux.namespaces[%d].type: %q is unknown", i, ns.Type)
		}
		kind := namespaceKinds[k]
		if seen&kind.flag != 0 {
			return n, fmt.Errorf("linux.namespaces[%d].type: %q is there twice", i, ns.Type)
		}
		seen |= kind.flag
		if ns.Path == "" {
			n.fresh |= kind.flag
		} else {
			n.joins = append(n.joins, join{namespaceKind: kind, path: ns.Path})
		}
	}
	slices.SortFunc(n.joins, func(a, b join) int {
		return slices.Index(namespaceKinds, a.namespaceKind) - slices.Index(namespaceKinds, b.namespaceKind)
	})
	return n, nil
}

func (n namespaces) joined(flag uintptr) bool {
	return slices.ContainsFunc(n.joins, func(j join) bool { return j.flag == flag })
}

// has says whether the container has a namespace of this kind that is not
// simply the caller's.
func (n namespaces) has(flag uintptr) bool { return n.fresh&flag != 0 || n.joined(flag) }

// open opens what is joined, checks that it is what the configuration calls it,
// and drops what is the caller's own already: setns(2) refuses one's own user
// namespace, and needs a fork for one's own pid namespace.
func (n *namespaces) open() error {
	kept := n.joins[:0]
	for _, j := range n.joins {
		label := j.label()
		f, err := os.Open(j.path)
		if err != nil {
			return fmt.Errorf("%s: %w", label, err)
		}
		got, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
		if err != nil || uintptr(got) != j.flag {
			f.Close()
			return fmt.Errorf("%s: it is no such namespace", label)
		}
		if j.ours(f) {
			f.Close()
			if j.flag == unix.CLONE_NEWNS {
				return fmt.Errorf("%s: it is the caller's own, and nothing is ever mounted there", label)
			}
			continue
		}
		j.open = f
		kept = append(kept, j)
	}
	n.joins = kept
	return nil
}

func (n *namespaces) close() {
	for _, j := range n.joins {
		if j.open != nil {
			j.open.Close()
		}
	}
}

func (j join) label() string { return fmt.Sprintf("join the %s namespace %s", j.kind, j.path) }

// ours says whether the open namespace is the one that this process is in.
func (j join) ours(f *os.File) bool {
	var a, b unix.Stat_t
	return unix.Stat("/proc/self/ns/"+j.file, &a) == nil && unix.Fstat(int(f.Fd()), &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}

// atOnce says whether one clone(2) makes all namespaces. Else they are entered
// step by step.
func (n namespaces) atOnce() bool { return len(n.joins) == 0 }

// cloneFlags are what clone(2) makes. Time namespaces take unshare(2), and one
// of cgroups would be rooted in the launcher's cgroup.
func (n namespaces) cloneFlags(ownCgroup bool) uintptr {
	if !n.atOnce() {
		return 0
	}
	flags := n.fresh &^ unix.CLONE_NEWTIME
	if ownCgroup {
		flags &^= unix.CLONE_NEWCGROUP
	}
	return flags
}

// enter brings the child into its namespaces and makes it root there.
func (c *child) enter() {
	n := c.ns
	if n.atOnce() {
		c.timeNamespace() // before another user makes our /proc files root's
		c.identity()
		c.unshare(n.fresh &^ c.flags &^ unix.CLONE_NEWTIME)
		c.session()
		return
	}
	// What the caller may join as who it is, now; the rest as root of the
	// container's user namespace: a namespace can be joined by who has
	// CAP_SYS_ADMIN in the user namespace that owns it.
	later := make([]userns.Reg, len(n.joins))
	userJoin := n.fresh&unix.CLONE_NEWUSER != 0 || n.joined(unix.CLONE_NEWUSER)
	for i, j := range n.joins {
		if j.flag == unix.CLONE_NEWUSER || j.flag == unix.CLONE_NEWNS && userJoin {
			continue // the mount namespace last: until then files are named in ours
		}
		later[i] = c.p.NewReg()
		c.setns(j, &later[i], userJoin)
	}
	c.enterUser()
	c.timeNamespace()
	c.identity()
	for i, j := range n.joins {
		switch {
		case j.flag == unix.CLONE_NEWUSER:
		case j.flag == unix.CLONE_NEWNS && userJoin:
			c.setns(j, nil, false)
		case userJoin:
			done := c.p.NewSpot()
			c.p.Need(j.label(), later[i], 1, unix.EEXIST).Catch(unix.EEXIST, done)
			c.setns(j, nil, false)
			c.p.Mark(done)
		}
	}
	c.unshare(n.fresh &^ unix.CLONE_NEWUSER &^ unix.CLONE_NEWTIME)
	if n.has(unix.CLONE_NEWPID) {
		if n.joined(unix.CLONE_NEWPID) {
			// From here on others can see this process, which is still our
			// program: nobody may trace it or open its files.
			c.p.Call("hide from the namespace's processes", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
		}
		c.p.Fork("enter the pid namespace")
	}
	c.session()
}

// setns joins. Where another try may follow, a refusal sets the register to 1.
func (c *child) setns(j join, refused *userns.Reg, again bool) {
	var fd uintptr
	if j.open != nil {
		fd = j.open.Fd()
	}
	step := c.p.Call(j.label(), unix.SYS_SETNS, fd, j.flag)
	if refused == nil {
		return
	}
	step.To(*refused) // 0
	if !again {
		return
	}
	denied, done := c.p.NewSpot(), c.p.NewSpot()
	step.Catch(unix.EPERM, denied)
	c.p.Jump(done)
	c.p.Mark(denied)
	c.p.Set(*refused, 1)
	c.p.Mark(done)
}

// enterUser joins or makes the user namespace, where there is one to enter.
func (c *child) enterUser() {
	for _, j := range c.ns.joins {
		if j.flag == unix.CLONE_NEWUSER {
			c.p.Call("hide from the namespace's processes", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
			c.setns(j, nil, false)
		}
	}
	if c.ns.fresh&unix.CLONE_NEWUSER != 0 {
		c.p.Call("make a user namespace", unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
		c.p.Report("ask for id maps", reportUserNS)
		c.p.AwaitLauncher()
	}
}

func (c *child) unshare(flags uintptr) {
	if flags == 0 {
		return
	}
	var names []string
	for _, k := range namespaceKinds {
		if flags&k.flag != 0 {
			names = append(names, string(k.kind))
		}
	}
	c.p.Call("make namespaces ("+strings.Join(names, ", ")+")", unix.SYS_UNSHARE, flags)
}

// timeNamespace makes a time namespace and enters it: its offsets can be set
// only while nobody is in it (time_namespaces(7)).
func (c *child) timeNamespace() {
	if c.ns.fresh&unix.CLONE_NEWTIME == 0 {
		return
	}
	c.p.Call("make a time namespace", unix.SYS_UNSHARE, unix.CLONE_NEWTIME)
	var text strings.Builder
	for _, clock := range sortedKeys(c.s.Linux.TimeOffsets) {
		o := c.s.Linux.TimeOffsets[clock]
		fmt.Fprintf(&text, "%s %d %d\n", clock, o.Secs, o.Nanosecs)
	}
	if text.Len() > 0 {
		const label = "set the time offsets"
		c.p.Call(label, unix.SYS_OPENAT, atFDCWD, "/proc/self/timens_offsets", unix.O_WRONLY|unix.O_CLOEXEC, 0).To(c.tmp)
		c.p.Call(label, unix.SYS_WRITE, c.tmp, []byte(text.String()), uintptr(text.Len()))
		c.closeReg(c.tmp)
	}
	const label = "enter the time namespace"
	c.p.Call(label, unix.SYS_OPENAT, atFDCWD, "/proc/self/ns/time_for_children", unix.O_RDONLY|unix.O_CLOEXEC, 0).To(c.tmp)
	c.p.Call(label, unix.SYS_SETNS, c.tmp, unix.CLONE_NEWTIME)
	c.closeReg(c.tmp)
}

// identity makes the child root of its user namespace. Until then it has all
// capabilities there, but whatever it created would belong to the caller's id.
func (c *child) identity() {
	if l := c.s.Linux; c.ns.fresh&unix.CLONE_NEWUSER == 0 || mapsZero(l.GIDMappings) {
		c.p.Call("become group 0", unix.SYS_SETRESGID, 0, 0, 0)
	}
	if l := c.s.Linux; c.ns.fresh&unix.CLONE_NEWUSER == 0 || mapsZero(l.UIDMappings) {
		c.p.Call("become user 0", unix.SYS_SETRESUID, 0, 0, 0)
	}
}

// mapsZero says whether the maps have an id 0; maps that are not in the
// configuration are ours, and do.
func mapsZero(maps []specs.LinuxIDMapping) bool {
	return len(maps) == 0 || slices.ContainsFunc(maps, func(m specs.LinuxIDMapping) bool { return m.ContainerID == 0 })
}

func (c *child) session() {
	c.p.Call("start a session", unix.SYS_SETSID)
	c.p.Call("set the umask to 0", unix.SYS_UMASK, 0)
}
