package spec

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// lackedCalls are what old kernels, and the filters of old container runtimes,
// do not know.
var lackedCalls = map[string]uint32{
	"openat2": unix.SYS_OPENAT2, "open_tree": unix.SYS_OPEN_TREE, "move_mount": unix.SYS_MOVE_MOUNT, "fsopen": unix.SYS_FSOPEN,
	"fsconfig": unix.SYS_FSCONFIG, "fsmount": unix.SYS_FSMOUNT, "fspick": unix.SYS_FSPICK, "mount_setattr": unix.SYS_MOUNT_SETATTR,
	"close_range": unix.SYS_CLOSE_RANGE, "statx": unix.SYS_STATX, "setns": unix.SYS_SETNS,
}

const (
	mountCalls = "open_tree,move_mount,fsopen,fsconfig,fsmount,fspick"
	lackEnv    = "CORACLE_TEST_LACKING" // names, a colon, and the errno
)

// lack makes calls answer errno from now on, for this process and all below it:
// statx only where it is asked for the mount's number, setns by a pidfd as Linux
// 5.7 does.
func lack(names string, errno syscall.Errno) error {
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}}
	for name := range strings.SplitSeq(names, ",") {
		nr, ok := lackedCalls[name]
		if !ok {
			return errors.New("unknown system call " + name)
		}
		if name == "setns" {
			filter = append(filter,
				unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 8},
				unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16 + 8}, // args[1]: more than one kind
				unix.SockFilter{Code: unix.BPF_MISC | unix.BPF_TAX},
				unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jt: 4},
				unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_SUB | unix.BPF_K, K: 1},
				unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_X},
				unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jt: 1},
				unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EINVAL)},
				unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS})
			continue
		}
		if name == "statx" {
			filter = append(filter,
				unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 4},
				unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16 + 3*8}, // args[3], its low half
				unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unix.STATX_MNT_ID, Jf: 1},
				unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
				unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS})
			continue
		}
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // no_new_privs is the thread's, and the filter takes it
	defer runtime.UnlockOSThread()
	if os.Geteuid() != 0 {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	_, _, e := syscall.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if e != 0 {
		return e
	}
	return nil
}

// lackFromEnv is for a test program that testsLacking has started.
func lackFromEnv() error {
	names, answer, ok := strings.Cut(os.Getenv(lackEnv), ":")
	if !ok {
		return nil
	}
	errno, err := strconv.Atoi(answer)
	if err != nil {
		return err
	}
	return lack(names, syscall.Errno(errno))
}

// testsLacking runs tests of this package again where calls answer errno. At
// least so many must be there, and all of them pass.
func testsLacking(t *testing.T, names string, errno syscall.Errno, run, skip string, atLeast int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run="+run, "-test.skip="+skip, "-test.v=true")
	cmd.Env = append(os.Environ(), lackEnv+"="+names+":"+strconv.Itoa(int(errno)))
	out, err := cmd.CombinedOutput()
	passed := strings.Count("\n"+string(out), "\n--- PASS: ")
	if err != nil || passed < atLeast {
		t.Errorf("%d passed, of %d; %v\n%s", passed, atLeast, err, out)
	}
}

