// Package signals hands signals to channels as os/signal does, at the price of
// one system call each. os/signal needs two threads, and for each signal a
// round trip between them: for the fifty that a container's launcher passes on,
// a tenth of the time that a container takes to start.
//
// The handler is a few instructions that write the signal's number to a pipe.
// Programs that are executed get the default dispositions, as with os/signal.
package signals

import (
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pipe is the write end, for the handler.
var pipe int32 //nolint:unused // the handler reads it

var (
	mu        sync.Mutex
	receivers []receiver
	started   bool
)

type receiver struct {
	c    chan<- os.Signal
	sigs []syscall.Signal
}

// Notify sends these signals to c from now on; one that finds c full is lost.
// They are not for os/signal then, and never again the default's.
func Notify(c chan<- os.Signal, sigs ...syscall.Signal) error {
	mu.Lock()
	defer mu.Unlock()
	if err := start(); err != nil {
		return err
	}
	receivers = append(receivers, receiver{c, sigs})
	for _, s := range sigs {
		if err := handle(s); err != nil {
			return fmt.Errorf("catch signal %d: %w", s, err)
		}
	}
	return nil
}

// Stop ends what Notify began for c. The signals stay caught.
func Stop(c chan<- os.Signal) {
	mu.Lock()
	defer mu.Unlock()
	receivers = slices.DeleteFunc(receivers, func(r receiver) bool { return r.c == c })
}

// KeepAfterPipe makes writes to standard output and error fail as any other's
// when nobody reads them, where Go ends the program.
func KeepAfterPipe() error {
	signal.Ignore(unix.SIGPIPE) // for the runtime, which asks here
	if err := Notify(make(chan os.Signal), unix.SIGPIPE); err != nil {
		return err // and a handler for the kernel, or our children would ignore it
	}
	return nil
}

// start makes the pipe and its reader, once.
func start() error {
	if started {
		return nil
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("make a pipe for signals: %w", err)
	}
	pipe, started = int32(p[1]), true
	go read(os.NewFile(uintptr(p[0]), "signals"))
	return nil
}

func read(f *os.File) {
	buf := make([]byte, 64)
	for {
		n, err := f.Read(buf)
		if err != nil {
			return // never: we hold the write end
		}
		for _, b := range buf[:n] {
			send(syscall.Signal(b))
		}
	}
}

func send(s syscall.Signal) {
	mu.Lock()
	defer mu.Unlock()
	for _, r := range receivers {
		if !slices.Contains(r.sigs, s) {
			continue
		}
		select {
		case r.c <- s:
		default:
		}
	}
}

// sigaction is the kernel's struct sigaction.
type sigaction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

const (
	saSigInfo  = 0x4
	saRestorer = 0x04000000
	saOnStack  = 0x08000000
	saRestart  = 0x10000000
)

func handle(s syscall.Signal) error {
	// On the stack that the runtime gave to each thread for this.
	a := sigaction{handler: handlerAddr(), flags: saSigInfo | saOnStack | saRestart, restorer: restorerAddr(), mask: ^uint64(0)}
	if a.restorer != 0 {
		a.flags |= saRestorer
	}
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&a)), 0, 8, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// In handler_*.s; the restorer is 0 where the kernel has one.
func handlerAddr() uintptr
func restorerAddr() uintptr
