package sandbox

import (
	"path"
	"strings"

	"coracle/internal/denial"
	"coracle/spec/seccomp"

	"golang.org/x/sys/unix"
)

// Witness is what Judge asks of the host. Names are absolute.
type Witness interface {
	Real(name string) (string, error) // without links
	Socket(name string) bool          // whether a socket has that very name
	Writable(name string) bool        // whether the caller may write to it
}

// Judge says what becomes of an access: false where nothing of the sandbox's stands
// against it. It knows the plan, not the kernel's answer.
func (pl *Plan) Judge(a denial.Access, host Witness) (denial.Denial, bool) {
	d := denial.Denial{Kind: denial.Path, What: a.Path, Action: a.Action, Count: 1}
	if a.Reopened {
		return d, pl.judgeReopened(&d, a)
	}
	if inOwn(a.Path) {
		return d, false
	}
	if a.Action == denial.Connect {
		return d, pl.judgeSocket(&d, a, host)
	}
	if m := pl.maskOver(a.Path); m != nil {
		pl.hiddenBy(&d, m.Why, host)
		return d, true
	}
	switch a.Action {
	case denial.Write, denial.Remove:
		return d, pl.judgeWrite(&d, a, host)
	}
	return d, !a.Exists && pl.judgeMissing(&d, a.Path, host)
}

// inOwn says whether a path is of what the sandbox has of its own, whatever the host has.
func inOwn(name string) bool {
	for _, own := range []string{"/proc", "/dev", "/sys"} {
		if name == own || below(name, own) {
			return true
		}
	}
	return false
}

// over is the place that a path is in; nil: the root's.
func (pl *Plan) over(name string) *Place {
	var found *Place
	for i := range pl.Places {
		if at := &pl.Places[i]; (at.Path == name || below(name, at.Path)) && (found == nil || len(at.Path) > len(found.Path)) {
			found = at
		}
	}
	return found
}

func (pl *Plan) maskOver(name string) *Mask {
	for i := range pl.Masked {
		if m := &pl.Masked[i]; m.Path == name || below(name, m.Path) {
			return m
		}
	}
	return nil
}

// empties says whether a place shows nothing of what the host has there.
func (pl *Plan) empties(at *Place) bool {
	if at == nil {
		return pl.Root != HostRoot
	}
	return at.Kind == KindTmpfs
}

// judgeMissing is for what is not there: the host may have it.
func (pl *Plan) judgeMissing(d *denial.Denial, name string, host Witness) bool {
	real, err := host.Real(name)
	if err != nil {
		return false
	}
	if m := pl.maskOver(real); m != nil {
		d.What = real
		pl.hiddenBy(d, m.Why, host)
		return true
	}
	at := pl.over(real)
	if !pl.empties(at) {
		if at, real = pl.over(name), name; !pl.empties(at) {
			return false // it was deleted, in a layer
		}
	}
	d.What = real
	why := "the root has only what is named"
	if at != nil {
		if why = at.Why; at.Flag != "" {
			why = at.Flag
		}
	}
	pl.hiddenBy(d, why, host)
	return true
}

// hiddenBy fills in what is said of a path that is hidden.
func (pl *Plan) hiddenBy(d *denial.Denial, why string, host Witness) {
	d.Wall, d.Why = denial.Hidden, "it is hidden: "+why
	flag := "--ro "
	if d.Action == denial.Write || d.Action == denial.Remove {
		flag = "--rw "
	}
	d.Flag = flag + denial.Word(d.What)
	switch {
	case strings.HasPrefix(why, "--"):
		d.Flag, d.Why = "", "it is hidden by "+why+", which was asked for"
	case host.Socket(d.What):
		d.Kind, d.Wall, d.Why, d.Flag = denial.Socket, denial.Sockets, "the host's sockets are hidden", "--allow-unix "+denial.Word(d.What)
	case pl.Credential(d.What):
		d.Wall, d.Why = denial.Credentials, "keys, tokens and histories are hidden"
	case why == rootsOwn:
		d.Wall, d.Why = denial.Credentials, "what only root may read is hidden"
	}
	d.Danger = pl.Danger(*d)
}

