// Package hire starts monitors: this program once more, in a session of its own,
// which does nothing until it is told by the socket that it is born with. It imports
// no more than the OCI runtime does, so that one can be started before the packages are initialised that
// its command needs (internal/early): it takes as long to get ready as the command to
// find out what it is to do.
package hire

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"coracle/userns"

	"golang.org/x/sys/unix"
)

// Name is what a monitor is called in argv[0], before its container's name.
const Name = "[coracle:monitor]"

// longest is the length of a container's name that Rename has room for.
const longest = 200

// Monitor is one that was hired.
type Monitor struct {
	*Conn
	pid int
}

// ahead is one that Early has hired, and nobody has asked for yet.
var ahead *Monitor

// Early hires a monitor if args, a whole command line, are of a command that most
// likely wants one; without one, New hires it later. In a monitor it begins to listen.
func Early(args []string) {
	if strings.HasPrefix(args[0], Name) {
		listenEarly()
	} else if wanted(args) {
		ahead, _ = start() // New finds out what is wrong, if anything is
	}
}

// wanted is a guess: it knows the commands, and no flag that takes a value.
func wanted(args []string) bool {
	if len(args) < 3 {
		return false
	}
	if args[1] == "start" {
		return true
	}
	if args[1] != "run" {
		return false
	}
	detached, flag := false, true
	for _, a := range args[2:] {
		switch {
		case strings.HasPrefix(a, "--preserve-fds"):
			return false // it would be started with descriptors that are not for it
		case a == "--help" || a == "--dry-run":
			return false
		case a == "--detach" || len(a) > 1 && a[0] == '-' && a[1] != '-' && strings.Contains(a, "d") && strings.Trim(a, "-dit") == "":
			detached, flag = true, true
		case strings.HasPrefix(a, "-") && a != "--":
			flag = true
		case a == "--" || !flag:
			return detached // IMAGE
		default:
			flag = false // the value of a flag, or IMAGE
		}
	}
	return detached
}

// New is a monitor that waits for what it is told.
func New() (*Monitor, error) {
	if m := ahead; m != nil {
		ahead = nil
		return m, nil
	}
	return start()
}

// DismissUnused ends the one that Early has hired in vain.
func DismissUnused() {
	m := ahead
	if m == nil {
		return
	}
	ahead = nil
	_ = unix.Kill(m.pid, unix.SIGKILL) // it has done nothing
	m.Dismiss()
}

func start() (*Monitor, error) {
	// What we inherited is not for the monitor, which may live for months.
	err := userns.MarkCloseExec(3)
	if err != nil {
		return nil, fmt.Errorf("start the monitor: %w", err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("start the monitor: make a socket pair: %w", err)
	}
	defer unix.Close(fds[1])
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(fds[0])
		return nil, fmt.Errorf("start the monitor: open %s: %w", os.DevNull, err)
	}
	defer unix.Close(null)
	// Room for the name, which nobody knows yet.
	argv := []string{Name + strings.Repeat(" ", 1+longest)}
	std := uintptr(null)
	pid, err := syscall.ForkExec("/proc/self/exe", argv, &syscall.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: []uintptr{std, std, std, uintptr(fds[1])}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		unix.Close(fds[0])
		return nil, fmt.Errorf("start the monitor: %w", err)
	}
	return &Monitor{Conn: &Conn{fd: fds[0]}, pid: pid}, nil
}

// Release lets the monitor go on by itself.
func (m *Monitor) Release() {
	m.Close()
	go m.reap() // no zombie, should we live longer
}

// Dismiss lets a monitor go that is not needed, and returns when it has ended.
func (m *Monitor) Dismiss() {
	if m != nil {
		m.Close()
		m.reap()
	}
}

func (m *Monitor) reap() {
	for {
		_, err := unix.Wait4(m.pid, nil, 0, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// begun is the monitor's end, in the process that it is.
func begun() *Conn {
	unix.CloseOnExec(connFD)
	rename("")
	return &Conn{fd: connFD}
}

const connFD = 3

// Rename gives the monitor's process the name of its container.
func Rename(name string) { rename(" " + name) }

// rename writes over what ps shows. What begins at argv[0] counts up to the first
// zero, once the last byte of the arguments is none (proc(5), get_mm_cmdline).
func rename(suffix string) {
	arg := os.Args[0] // the kernel's own: the Go runtime makes no copy
	if len(arg) != len(Name)+1+longest || len(suffix) > longest {
		return
	}
	area := unsafe.Slice(unsafe.StringData(arg), len(arg)+1)
	n := copy(area[len(Name):], suffix)
	area[len(Name)+n] = 0
	area[len(arg)] = ' '
}
