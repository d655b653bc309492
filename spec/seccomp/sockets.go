package seccomp

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// plainCalls are the numbers of what PlainSockets looks at, by the calls' kind.
type plainCalls struct {
	arch, socket, sendto, sendmsg, sendmmsg uint32
	socketcall                              uint32 // 0: there is no multiplexer
}

// PlainSockets puts before a filter that no sockets are made but those whose connections
// Landlock's rules of ports hold: of TCP, of UDP and of echoes. MPTCP, SMC and SCTP pass by
// them (EPROTONOSUPPORT, as where the kernel has none of these), and so does a connection
// that is made by sending (MSG_FASTOPEN, EOPNOTSUPP), of which socketcall's arguments are
// not seen at all: i386's programs have the calls by their own names.
func PlainSockets(p Program) Program {
	kinds := []plainCalls{{arch: nativeArch(), socket: unix.SYS_SOCKET, sendto: unix.SYS_SENDTO, sendmsg: unix.SYS_SENDMSG, sendmmsg: unix.SYS_SENDMMSG}}
	if runtime.GOARCH == "amd64" {
		kinds = append(kinds, plainCalls{arch: unix.AUDIT_ARCH_I386, socket: 359, sendto: 369, sendmsg: 370, sendmmsg: 345, socketcall: 102})
	}
	var filter []unix.SockFilter
	for _, k := range kinds {
		calls := k.refusals()
		filter = append(filter, unix.SockFilter{Code: codeLoad, K: 4},
			unix.SockFilter{Code: codeEqual, K: k.arch, Jf: uint8(len(calls) + 1)},
			unix.SockFilter{Code: codeLoad, K: 0})
		filter = append(filter, calls...)
	}
	p.Filter = append(filter, p.Filter...)
	return p
}

// refusals begin with the number loaded, and go on behind their end for what they let pass.
func (k plainCalls) refusals() (out []unix.SockFilter) {
	const args = 16
	refuse := func(errno unix.Errno) unix.SockFilter {
		return unix.SockFilter{Code: codeReturn, K: unix.SECCOMP_RET_ERRNO | uint32(errno)}
	}
	call := func(nr uint32, then ...unix.SockFilter) {
		then = append(then, unix.SockFilter{Code: codeLoad}) // the number again
		out = append(append(out, unix.SockFilter{Code: codeEqual, K: nr, Jf: uint8(len(then))}), then...)
	}
	plain := []uint32{0, unix.IPPROTO_ICMP, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMPV6}
	protocol := []unix.SockFilter{{Code: codeLoad, K: args + 8*2}}
	for i, n := range plain {
		protocol = append(protocol, unix.SockFilter{Code: codeEqual, K: n, Jt: uint8(len(plain) - i)})
	}
	call(k.socket, append(protocol, refuse(unix.EPROTONOSUPPORT))...)
	for _, send := range []struct{ nr, flags uint32 }{{k.sendto, 3}, {k.sendmsg, 2}, {k.sendmmsg, 3}} {
		call(send.nr, unix.SockFilter{Code: codeLoad, K: args + 8*send.flags},
			unix.SockFilter{Code: codeBits, K: unix.MSG_FASTOPEN, Jf: 1}, refuse(unix.EOPNOTSUPP))
	}
	if k.socketcall != 0 { // SYS_SENDTO, SYS_SENDMSG, SYS_SENDMMSG, linux/net.h
		call(k.socketcall, unix.SockFilter{Code: codeLoad, K: args},
			unix.SockFilter{Code: codeEqual, K: 11, Jt: 2}, unix.SockFilter{Code: codeEqual, K: 16, Jt: 1},
			unix.SockFilter{Code: codeEqual, K: 20, Jf: 1}, refuse(unix.EOPNOTSUPP))
	}
	return out
}
