package seccomp

import (
	"slices"

	"golang.org/x/sys/unix"
)

//go:generate go test -run ^TestReady$ -count=1 . -update

// readyCaps is the bounding set that docker and podman give a container: the
// one for which the filter of the default profile comes with the program. A
// start would take longer over compiling it than over most of its system calls.
var readyCaps = [...]string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// readyKernel has all that the profile asks of a kernel.
var readyKernel = kernelVersion{4, 8}

// Ready is what Compile makes of Default(caps, goarch), where that is known
// already; false where it must be compiled.
func Ready(caps []string, goarch string) (Program, bool) {
	var filter []unix.SockFilter
	switch goarch {
	case "amd64":
		filter = readyAMD64
	case "arm64":
		filter = readyARM64
	}
	if filter == nil || len(caps) != len(readyCaps) {
		return Program{}, false
	}
	for _, c := range readyCaps {
		if !slices.Contains(caps, c) {
			return Program{}, false
		}
	}
	if k, err := hostKernel(); err != nil || !k.atLeast(readyKernel) {
		return Program{}, false
	}
	return Program{Filter: filter, Flags: unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW}, true
}

// ReadySandbox is what CompileSandbox makes; false where it must be compiled.
func ReadySandbox(goarch string) (Program, bool) {
	var filter []unix.SockFilter
	switch goarch {
	case "amd64":
		filter = sandboxAMD64
	case "arm64":
		filter = sandboxARM64
	}
	if k, err := hostKernel(); filter == nil || err != nil || !k.atLeast(readyKernel) {
		return Program{}, false
	}
	return Program{Filter: filter, Flags: unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW}, true
}
