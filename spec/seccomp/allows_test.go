package seccomp

import (
	"runtime"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestAllows(t *testing.T) {
	args := []specs.LinuxSeccompArg{{Index: 0, Value: 1, Op: specs.OpEqualTo}}
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"execve", "write"}, Action: specs.ActAllow},
		{Names: []string{"wait4"}, Action: specs.ActLog},
		{Names: []string{"read"}, Action: specs.ActAllow, Args: args},
	}}
	prog, err := Compile(p, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	for nr, want := range map[uint32]bool{
		unix.SYS_EXECVE: true, unix.SYS_WRITE: true, unix.SYS_WAIT4: true, unix.SYS_READ: false, unix.SYS_EXECVEAT: false, unix.SYS_CLOSE: false,
	} {
		if got := Allows(prog.Filter, nr); got != want {
			t.Errorf("Allows(%d) = %v, want %v", nr, got, want)
		}
	}
	if Allows(nil, unix.SYS_READ) {
		t.Error("an empty filter allows nothing: there is none to ask")
	}
}
