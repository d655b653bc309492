package spec

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// lacking runs the test that calls it again where a system call answers errno,
// and says whether this is there.
func lacking(t *testing.T, nr uint32, answer syscall.Errno) bool {
	t.Helper()
	const env = "CORACLE_TEST_LACKING"
	if os.Getenv(env) != t.Name() {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v=true")
		cmd.Env = append(os.Environ(), env+"="+t.Name())
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
			t.Errorf("%v\n%s", err, out)
		}
		return false
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(answer)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // no_new_privs is the thread's, and the filter takes it
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, errno := syscall.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		t.Fatal(errno)
	}
	return true
}

// Linux 5.11, or a container around us that knows no newer calls.
func TestStartWithoutMountSetattr(t *testing.T) {
	for name, errno := range map[string]syscall.Errno{"ENOSYS": unix.ENOSYS, "EPERM": unix.EPERM} {
		t.Run(name, func(t *testing.T) {
			if lacking(t, unix.SYS_MOUNT_SETATTR, errno) {
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
	if !elsewhere(t, false) || !lacking(t, unix.SYS_MOUNT_SETATTR, unix.ENOSYS) {
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

// What nothing can stand in for is named, with the kernel.
func TestStartNamesTheMissingCall(t *testing.T) {
	for _, k := range kernelCalls() {
		t.Run(k.name, func(t *testing.T) {
			if !lacking(t, uint32(k.nr), unix.ENOSYS) {
				return
			}
			_, _, err := runSpec(t, testSpec(busyboxRoot(t), "true"), Extra{})
			var me *MissingCallError
			if !errors.As(err, &me) || me.Call != k.name || !strings.Contains(err.Error(), "the system call "+k.name+" is missing: Linux "+k.first+" brought it, this is "+release()) {
				t.Errorf("got %v", err)
			}
		})
	}
}
