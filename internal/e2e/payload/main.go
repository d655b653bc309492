// Command payload is what the scripts run inside containers: it tries things
// and prints, a line each, how the kernel answered.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: payload WHAT [ARG…]")
		os.Exit(2)
	}
	what, args := os.Args[1], os.Args[2:]
	verbs := map[string]func([]string) error{
		"fds": fds, "leak": leak, "deathsig": deathsig, "terminal": terminal, "overwrite": overwrite,
		"syscalls": syscalls, "signals": signals, "write": write, "fill": fill, "fchdir": fchdir, "without": without,
		"posture": runPostures, "spoil": spoil, "nested": inNested, "world": world, "spawn": spawn,
		"receive": receive, "call": call, "dial": dial, "key": key, "bomb": bomb, "trace": trace, "join": join,
	}
	verb, ok := verbs[what]
	if !ok {
		fmt.Fprintf(os.Stderr, "payload: unknown %q\n", what)
		os.Exit(2)
	}
	if err := verb(args); err != nil {
		fmt.Fprintln(os.Stderr, "payload:", err)
		os.Exit(1)
	}
}

// answer is an errno as the scripts match it.
func answer(err error) string {
	if err == nil {
		return "done"
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		if name := unix.ErrnoName(errno); name != "" {
			return name
		}
	}
	return err.Error()
}

// fds prints every descriptor that was open when we started, and where it
// leads. Go's own (epoll, eventfd) come later and with close-on-exec.
func fds([]string) error {
	for fd := range 256 {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			continue
		}
		name, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		fmt.Println(fd, name)
	}
	return nil
}

// leak opens descriptors 3 to 20 as files, directories and sockets, none
// close-on-exec, and executes the rest of its arguments.
func leak(args []string) error {
	// By bare calls: Go's own descriptors for waiting would be among those that
	// are taken here.
	var from []int
	for _, open := range []func() (int, error){
		func() (int, error) { return unix.Open("/etc/passwd", unix.O_RDONLY, 0) },
		func() (int, error) { return unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0) },
		func() (int, error) { return unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0) },
	} {
		low, err := open()
		if err != nil {
			return err
		}
		// Out of the way first: they may themselves be below 21.
		fd, err := unix.FcntlInt(uintptr(low), unix.F_DUPFD, 100)
		if err != nil {
			return err
		}
		from = append(from, fd)
	}
	for fd := 3; fd <= 20; fd++ {
		if err := unix.Dup3(from[fd%3], fd, 0); err != nil {
			return err
		}
	}
	for _, fd := range from {
		unix.CloseOnExec(fd)
	}
	return syscall.Exec(args[0], args, os.Environ())
}

// fchdir tries to leave by each of the descriptors.
func fchdir([]string) error {
	for fd := 3; fd <= 20; fd++ {
		err := unix.Fchdir(fd)
		_, up := os.Stat("../etc/coracle-e2e-host")
		fmt.Println(fd, answer(err), up == nil)
	}
	return nil
}

// deathsig clears the parent-death signal, says so, and stays.
func deathsig([]string) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0); err != nil {
		return err
	}
	signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
	fmt.Println("cleared as pid", os.Getpid())
	time.Sleep(5 * time.Minute)
	return nil
}

// terminal tries to type into the terminal on standard input, with the
// request's upper half set too, and to use the console's own request.
func terminal([]string) error {
	c := byte('!')
	for _, req := range []struct {
		name string
		num  uintptr
	}{
		{"TIOCSTI", unix.TIOCSTI},
		{"TIOCSTI+2^32", unix.TIOCSTI | highBit},
		{"TIOCLINUX", 0x541c},
	} {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, 0, req.num, uintptr(unsafe.Pointer(&c)))
		fmt.Println(req.name, answer(errnoOrNil(errno)))
	}
	return nil
}

func errnoOrNil(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// overwrite opens each file for writing, directly and by way of a read-only
// descriptor of it, and where that works writes over its first byte.
func overwrite(paths []string) error {
	for _, path := range paths {
		target, _ := os.Readlink(path)
		fmt.Println(path, "->", target)
		fmt.Println("  direct", answer(clobber(path)))
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			fmt.Println("  open", answer(err))
			continue
		}
		fmt.Println("  reopened", answer(clobber("/proc/self/fd/"+strconv.Itoa(fd))))
		_ = unix.Close(fd)
	}
	return nil
}

func clobber(path string) error {
	var last error
	for _, flags := range []int{unix.O_WRONLY, unix.O_RDWR, unix.O_WRONLY | unix.O_TRUNC} {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err != nil {
			last = err
			continue
		}
		defer unix.Close(fd)
		_, err = unix.Write(fd, []byte("X"))
		return err
	}
	return last
}

// signals prints every signal that comes and ends with 7 at the first
// SIGTERM.
func signals([]string) error {
	c := make(chan os.Signal, 16)
	signal.Notify(c, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGTERM, syscall.SIGWINCH, syscall.SIGCONT)
	fmt.Println("ready")
	for s := range c {
		name := unix.SignalName(s.(syscall.Signal))
		fmt.Println("got", name)
		if s == syscall.SIGTERM {
			os.Exit(7)
		}
	}
	return nil
}

// write says how opening each file for writing went.
func write(paths []string) error {
	for _, path := range paths {
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			_ = unix.Close(fd)
		}
		fmt.Println(path, answer(err))
	}
	return nil
}

// fill writes to a file until the file system refuses.
func fill(args []string) error {
	f, err := os.Create(args[0])
	if err != nil {
		return err
	}
	block := make([]byte, 1<<16)
	for n := int64(0); ; n += int64(len(block)) {
		if _, err := f.Write(block); err != nil {
			fmt.Println(n, answer(err))
			return nil
		}
	}
}