func (pl *Plan) judgeWrite(d *denial.Denial, a denial.Access, host Witness) bool {
	at := pl.over(a.Path)
	switch {
	case a.Create && a.Exists, a.Action == denial.Remove && !a.Exists:
		return a.Action == denial.Remove && pl.judgeMissing(d, a.Path, host)
	case at != nil && (at.Kind == KindRW || at.Kind == KindOverlay):
		return false
	case pl.empties(at) && (at != nil || pl.Root == NoRoot):
		if a.Parent || a.Exists {
			return false // it is in memory
		}
		return pl.judgeMissing(d, path.Dir(a.Path), host)
	case !a.Exists && !a.Parent:
		return false
	}
	target := a.Path
	if !a.Exists || a.Action == denial.Remove {
		target = path.Dir(a.Path)
	}
	if source := pl.source(target); source == "" || !host.Writable(source) {
		return false // the host itself would have refused it
	}
	d.Wall, d.Why, d.Flag = denial.ReadOnly, "the host's files cannot be changed", "--rw "+denial.Word(target)
	if at != nil && at.Why == "other programs execute it later" {
		d.Wall, d.Why = denial.Protected, "other programs execute it later"
	} else if at != nil && at.Flag != "" {
		if d.Why = at.Flag + " shows it read-only"; strings.HasPrefix(at.Flag, "--cwd ") {
			d.Flag = "--cwd overlay"
		}
	}
	d.Danger = pl.Danger(*d)
	return true
}

// source is where on the host a path comes from; "" where it comes from nowhere.
func (pl *Plan) source(name string) string {
	at := pl.over(name)
	switch {
	case at != nil && at.Source != "":
		return path.Join(at.Source, strings.TrimPrefix(name, at.Path))
	case at != nil || pl.Root == NoRoot:
		return ""
	case pl.Root == HostRoot:
		return name
	}
	return path.Join(pl.Root, name)
}

// judgeReopened is for a standard stream, or another descriptor, that is opened anew for
// writing: Landlock refuses it where the file is none that may be written to.
func (pl *Plan) judgeReopened(d *denial.Denial, a denial.Access) bool {
	if a.Action != denial.Write || pl.facts.Landlock < leastLandlock || inOwn(a.Path) {
		return false
	}
	for _, at := range pl.Places {
		if (at.Kind == KindRW || at.Kind == KindOverlay || at.Kind == KindTmpfs) && (at.Path == a.Path || below(a.Path, at.Path)) {
			return false
		}
	}
	d.Wall, d.Why = denial.Landlock, "a descriptor can be used as it was opened, and not be opened anew for writing"
	d.Flag = "--rw " + denial.Word(a.Path)
	d.Danger = pl.Danger(*d)
	return true
}

func (pl *Plan) judgeSocket(d *denial.Denial, a denial.Access, host Witness) bool {
	d.Kind = denial.Socket
	real, err := host.Real(a.Path)
	if err != nil || !host.Socket(real) {
		return false
	}
	at := pl.over(real)
	if a.Exists && pl.maskOver(real) == nil && (at == nil && pl.Root == HostRoot || at != nil && (at.Kind == KindRW || at.Kind == KindRO)) {
		return false // nothing stands against it
	}
	d.What, d.Wall, d.Why, d.Flag = real, denial.Sockets, "the host's sockets cannot be connected to", "--allow-unix "+denial.Word(real)
	d.Danger = pl.Danger(*d)
	return true
}

// Credential says whether a path is one of those that hold keys and tokens, or in one.
func (pl *Plan) Credential(name string) bool {
	for _, home := range pl.Homes {
		for _, c := range credentials() {
			if full := path.Join(home, c); full == name || below(name, full) {
				return true
			}
		}
	}
	return false
}

// HoldsCredentials says whether some of them may be below a directory.
func (pl *Plan) HoldsCredentials(dir string) bool {
	for _, home := range pl.Homes {
		for _, c := range credentials() {
			if below(path.Join(home, c), dir) {
				return true
			}
		}
	}
	return false
}

// Danger is why a denial's flag is to be thought about twice.
func (pl *Plan) Danger(d denial.Denial) string {
	writes := strings.HasPrefix(d.Flag, "--rw ")
	switch {
	case d.Flag == "":
		return ""
	case d.Kind == denial.Socket:
		return "who listens there does what it is asked outside of the sandbox: docker's, a session bus or an agent of keys is as good as no sandbox"
	case pl.Credential(d.What):
		return "it would have your keys or tokens"
	case d.Wall == denial.Credentials:
		return "only root may read it, and for good reason"
	case Secretive(d.What):
		return "its name says that it may be a secret"
	case d.Wall == denial.Hidden && ofServices(d.What):
		return "services and sessions keep tokens and keys there, too"
	case d.Wall == denial.Protected, writes && executed(d.What, pl.Homes):
		return "other programs execute what it writes there"
	case writes:
		return "it changes the host's files, which no review comes before"
	}
	return ""
}

