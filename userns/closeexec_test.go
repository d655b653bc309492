package userns

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the caller has left open is marked, with close_range(2) and without, and
// what is below the first number is not.
func TestMarkCloseExec(t *testing.T) {
	const env = "CORACLE_TEST_MARK"
	if os.Getenv(env) == "" {
		for _, how := range []string{"close_range", "none"} {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMarkCloseExec$", "-test.v=true")
			cmd.Env = append(os.Environ(), env+"="+how)
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
				t.Errorf("%s: %v\n%s", how, err, out)
			}
		}
		return
	}
	if os.Getenv(env) == "none" {
		hideCloseRange(t)
	}
	if got, want := HaveCloseRange(), os.Getenv(env) != "none"; got != want {
		t.Fatalf("close_range is there: %v, want %v", got, want)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for _, fd := range []int{200, 201, 300} {
		if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	if err := MarkCloseExec(201); err != nil {
		t.Fatal(err)
	}
	for fd, want := range map[uintptr]int{200: 0, 201: unix.FD_CLOEXEC, 300: unix.FD_CLOEXEC} {
		if got, err := unix.FcntlInt(fd, unix.F_GETFD, 0); err != nil || got != want {
			t.Errorf("descriptor %d: flags %d, %v, want %d", fd, got, err, want)
		}
	}
}

func hideCloseRange(t *testing.T) {
	t.Helper()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CLOSE_RANGE, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread() // no_new_privs is the thread's, and the filter takes it
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		t.Fatal(errno)
	}
}
