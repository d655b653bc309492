package spec

import (
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A list of what a program needs is enough, although we need more than runc to
// execute it: execveat is not on such lists. What is not on the list kills.
func TestSeccompListOfWhatIsNeeded(t *testing.T) {
	needed := strings.Fields(`execve exit exit_group brk arch_prctl set_tid_address set_robust_list rseq prlimit64 readlink readlinkat getrandom
		mprotect mmap munmap uname fcntl write writev read close open openat fstat newfstatat lseek getuid geteuid getgid getegid getpid getppid
		rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack ioctl prctl dup2 dup3 futex sysinfo getcwd stat lstat statx faccessat access
		madvise clock_gettime poll ppoll sched_getaffinity sendfile`)
	profile := &specs.LinuxSeccomp{DefaultAction: specs.ActKillProcess, Syscalls: []specs.LinuxSyscall{{Names: needed, Action: specs.ActAllow}}}
	for _, allowed := range []bool{false, true} {
		if allowed {
			profile.Syscalls[0].Names = append(needed, "execveat")
		}
		s, x := testSpec(busyboxRoot(t), "echo", "hello"), Extra{}
		s.Process.NoNewPrivileges = true
		compiled(t, profile, &x)
		if out, code, err := runSpec(t, s, x); err != nil || out != "hello\n" || code != 0 {
			t.Errorf("execveat allowed %v: %q, exit %d, %v", allowed, out, code, err)
		}
		if !allowed {
			s.Mounts, s.Linux.Sysctl, s.Linux.ReadonlyPaths, s.Linux.MaskedPaths = s.Mounts[1:], nil, nil, nil // no /proc
			if _, _, err := runSpec(t, s, x); err == nil || !strings.Contains(err.Error(), "execveat is not allowed") {
				t.Errorf("without /proc: %v", err)
			}
		}
	}
}