// executed says whether a path is one of those that other programs execute later.
func executed(name string, homes []string) bool {
	for _, home := range homes {
		for _, e := range executedLater() {
			if full := path.Join(home, e); full == name || below(name, full) || below(full, name) && name != home {
				return true
			}
		}
	}
	return strings.Contains(name+"/", "/.git/hooks/") || strings.HasSuffix(name, "/.git/config")
}

// JudgeCall puts a system call that the filter refuses into words.
func JudgeCall(c seccomp.Data, native bool, profile string) denial.Denial {
	name := seccomp.Name(c.Nr)
	why := "the sandbox's system call filter refuses it"
	kind := ""
	if !native {
		name, kind = seccomp.Name386(c), " of 32 bits"
	}
	if name == "" {
		name, kind = "a call without a name", ""
		if !native {
			why = "it is a call of another kind of machine"
		}
	}
	if profile != "" {
		why = profile + " refuses it"
	}
	d := denial.Denial{Kind: denial.Syscall, What: name + argument(name, c.Args) + kind, Action: denial.Call, Wall: denial.Seccomp, Why: why, Count: 1}
	d.Flag, d.Danger = "--seccomp FILE", "a filter of your own takes the place of the sandbox's: more of the kernel can be attacked"
	if more := reason(name); more != "" && profile == "" {
		d.Why += ": " + more
	}
	if noFlag(name) {
		d.Flag, d.Danger = "", ""
	}
	if profile == "" && passesPorts(name, c.Args) {
		d.Why, d.Flag, d.Danger = "with --loopback deny: no rule for ports of Landlock's would hold it", "--loopback allow", openLoopback
	}
	return d
}

// argument is what of a call's arguments decides, in words.
func argument(name string, args [6]uint64) string {
	word := func(value uint64, names map[uint64]string) string {
		if s := names[value&(1<<32-1)]; s != "" {
			return " " + s
		}
		return ""
	}
	switch name {
	case "socket":
		return word(args[0], map[uint64]string{unix.AF_NETLINK: "AF_NETLINK", unix.AF_PACKET: "AF_PACKET", unix.AF_ALG: "AF_ALG", unix.AF_VSOCK: "AF_VSOCK", unix.AF_BLUETOOTH: "AF_BLUETOOTH", unix.AF_KEY: "AF_KEY", unix.AF_XDP: "AF_XDP"})
	case "ioctl":
		return word(args[1], map[uint64]string{unix.TIOCSTI: "TIOCSTI", unix.TIOCLINUX: "TIOCLINUX", unix.TIOCSETD: "TIOCSETD"})
	}
	return ""
}

// reason is the short form of docs/security.md's table.
func reason(name string) string {
	switch name {
	case "unshare", "setns", "clone", "mount", "umount2", "pivot_root", "fsopen", "fsmount", "move_mount", "open_tree", "mount_setattr", "chroot":
		return "nested namespaces and mounts are the way to most of the kernel's bugs"
	case "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key", "request_key", "open_by_handle_at", "kexec_load", "init_module", "finit_module":
		return "it is large and privileged by nature, or leads around the filter"
	case "socket":
		return "parsers in the kernel that programs do not need"
	case "socketcall":
		return "the kind of socket is in memory, where a filter does not see it"
	case "ioctl":
		return "it types into a terminal"
	case "personality":
		return "it makes addresses predictable"
	}
	return ""
}

// noFlag are calls that take a capability, which is gone whatever the filter says.
func noFlag(name string) bool {
	switch name {
	case "mount", "umount2", "pivot_root", "setns", "chroot", "bpf", "open_by_handle_at", "kexec_load", "init_module", "finit_module", "delete_module", "reboot",
		"settimeofday", "clock_settime", "adjtimex", "clock_adjtime", "setgroups", "swapon", "swapoff", "acct", "quotactl", "mount_setattr", "fsopen", "fsmount", "move_mount", "fanotify_init", "sethostname", "setdomainname":
		return true
	}
	return false
}

// passesPorts says whether a call that was refused is one of those that PlainSockets of
// spec/seccomp refuses.
func passesPorts(name string, args [6]uint64) bool {
	switch name {
	case "sendto", "sendmsg", "sendmmsg":
		return true
	case "socket":
		family := args[0] & (1<<32 - 1)
		return family == unix.AF_INET || family == unix.AF_INET6
	case "socketcall":
		return args[0]&(1<<32-1) != 1 // SYS_SOCKET is refused anyway
	}
	return false
}
