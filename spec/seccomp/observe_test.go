package seccomp

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestObserved asks both filters about every call: the listener is asked where the one
// that enforces refuses, and at watched calls, and nothing else is different.
func TestObserved(t *testing.T) {
	enforcing, err := target{nil, runtime.GOARCH, readyKernel}.compileSandbox(runtime.GOARCH == "amd64")
	if err != nil {
		t.Fatal(err)
	}
	const stat, flags = 79, 0x1000
	watched := []Watch{{Nr: 56}, {Nr: stat, Arg: 3, Without: flags}, {Nr: 40}, {Nr: 5, I386: true}, {Nr: 102, I386: true, Is: 3}, {Nr: 102, I386: true, Is: 2}, {Nr: 10, I386: true}}
	observed, err := Observed(enforcing, watched)
	if err != nil {
		t.Fatal(err)
	}
	wellFormed(t, observed.Filter)
	if !observed.Notify() || enforcing.Notify() {
		t.Error("no listener, or one of the filter that enforces")
	}
	asked := 0
	for nr := range uint32(600) {
		for _, d := range []Data{
			{Nr: nr, Arch: nativeArch()}, {Nr: nr, Arch: nativeArch(), Args: [6]uint64{16, 2, 12, flags | 1}}, {Nr: nr, Arch: nativeArch(), Args: [6]uint64{1 << 28, unix.TIOCSTI}},
			{Nr: nr | x32Bit, Arch: nativeArch()}, {Nr: nr, Arch: unix.AUDIT_ARCH_I386}, {Nr: nr, Arch: unix.AUDIT_ARCH_I386, Args: [6]uint64{3}}, {Nr: nr, Arch: unix.AUDIT_ARCH_I386, Args: [6]uint64{1<<32 | 2}}, {Nr: nr, Arch: unix.AUDIT_ARCH_ARM},
		} {
			plain := data{nr: d.Nr, arch: d.Arch, args: d.Args}
			was := answer(t, enforcing.Filter, plain)
			if got := Answer(enforcing.Filter, d); got != was {
				t.Fatalf("%v: Answer %#x, want %#x", plain, got, was)
			}
			want := was
			watch := d.Arch == nativeArch() && (nr == 56 || nr == 40 || nr == stat && d.Args[3]&flags == 0) && d.Nr == nr
			if d.Arch == unix.AUDIT_ARCH_I386 {
				sub := uint32(d.Args[0])
				watch = nr == 5 || nr == 10 || nr == 102 && (sub == 3 || sub == 2)
			}
			if watch || asks(was) {
				want = unix.SECCOMP_RET_USER_NOTIF
				asked++
			}
			if got := answer(t, observed.Filter, plain); got != want {
				t.Fatalf("%v: %#x, want %#x", plain, got, want)
			}
		}
	}
	if asked < 100 {
		t.Errorf("%d calls are asked about", asked)
	}
	if _, err := Observed(observed, nil); err == nil {
		t.Error("a filter with a listener got another one")
	}
	if got := Answer([]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_A}}, Data{}); got != unix.SECCOMP_RET_KILL_PROCESS {
		t.Errorf("an instruction that is not known: %#x", got)
	}
}

func TestName(t *testing.T) {
	if got := Name(unix.SYS_OPENAT); got != "openat" {
		t.Errorf("openat is called %q", got)
	}
	if got := Name(9999); got != "" {
		t.Errorf("9999 is called %q", got)
	}
}
