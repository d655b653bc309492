package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"coracle/fuse"
	"coracle/spec"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// doctorFacts is what the checks judge. An error field is nil when the thing
// works.
type doctorFacts struct {
	id        userns.Identity
	idErr     error
	report    userns.Report
	reportErr error
	host      userns.Facts
	ids       userns.Resolved
	probe     error // user namespace with the caller's own id
	maps      error // user namespace with the default map
	spaces    error // the other namespaces, and /proc and /sys in them

	root, runRoot string
	store         error
	filesystem    filesystemFacts
	driver        string // how the root of a container is mounted
	driverNotice  string
	driverHint    string
	driverErr     error
	overlay       fuse.Facts

	fuse, tun error // opening the device
	ping      error // making a socket for pings
	cgroup    cgroupFacts
	unlimited []string // why default limits cannot be had
	limits    error
	runtime   error  // the runtime directory
	xdg       string // XDG_RUNTIME_DIR
	systemd   bool   // is the init of this machine
	lingering bool

	kernel   string   // release
	lacks    []string // system calls, spec.MissingCalls
	seccomp  error    // filters
	apparmor bool
	landlock int // ABI version, 0: none
	programs map[string]string
}

// filesystemFacts is statfs(2) of the store.
type filesystemFacts struct {
	err                   error
	kind                  string // "ext4", or the number of an unknown one
	free, total           uint64 // bytes that the caller may use
	freeInodes, allInodes uint64 // 0 0 where inodes are not counted
	network               bool
}

// cgroupFacts is our place in the cgroup v2 hierarchy.
type cgroupFacts struct {
	version     int    // 2, 1 (also for hybrid), 0 where there is none
	path        string // directory that may be ours
	writable    bool
	controllers []string
}

func (e *Engine) doctorFacts(ctx context.Context) doctorFacts {
	f := doctorFacts{root: e.root, runRoot: e.runRoot, host: userns.HostFacts(), xdg: os.Getenv("XDG_RUNTIME_DIR")}
	if f.id, f.idErr = e.caller(); f.idErr == nil {
		f.report, f.reportErr = userns.Inspect(ctx, f.id)
		f.ids, f.maps = userns.Resolve(ctx, f.id, userns.Request{})
	}
	f.probe = userns.Probe(ctx)
	if f.probe == nil {
		if f.idErr == nil && f.maps == nil {
			f.maps = userns.TryMap(ctx, f.ids.Map)
		}
		f.spaces = tryNamespaces(ctx)
	}
	f.runtime = e.makeRunRoot()
	_, f.store = e.store()
	f.filesystem = statFilesystem(e.root)
	if f.store == nil && f.probe == nil {
		e.storageFacts(ctx, &f)
	}
	f.fuse, f.tun = tryDevice("/dev/fuse"), tryDevice("/dev/net/tun")
	f.ping = tryPing()
	f.cgroup = readCgroup(f.host.UID)
	f.unlimited, f.limits = e.defaultLimits()
	_, err := os.Stat("/run/systemd/system")
	f.systemd = err == nil
	_, err = os.Stat("/var/lib/systemd/linger/" + f.id.Name)
	f.lingering = err == nil && f.id.Name != ""
	kernelFacts(&f)
	f.programs = map[string]string{}
	for _, p := range helperPrograms() {
		if path, err := lookProgram(p.name); err == nil {
			f.programs[p.name] = path
		}
	}
	return f
}

// lookProgram also looks where an ordinary user's PATH does not on Debian, and
// criu is.
func lookProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(filepath.Join(dir, name))
	}
	return path, err
}

// storageFacts asks the same function that a start asks, about one empty
// layer.
func (e *Engine) storageFacts(ctx context.Context, f *doctorFacts) {
	dir, err := os.MkdirTemp(filepath.Join(e.root, "tmp"), "doctor-")
	if err != nil {
		f.driverErr = err
		return
	}
	defer os.RemoveAll(dir)
	sub := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Mkdir(sub("lower"), 0o755); err != nil {
		f.driverErr = err
		return
	}
	root, err := fuse.Choose(ctx, fuse.Request{
		LayersDir: dir, Lowers: []string{sub("lower")}, Upper: sub("upper"), Work: sub("work"),
		Driver: e.driver, Copy: sub("copy"), Cache: e.runRoot,
	})
	if err != nil {
		f.driverErr = err
		return
	}
	f.driver, f.driverNotice, f.driverHint = root.Driver, root.Notice, root.Hint
	// Answered from the cache of the question before; where it is not, the
	// overlay does not work, and that says more than this could.
	if facts, err := fuse.Probe(ctx, fuse.ProbeRequest{Dir: dir, Cache: e.runRoot}); err == nil {
		f.overlay = facts
	}
}

