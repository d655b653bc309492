package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call makes a system call by its number, whatever kind of machine this is built for;
// words that are no numbers are strings in memory.
//
//	call NR WORD…
func call(args []string) error {
	var regs [4]uintptr
	var keep []*byte
	for i, word := range args {
		if n, err := strconv.ParseInt(word, 0, 32); err == nil {
			regs[i] = uintptr(n)
			continue
		}
		text, err := syscall.BytePtrFromString(word)
		if err != nil {
			return err
		}
		keep = append(keep, text)
		regs[i] = uintptr(unsafe.Pointer(keep[len(keep)-1]))
	}
	_, _, errno := syscall.RawSyscall(regs[0], regs[1], regs[2], regs[3])
	fmt.Println("call", args[0], answerOf(errno))
	return nil
}

func answerOf(errno syscall.Errno) string {
	if errno == 0 {
		return "done"
	}
	return answer(errno)
}

// dial connects to an address, or a path, by connect(2), and as the C library does, which
// on i386 is socketcall(2).
//
//	dial IP:PORT|PATH
func dial(args []string) error {
	family, sockaddr, like := uintptr(unix.AF_UNIX), []byte(args[0]+"\x00"), unix.Sockaddr(&unix.SockaddrUnix{Name: args[0]})
	if to, err := netip.ParseAddrPort(args[0]); err == nil {
		ip := to.Addr().As4()
		family, like = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: ip}
		sockaddr = append(append(binary.BigEndian.AppendUint16(nil, to.Port()), ip[:]...), make([]byte, 8)...)
	}
	sockaddr = append(binary.NativeEndian.AppendUint16(nil, uint16(family)), sockaddr...)
	fd, _, errno := syscall.RawSyscall(unix.SYS_SOCKET, family, unix.SOCK_STREAM, 0)
	if errno != 0 {
		return errno
	}
	_, _, errno = syscall.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&sockaddr[0])), uintptr(len(sockaddr)))
	fmt.Println("connect", answerOf(errno))
	fmt.Println("socketcall", answer(unix.Connect(int(fd), like)))
	return nil
}
