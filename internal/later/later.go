// Package later puts off the initialisation of gVisor's packages, a third of a
// millisecond of each start, until a network in user space is wanted: most commands
// want none, and the others pay it beside the kernel's work.
//
// This package is initialised before them, and says that they have been (as
// internal/unused does for good). Should a version of Go keep that elsewhere, the
// tests of netns/builtin end at once, and TestLater says why.
package later

import (
	_ "unsafe" // for go:linkname

	"coracle/internal/later/inittask"
)

type task = inittask.Task

// The packages, each after those that it imports; machine are those of one
// architecture, which come after t5.
//
//go:linkname t0 gvisor.dev/gvisor/pkg/gohacks..inittask
//go:linkname t1 gvisor.dev/gvisor/pkg/state/wire..inittask
//go:linkname t2 gvisor.dev/gvisor/pkg/state..inittask
//go:linkname t3 gvisor.dev/gvisor/pkg/sync..inittask
//go:linkname t4 gvisor.dev/gvisor/pkg/linewriter..inittask
//go:linkname t5 gvisor.dev/gvisor/pkg/log..inittask
//go:linkname t6 gvisor.dev/gvisor/pkg/atomicbitops..inittask
//go:linkname t7 gvisor.dev/gvisor/pkg/bits..inittask
//go:linkname t8 gvisor.dev/gvisor/pkg/waiter..inittask
//go:linkname t9 gvisor.dev/gvisor/pkg/context..inittask
//go:linkname t10 gvisor.dev/gvisor/pkg/refs..inittask
//go:linkname t11 gvisor.dev/gvisor/pkg/tcpip/checksum..inittask
//go:linkname t12 gvisor.dev/gvisor/pkg/buffer..inittask
//go:linkname t13 gvisor.dev/gvisor/pkg/rand..inittask
//go:linkname t14 gvisor.dev/gvisor/pkg/tcpip..inittask
//go:linkname t15 gvisor.dev/gvisor/pkg/sync/locking..inittask
//go:linkname t16 gvisor.dev/gvisor/pkg/tcpip/hash/jenkins..inittask
//go:linkname t17 gvisor.dev/gvisor/pkg/tcpip/seqnum..inittask
//go:linkname t18 gvisor.dev/gvisor/pkg/tcpip/header..inittask
//go:linkname t19 gvisor.dev/gvisor/pkg/tcpip/ports..inittask
//go:linkname t20 gvisor.dev/gvisor/pkg/tcpip/transport/tcpconntrack..inittask
//go:linkname t21 gvisor.dev/gvisor/pkg/tcpip/stack..inittask
//go:linkname t22 gvisor.dev/gvisor/pkg/sleep..inittask
//go:linkname t23 gvisor.dev/gvisor/pkg/tcpip/header/parse..inittask
//go:linkname t24 gvisor.dev/gvisor/pkg/tcpip/internal/tcp..inittask
//go:linkname t25 gvisor.dev/gvisor/pkg/tcpip/transport..inittask
//go:linkname t26 gvisor.dev/gvisor/pkg/tcpip/transport/internal/network..inittask
//go:linkname t27 gvisor.dev/gvisor/pkg/tcpip/transport/internal/noop..inittask
//go:linkname t28 gvisor.dev/gvisor/pkg/tcpip/transport/packet..inittask
//go:linkname t29 gvisor.dev/gvisor/pkg/tcpip/transport/raw..inittask
//go:linkname t30 gvisor.dev/gvisor/pkg/tcpip/transport/tcp..inittask
//go:linkname t31 gvisor.dev/gvisor/pkg/tcpip/transport/udp..inittask
//go:linkname t32 gvisor.dev/gvisor/pkg/tcpip/adapters/gonet..inittask
//go:linkname t33 gvisor.dev/gvisor/pkg/tcpip/network/hash..inittask
//go:linkname t34 gvisor.dev/gvisor/pkg/tcpip/network/internal/fragmentation..inittask
//go:linkname t35 gvisor.dev/gvisor/pkg/tcpip/network/internal/ip..inittask
//go:linkname t36 gvisor.dev/gvisor/pkg/tcpip/network/internal/multicast..inittask
//go:linkname t37 gvisor.dev/gvisor/pkg/tcpip/network/ipv4..inittask
//go:linkname t38 gvisor.dev/gvisor/pkg/tcpip/network/ipv6..inittask
//go:linkname t39 gvisor.dev/gvisor/pkg/tcpip/transport/icmp..inittask
var (
	t0  task
	t1  task
	t2  task
	t3  task
	t4  task
	t5  task
	t6  task
	t7  task
	t8  task
	t9  task
	t10 task
	t11 task
	t12 task
	t13 task
	t14 task
	t15 task
	t16 task
	t17 task
	t18 task
	t19 task
	t20 task
	t21 task
	t22 task
	t23 task
	t24 task
	t25 task
	t26 task
	t27 task
	t28 task
	t29 task
	t30 task
	t31 task
	t32 task
	t33 task
	t34 task
	t35 task
	t36 task
	t37 task
	t38 task
	t39 task
)

func tasks() []*task {
	first := append([]*task{&t0, &t1, &t2, &t3, &t4, &t5}, machine()...)
	return append(first,
		&t6, &t7, &t8, &t9, &t10, &t11, &t12, &t13, &t14, &t15, &t16, &t17,
		&t18, &t19, &t20, &t21, &t22, &t23, &t24, &t25, &t26, &t27, &t28, &t29,
		&t30, &t31, &t32, &t33, &t34, &t35, &t36, &t37, &t38, &t39)
}

var off = inittask.PutOff(tasks()...)

// GVisor initialises the packages. It is to be called once, before any of them is used.
func GVisor() {
	if off {
		inittask.Run(tasks()...)
	}
}