func tryDevice(name string) error {
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	return unix.Close(fd)
}

// tryNamespaces makes every namespace that a container has, and the mounts
// that the kernel checks against our own view of /proc and /sys.
func tryNamespaces(ctx context.Context) error {
	kinds := []struct {
		name string
		flag uintptr
	}{
		{"mount", unix.CLONE_NEWNS}, {"pid", unix.CLONE_NEWPID}, {"network", unix.CLONE_NEWNET},
		{"ipc", unix.CLONE_NEWIPC}, {"uts", unix.CLONE_NEWUTS}, {"cgroup", unix.CLONE_NEWCGROUP},
	}
	var all uintptr
	for _, k := range kinds {
		all |= k.flag
	}
	err := tryProgram(ctx, all, func(p *userns.Program) {
		p.Call("keep mounts to ourselves", unix.SYS_MOUNT, "none", "/", "", uintptr(unix.MS_REC|unix.MS_PRIVATE), []byte(nil))
		p.Call("mount a new /proc", unix.SYS_MOUNT, "proc", "/proc", "proc", 0, []byte(nil))
		p.Call("mount a new /sys", unix.SYS_MOUNT, "sysfs", "/sys", "sysfs", 0, []byte(nil))
	})
	var at *userns.StepError
	if !errors.As(err, &at) || at.Step != "create namespaces" {
		return err
	}
	for _, k := range kinds {
		if err := tryProgram(ctx, k.flag, nil); err != nil {
			return fmt.Errorf("create a %s namespace: %w", k.name, err)
		}
	}
	return err
}

func tryProgram(ctx context.Context, flags uintptr, steps func(*userns.Program)) error {
	var p userns.Program
	if steps != nil {
		steps(&p)
	}
	p.Call("end", unix.SYS_EXIT_GROUP, 0)
	child, err := userns.Start(&p, unix.CLONE_NEWUSER|flags)
	if err != nil {
		return err
	}
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	if err := userns.WriteMap(ctx, child.PID, userns.SingleMap(uid, gid)); err != nil {
		child.Abort()
		return err
	}
	defer child.Close()
	if err := child.Release(); err != nil {
		child.Abort()
		return err
	}
	err = child.WaitExec()
	_, _, werr := child.Wait()
	return errors.Join(err, werr)
}

// readCgroup finds the directory in which this user may make cgroups: the
// one we are in, or that of its systemd instance.
func readCgroup(uid uint32) cgroupFacts {
	var c cgroupFacts
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &fs); err != nil {
		return c
	}
	c.version = 1
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		if entries, err := os.ReadDir("/sys/fs/cgroup"); err != nil || len(entries) == 0 {
			c.version = 0
		}
		return c
	}
	c.version = 2
	own, _ := os.ReadFile("/proc/self/cgroup")
	n := strconv.FormatUint(uint64(uid), 10)
	candidates := []string{"/user.slice/user-" + n + ".slice/user@" + n + ".service"}
	for line := range strings.Lines(string(own)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			candidates = slices.Insert(candidates, 0, path)
		}
	}
	for _, path := range candidates {
		dir := filepath.Join("/sys/fs/cgroup", path)
		names, err := os.ReadFile(dir + "/cgroup.controllers")
		if err != nil {
			continue
		}
		writable := unix.Access(dir, unix.W_OK) == nil && unix.Access(dir+"/cgroup.procs", unix.W_OK) == nil
		// In a unit of the service manager, only those controllers are on that
		// its units have asked for; the manager can be asked for the others.
		controllers := strings.Fields(string(names))
		if c.path == "" || writable && (!c.writable || len(controllers) > len(c.controllers)) {
			c.path, c.writable, c.controllers = dir, writable, controllers
		}
	}
	return c
}

// kernelFacts asks the kernel what it can do.
func kernelFacts(f *doctorFacts) {
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		f.kernel = unix.ByteSliceToString(u.Release[:])
	}
	f.lacks = spec.MissingCalls()
	action := uint32(unix.SECCOMP_RET_ERRNO)
	f.seccomp = seccompAvailable(&action)
	enabled, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	f.apparmor = strings.HasPrefix(string(enabled), "Y")
	if v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno == 0 {
		f.landlock = int(v)
	}
}

// tryPing makes the socket that pings of containers go out by.
func tryPing() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}
