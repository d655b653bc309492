package seccomp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestMain lets the test binary be its own guinea pig: with order in the
// environment it loads a filter and makes system calls instead of testing.
func TestMain(m *testing.M) {
	if text := os.Getenv("CORACLE_SECCOMP_ORDER"); text != "" {
		if err := obey([]byte(text)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(99)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// order is what the child does: load, then each call Repeat times, then exec.
type order struct {
	Filter []unix.SockFilter
	Flags  uint
	Calls  [][]uint64
	Repeat int
	Exec   string
}

// result is what it prints: a line each for loading and for every call.
type result struct {
	Return int64
	Errno  unix.Errno
	Took   time.Duration
}

func obey(text []byte) error {
	var o order
	if err := json.Unmarshal(text, &o); err != nil {
		return err
	}
	runtime.LockOSThread()
	out := json.NewEncoder(os.Stdout)
	if len(o.Filter) > 0 {
		took, err := load(o.Filter, o.Flags)
		if err != nil {
			return fmt.Errorf("load: %w", err)
		}
		if err := out.Encode(result{Took: took}); err != nil {
			return err
		}
	}
	for _, c := range o.Calls {
		c = append(slices.Clone(c), make([]uint64, 7)...)
		var r result
		start := time.Now()
		for range max(o.Repeat, 1) {
			ret, _, errno := syscall.RawSyscall6(uintptr(c[0]), uintptr(c[1]), uintptr(c[2]), uintptr(c[3]), uintptr(c[4]), uintptr(c[5]), uintptr(c[6]))
			r.Return, r.Errno = int64(ret), errno
		}
		r.Took = time.Since(start)
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	if o.Exec != "" {
		return unix.Exec(o.Exec, []string{"i386"}, nil)
	}
	return nil
}

// load puts the filter on all threads of the process.
func load(filter []unix.SockFilter, flags uint) (time.Duration, error) {
	runtime.LockOSThread() // no_new_privs is the thread's, and the filter takes it
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return 0, err
	}
	flags |= unix.SECCOMP_FILTER_FLAG_TSYNC
	if flags&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 {
		flags |= unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	start := time.Now()
	_, _, errno := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&prog)))
	took := time.Since(start)
	if errno != 0 {
		return 0, errno
	}
	return took, nil
}

// command runs the test binary under an order and returns what it printed.
func command(t *testing.T, o order) ([]result, *os.ProcessState) {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	// A killed thread may leave the others of a Go process waiting for ever.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	// An environment of its own: the tests' may make the runtime chatty.
	cmd.Env = []string{"CORACLE_SECCOMP_ORDER=" + string(text)}
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatal("the child hangs")
	}
	if exit != nil && exit.ExitCode() == 99 {
		t.Fatalf("%s", exit.Stderr)
	}
	var rs []result
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var r result
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		rs = append(rs, r)
	}
	return rs, cmd.ProcessState
}

