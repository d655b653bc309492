package seccomp

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPlainSockets asks both filters about every call: nothing is different but for what
// Landlock's ports do not hold.
func TestPlainSockets(t *testing.T) {
	sandbox, err := target{nil, runtime.GOARCH, readyKernel}.compileSandbox(runtime.GOARCH == "amd64")
	if err != nil {
		t.Fatal(err)
	}
	plain := PlainSockets(sandbox)
	wellFormed(t, plain.Filter)
	const high = 1 << 32
	args := [][6]uint64{{}, {unix.AF_INET, unix.SOCK_STREAM, 262}, {unix.AF_INET6, unix.SOCK_STREAM, high | 132}, {unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP},
		{unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6}, {3, 0, unix.MSG_FASTOPEN | 1, 0}, {3, 0, 0, unix.MSG_FASTOPEN}, {11}, {high | 16}, {20}, {1}}
	refused := 0
	for _, arch := range []uint32{nativeArch(), unix.AUDIT_ARCH_I386} {
		if arch == unix.AUDIT_ARCH_I386 && runtime.GOARCH != "amd64" {
			continue
		}
		for nr := range uint32(600) {
			name := Name(nr)
			if arch != nativeArch() {
				name = Name386(Data{Nr: nr, Arch: arch})
			}
			for _, a := range args {
				d := data{nr: nr, arch: arch, args: a}
				want := answer(t, sandbox.Filter, d)
				protocol := uint32(a[2])
				switch {
				case name == "socket" && (protocol == 262 || protocol == 132 || protocol&unix.MSG_FASTOPEN != 0):
					want = unix.SECCOMP_RET_ERRNO | uint32(unix.EPROTONOSUPPORT)
				case name == "sendmsg" && a[2]&unix.MSG_FASTOPEN != 0,
					(name == "sendto" || name == "sendmmsg") && a[3]&unix.MSG_FASTOPEN != 0,
					name == "socketcall" && (a[0] == 11 || uint32(a[0]) == 16 || a[0] == 20):
					want = unix.SECCOMP_RET_ERRNO | uint32(unix.EOPNOTSUPP)
				}
				got := answer(t, plain.Filter, d)
				if got != want {
					t.Fatalf("%v: %#x, want %#x", d, got, want)
				}
				if got != answer(t, sandbox.Filter, d) {
					refused++
				}
			}
		}
	}
	if least := map[string]int{"amd64": 15}[runtime.GOARCH]; refused < max(least, 6) {
		t.Errorf("%d calls are refused", refused)
	}
}
