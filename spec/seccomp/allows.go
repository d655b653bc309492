package seccomp

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Allows says whether a filter surely lets this machine's system call nr pass,
// whatever its arguments: what we ourselves may call once it is loaded.
func Allows(filter []unix.SockFilter, nr uint32) bool {
	token := uint32(unix.AUDIT_ARCH_X86_64)
	if runtime.GOARCH == "arm64" {
		token = unix.AUDIT_ARCH_AARCH64
	}
	var acc uint32
	for pc := 0; pc < len(filter); pc++ {
		f := filter[pc]
		cond := false
		switch f.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			switch f.K {
			case 0:
				acc = nr
			case 4:
				acc = token
			default: // an argument decides
				return false
			}
			continue
		case unix.BPF_RET | unix.BPF_K:
			return f.K == unix.SECCOMP_RET_ALLOW || f.K == unix.SECCOMP_RET_LOG
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(f.K)
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= f.K
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			cond = acc == f.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			cond = acc > f.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			cond = acc >= f.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			cond = acc&f.K != 0
		default:
			return false
		}
		if cond {
			pc += int(f.Jt)
		} else {
			pc += int(f.Jf)
		}
	}
	return false
}
