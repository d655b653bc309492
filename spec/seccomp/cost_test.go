package seccomp

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// commonCalls are what programs spend their time with.
var commonCalls = []string{
	"read", "write", "close", "openat", "newfstatat", "fstat", "lseek", "mmap", "mprotect", "munmap", "brk", "rt_sigaction",
	"rt_sigprocmask", "ioctl", "pread64", "access", "pipe2", "poll", "dup2", "getpid", "sendto", "recvfrom", "connect", "accept4",
	"clone", "execve", "exit_group", "wait4", "fcntl", "getdents64", "getcwd", "readlink", "unlink", "gettimeofday", "getuid",
	"futex", "epoll_wait", "clock_gettime", "clock_nanosleep", "prlimit64", "getrandom", "statx", "rseq", "sched_yield", "socket",
}

// TestCost compares instructions for each call with libseccomp's list and its
// binary tree, and holds ours to a bound.
func TestCost(t *testing.T) {
	j := newJudge(t)
	p, _ := j.known(t, target{dockerCaps, "amd64", kernelVersion{6, 1}}.defaultProfile())
	ours, err := Compile(p, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	list, err := j.compile(t, p, "amd64", 0)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := j.compile(t, p, "amd64", 2)
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string][]unix.SockFilter{"ours": ours.Filter, "libseccomp's list": list, "libseccomp's tree": tree}
	steps := map[string]float64{}
	for name, code := range programs {
		total, most := 0, 0
		for _, call := range commonCalls {
			nr, _ := abisOf("amd64")[0].number(lookup(call))
			_, n, err := interpret(code, data{nr: nr, arch: unix.AUDIT_ARCH_X86_64, args: [6]uint64{2, 1, 6}})
			if err != nil {
				t.Fatal(err)
			}
			total, most = total+n, max(most, n)
		}
		steps[name] = float64(total) / float64(len(commonCalls))
		t.Logf("%-18s %4d instructions; executed for a common call: %.1f, at most %d", name, len(code), steps[name], most)
	}
	if steps["ours"] > 14 || steps["ours"] > steps["libseccomp's tree"] {
		t.Errorf("ours takes %.1f", steps["ours"])
	}
	if runtime.GOARCH != "amd64" || testing.Short() {
		return
	}
	for name, code := range programs {
		var took []time.Duration
		for range 15 {
			rs, _ := command(t, order{Filter: code, Flags: unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, Calls: [][]uint64{{unix.SYS_GETPID}}})
			took = append(took, rs[0].Took)
		}
		slices.Sort(took)
		rs, _ := command(t, order{Filter: code, Repeat: 100000, Flags: unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, Calls: [][]uint64{
			{unix.SYS_GETPPID}, {unix.SYS_SOCKET, 9999, 0, 0}, {unix.SYS_PERSONALITY, 0xffffffff}, {unix.SYS_KEYCTL},
		}})
		t.Logf("%-18s loads in %v; getppid %v, socket %v, personality %v, keyctl (refused) %v", name, took[len(took)/2],
			rs[1].Took/100000, rs[2].Took/100000, rs[3].Took/100000, rs[4].Took/100000)
	}
}