// lacking runs the test that calls it again where system calls answer errno,
// and says whether this is there.
func lacking(t *testing.T, names string, errno syscall.Errno) bool {
	t.Helper()
	if os.Getenv(lackEnv) != "" {
		return true
	}
	testsLacking(t, names, errno, "^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "", 1)
	return false
}

// What the file system tests, the attacks and the races say of a kernel with all
// calls they say of one without. Left out is what is about the calls themselves,
// and what cannot be had.
func TestStartOnOldKernels(t *testing.T) {
	need(t, os.Geteuid() == 0, "root, as which most of these tests run")
	const (
		all    = "openat2," + mountCalls + ",close_range,mount_setattr"
		mounts = "^Test(Start|Cover|CheckRoot|WithHome)"
		execs  = "|^TestExec"
		// The errors tell the option; idmapped mounts cannot be had; the kernel has
		// no other word for it.
		skip = "OnOldKernels|NamesTheMissing|WithoutMountSetattr|RefusesMounts|IDMapped|ExecWorkdirStaysInside"
	)
	for _, tt := range []struct {
		name, calls string
		errno       syscall.Errno
		run         string
		atLeast     int
	}{
		{"5.11", "mount_setattr", unix.ENOSYS, mounts, 30},
		{"without close_range", "close_range", unix.ENOSYS, "Descriptor|LeavesNothing|TestStartRunsAContainer", 4},
		{"without openat2", "openat2", unix.ENOSYS, mounts + execs, 40},
		{"without open_tree and its kin", mountCalls, unix.ENOSYS, mounts, 30},
		{"5.3", all + ",statx,setns", unix.ENOSYS, mounts + execs + "|^TestHook", 40},
		{"an outer filter's EPERM", all, unix.EPERM, mounts + execs, 40},
	} {
		t.Run(tt.name, func(t *testing.T) { testsLacking(t, tt.calls, tt.errno, tt.run, skip, tt.atLeast) })
	}
}

// The stage, where mounts are made, is nowhere to be seen.
func TestStartHidesTheStage(t *testing.T) {
	if !lacking(t, mountCalls+",mount_setattr", unix.ENOSYS) {
		return
	}
	for _, how := range []string{"private", "rslave", "shared"} {
		s := testSpec(busyboxRoot(t), "sh", "-c", "ls /host/proc/1/root/ >/dev/null || echo none; ls /host; ls -d /host/dir /host/file 2>&1; grep -c stage /proc/self/mountinfo /host/proc/self/mountinfo")
		if s.Linux.RootfsPropagation = how; how == "shared" {
			without(s, specs.UserNamespace)
		}
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/host", Source: "/", Options: []string{"rbind"}})
		out, _, err := runSpec(t, s, Extra{})
		if err != nil || !strings.Contains(out, "etc\n") || !strings.Contains(out, "/proc/self/mountinfo:0\n/host/proc/self/mountinfo:0\n") || strings.Contains(out, "\n/host/dir\n") {
			t.Errorf("%s: %v: %s", how, err, out)
		}
	}
}

// What nothing can stand in for is named, with the kernel.
func TestStartNamesTheMissingCall(t *testing.T) {
	if !lacking(t, "openat2,"+mountCalls+",mount_setattr", unix.ENOSYS) {
		return
	}
	src := t.TempDir()
	named := func(what string, err error, call, first string) {
		t.Helper()
		var me *MissingCallError
		if !errors.As(err, &me) || me.Call != call || !strings.Contains(err.Error(), "the system call "+call+" is missing: Linux "+first+" brought it, this is "+release()) {
			t.Errorf("%s: %v", what, err)
		}
	}
	s := without(testSpec(busyboxRoot(t), "true"), specs.UserNamespace)
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Source: src, Options: []string{"bind", "idmap"}, UIDMappings: []specs.LinuxIDMapping{{HostID: 7, Size: 1}}, GIDMappings: []specs.LinuxIDMapping{{HostID: 7, Size: 1}}})
	_, _, err := runSpec(t, s, Extra{})
	named("idmap", err, "open_tree", "5.2")
	_, _, err = runSpec(t, without(testSpec(busyboxRoot(t), "true"), specs.UserNamespace, specs.MountNamespace), Extra{})
	named("the host's mount namespace", err, "open_tree", "5.2")
	c := running(t, nil)
	s = testSpec(busyboxRoot(t), "true")
	for i, ns := range s.Linux.Namespaces {
		if ns.Type == specs.PIDNamespace || ns.Type == specs.UserNamespace {
			s.Linux.Namespaces[i].Path = fmt.Sprintf("/proc/%d/ns/%s", c.Pid, ns.Type)
		}
	}
	_, _, err = runSpec(t, s, Extra{})
	named("a joined pid namespace", err, "openat2", "5.6")
	named("mounts add", c.rt.AddMounts(t.Context(), c.ID, []specs.Mount{{Destination: "/x", Type: "tmpfs"}}), "open_tree", "5.2")
}

// Linux 5.11, or a container around us that knows no newer calls.
func TestStartWithoutMountSetattr(t *testing.T) {
	for name, errno := range map[string]syscall.Errno{"ENOSYS": unix.ENOSYS, "EPERM": unix.EPERM} {
		t.Run(name, func(t *testing.T) {
			if lacking(t, "mount_setattr", errno) {
				withoutMountSetattr(t)
			}
		})
	}
}

func withoutMountSetattr(t *testing.T) {
	src := t.TempDir()
	if err := os.WriteFile(src+"/f", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := testSpec(busyboxRoot(t))
	s.Root.Readonly = true
	s.Linux.RootfsPropagation = "slave"
	s.Mounts = append(s.Mounts,
		specs.Mount{Destination: "/tmp/d", Source: src, Options: []string{"rbind", "ro", "nosuid", "nodev"}},
		specs.Mount{Destination: "/tmp/f", Source: src + "/f", Options: []string{"bind", "ro", "noexec", "rshared"}},
		specs.Mount{Destination: "/tmp/f", Options: []string{"remount", "bind", "nosuid"}},
		specs.Mount{Destination: "/etc", Type: "tmpfs", Options: []string{"ro", "mode=711", "unbindable"}})
	setMount(s, specs.Mount{Destination: "/dev", Type: "tmpfs", Options: []string{"ro", "nosuid", "noexec"}})
	at := mounted(t, s, Extra{})
	wantMount(t, at, "/", "ro")
	wantMount(t, at, "/tmp/d", "ro", "nosuid", "nodev")
	wantMount(t, at, "/tmp/f", "ro", "noexec", "nosuid", "shared:1")
	wantMount(t, at, "/etc", "ro", "unbindable", "mode=711")
	wantMount(t, at, "/dev", "ro", "nosuid", "noexec")
	for _, p := range []string{"/proc/bus", "/proc/sys"} {
		wantMount(t, at, p, "ro", "nosuid", "nodev", "noexec") // as /proc is, and not less
	}
}

// Attributes of all below a source are set one by one.
func TestStartRecursiveWithoutMountSetattr(t *testing.T) {
	src := t.TempDir() + "/with space"
	if !elsewhere(t, false) || !lacking(t, "mount_setattr", unix.ENOSYS) {
		return
	}
	mountTmpfs(t, src, 0)
	mountTmpfs(t, src+"/a", unix.MS_NOEXEC)
	mountTmpfs(t, src+"/a/b", 0)
	s := testSpec(busyboxRoot(t))
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/x", Source: src, Options: []string{"rbind", "rro", "rnosuid"}})
	at := mounted(t, s, Extra{})
	wantMount(t, at, "/x", "ro", "nosuid")
	wantMount(t, at, "/x/a", "ro", "nosuid", "noexec")
	wantMount(t, at, "/x/a/b", "ro", "nosuid")
}
