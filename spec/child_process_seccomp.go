package spec

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// seccomp loads the filter.
func (c *child) seccomp() {
	if len(c.x.Seccomp) == 0 {
		return
	}
	prog := c.p.Bytes(make([]byte, unsafe.Sizeof(unix.SockFprog{})))
	f := (*unix.SockFprog)(unsafe.Pointer(&prog[0]))
	f.Len = uint16(len(c.x.Seccomp))
	code := unsafe.Slice((*byte)(unsafe.Pointer(&c.x.Seccomp[0])), len(c.x.Seccomp)*unix.SizeofSockFilter)
	f.Filter = (*unix.SockFilter)(unsafe.Pointer(&c.p.Bytes(code)[0])) // kept by the program
	c.p.Call(fmt.Sprintf("load the seccomp filter (%d instructions)", len(c.x.Seccomp)),
		unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, c.x.SeccompFlags, prog)
}