func compiled(t testing.TB, p *specs.LinuxSeccomp) Program {
	t.Helper()
	prog, err := Compile(p, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	return prog
}

func defaultFor(t testing.TB, caps []string) *specs.LinuxSeccomp {
	t.Helper()
	p, err := Default(caps, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// attempt is a call whose answer tells who gave it: the kernel's own is known
// from a run without a filter.
type attempt struct {
	name string
	call []uint64
	bare unix.Errno // without a filter; 0 stands for success
	want unix.Errno // with docker's filter and capabilities
}

func attempts() []attempt {
	const badClone = unix.CLONE_SIGHAND // without CLONE_VM: EINVAL
	return []attempt{
		{"getpid", []uint64{unix.SYS_GETPID}, 0, 0},
		{"close", []uint64{unix.SYS_CLOSE, 1 << 20}, unix.EBADF, unix.EBADF},
		{"keyctl", []uint64{unix.SYS_KEYCTL, 9999}, unix.EOPNOTSUPP, unix.EPERM},
		{"unshare", []uint64{unix.SYS_UNSHARE, 0x1}, unix.EINVAL, unix.EPERM},
		{"userfaultfd", []uint64{unix.SYS_USERFAULTFD, 1 << 20}, unix.EINVAL, unix.EPERM},
		{"io_uring_setup", []uint64{unix.SYS_IO_URING_SETUP, 0, 0}, unix.EFAULT, unix.EPERM},
		{"clone", []uint64{unix.SYS_CLONE, badClone}, unix.EINVAL, unix.EINVAL},
		{"clone newuser", []uint64{unix.SYS_CLONE, badClone | unix.CLONE_NEWUSER}, unix.EINVAL, unix.EPERM},
		{"clone newns", []uint64{unix.SYS_CLONE, badClone | unix.CLONE_NEWNS}, unix.EINVAL, unix.EPERM},
		{"clone3", []uint64{unix.SYS_CLONE3, 0, 0}, unix.EINVAL, unix.ENOSYS},
		{"personality query", []uint64{unix.SYS_PERSONALITY, 0xffffffff}, 0, 0},
		{"personality randomness", []uint64{unix.SYS_PERSONALITY, 0x0040000}, 0, unix.EPERM},
		{"personality", []uint64{unix.SYS_PERSONALITY, 0}, 0, 0},
		{"personality high word", []uint64{unix.SYS_PERSONALITY, 1 << 32}, 0, unix.EPERM},
		{"socket unix", []uint64{unix.SYS_SOCKET, unix.AF_UNIX, 99}, unix.EINVAL, unix.EINVAL},
		{"socket alg", []uint64{unix.SYS_SOCKET, unix.AF_ALG, 99}, unix.EINVAL, unix.EPERM},
		{"socket vsock", []uint64{unix.SYS_SOCKET, unix.AF_VSOCK, 99}, unix.EINVAL, unix.EPERM},
		{"socket alg + 2^32", []uint64{unix.SYS_SOCKET, 1<<32 | unix.AF_ALG, 99}, unix.EINVAL, unix.EPERM},
		{"socket vsock + 2^32", []uint64{unix.SYS_SOCKET, 1<<32 | unix.AF_VSOCK, 99}, unix.EINVAL, unix.EPERM},
		{"newer than the profile", []uint64{467, 1 << 40, 0, 1 << 30}, unix.EINVAL, unix.ENOSYS},
	}
}

func TestKernel(t *testing.T) {
	tries := attempts()
	var calls [][]uint64
	for _, a := range tries {
		calls = append(calls, a.call)
	}
	bare, _ := command(t, order{Calls: calls})
	prog := compiled(t, defaultFor(t, dockerCaps))
	filtered, state := command(t, order{Filter: prog.Filter, Flags: prog.Flags, Calls: calls})
	if len(filtered) != len(tries)+1 {
		t.Fatalf("%d answers of %d: %v", len(filtered)-1, len(tries), state)
	}
	t.Logf("%d instructions, loaded in %v", len(prog.Filter), filtered[0].Took)
	for i, a := range tries {
		if got := filtered[i+1].Errno; got != a.want {
			// A kernel without the family or call may answer otherwise by itself.
			t.Errorf("%s: %v, want %v", a.name, got, a.want)
		}
		if bare[i].Errno != a.bare {
			t.Logf("%s: this kernel by itself says %v, not %v", a.name, bare[i].Errno, a.bare)
		}
	}
}

// TestKernelWithAdmin: the capability opens what depends on it.
func TestKernelWithAdmin(t *testing.T) {
	prog := compiled(t, defaultFor(t, capabilitySets["admin"]))
	calls := [][]uint64{{unix.SYS_UNSHARE, 1}, {unix.SYS_CLONE3, 0, 0}, {unix.SYS_CLONE, unix.CLONE_SIGHAND | unix.CLONE_NEWUSER}, {unix.SYS_KEYCTL, 9999}}
	rs, _ := command(t, order{Filter: prog.Filter, Flags: prog.Flags, Calls: calls})
	for i, want := range []unix.Errno{unix.EINVAL, unix.EINVAL, unix.EINVAL, unix.EPERM} {
		if got := rs[i+1].Errno; got != want {
			t.Errorf("%d: %v, want %v", calls[i], got, want)
		}
	}
}

// TestKernelActions loads a filter of each action and sees it work.
func TestKernelActions(t *testing.T) {
	seven := uint(7)
	for _, c := range []struct {
		action specs.LinuxSeccompAction
		errno  *uint
		want   unix.Errno
		signal bool
	}{
		{specs.ActErrno, nil, unix.EPERM, false},
		{specs.ActErrno, &seven, unix.E2BIG, false},
		{specs.ActLog, nil, unix.EOPNOTSUPP, false},
		{specs.ActTrace, nil, unix.ENOSYS, false}, // nobody traces
		{specs.ActKillProcess, nil, 0, true},
	} {
		p := allow(specs.ActAllow, specs.LinuxSyscall{Names: []string{"keyctl"}, Action: c.action, ErrnoRet: c.errno})
		p.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog}
		prog := compiled(t, p)
		rs, state := command(t, order{Filter: prog.Filter, Flags: prog.Flags, Calls: [][]uint64{{unix.SYS_KEYCTL, 9999}}})
		killed := state.Sys().(syscall.WaitStatus).Signal() == unix.SIGSYS
		if killed != c.signal || !killed && rs[1].Errno != c.want {
			t.Errorf("%s: %v, %v; want %v, killed %v", c.action, rs, state, c.want, c.signal)
		}
	}
	p := allow(specs.ActAllow, specs.LinuxSyscall{Names: []string{"keyctl"}, Action: specs.ActNotify})
	p.ListenerPath = "/run/agent"
	p.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagWaitKillableRecv, specs.LinuxSeccompFlagSpecAllow}
	prog := compiled(t, p)
	if rs, state := command(t, order{Filter: prog.Filter, Flags: prog.Flags}); len(rs) != 1 || !state.Success() {
		t.Errorf("notify: %v, %v", rs, state)
	}
}
