package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernelPostures try the kernel's surface: a call that is not refused by EPERM, ENOSYS
// or the like has been reached.
func kernelPostures() []posture {
	calls := func(line, name string, nr uintptr, args ...uintptr) posture {
		return posture{line, name, func(facts) string {
			var a [4]uintptr
			copy(a[:], args)
			return reached(try(nr, a))
		}}
	}
	socket := func(name string, family, kind, protocol int) posture {
		return posture{"13", name, func(facts) string {
			_, err := unix.Socket(family, kind, protocol)
			return got(err, "a socket")
		}}
	}
	bad := ^uintptr(0)
	params := make([]byte, 120) // struct io_uring_params
	list := []posture{
		{"12", "nested-user-namespace", func(facts) string { return nested(0, "true") }},
		{"12", "mount-in-nested", func(facts) string { return nested(unix.CLONE_NEWNS, "mount") }},
		{"12", "packet-socket-in-nested", func(facts) string { return nested(unix.CLONE_NEWNET, "packet") }},
		{"12", "netfilter-in-nested", func(facts) string { return nested(unix.CLONE_NEWNET, "netfilter") }},
		socket("AF_ALG", unix.AF_ALG, unix.SOCK_SEQPACKET, 0), socket("AF_VSOCK", unix.AF_VSOCK, unix.SOCK_STREAM, 0),
		socket("netlink-xfrm", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_XFRM), socket("netlink-netfilter", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER),
		calls("13", "io_uring", unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params[0]))), calls("13", "bpf", unix.SYS_BPF, 99999),
		calls("13", "userfaultfd", unix.SYS_USERFAULTFD, 1), calls("13", "perf_event_open", unix.SYS_PERF_EVENT_OPEN),
		{"14", "keys-of-the-session", func(f facts) string {
			runtime.LockOSThread()
			_, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "user", f["mark"], 0)
			return got(err, "found the key")
		}},
		calls("14", "keyctl", unix.SYS_KEYCTL, 99999), calls("15", "open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, bad),
		calls("15", "name_to_handle_at", unix.SYS_NAME_TO_HANDLE_AT, bad), calls("15", "fsopen", unix.SYS_FSOPEN), calls("15", "move_mount", unix.SYS_MOVE_MOUNT, bad, 0, bad),
		calls("15", "init_module", unix.SYS_INIT_MODULE), calls("15", "kexec_load", unix.SYS_KEXEC_LOAD, 0, 99999),
		{"17", "clone3", func(facts) string {
			args := struct{ flags, rest [8]uint64 }{}
			args.flags[0] = unix.CLONE_NEWUSER | unix.CLONE_THREAD
			return reached(try(unix.SYS_CLONE3, [4]uintptr{uintptr(unsafe.Pointer(&args)), 88}))
		}},
		{"17", "32-bit-calls", func(f facts) string {
			return got(exec.Command(f["payload386"], "fds").Run(), "runs")
		}},
		{"18", "trace-helpers", traceHelpers},
		{"18", "enter-other-namespaces", otherNamespaces},
		{"24", "fork-bomb", func(facts) string { return forkBomb(2200) }},
		{"24", "thread-bomb", func(facts) string { return threadBomb(2200) }},
	}
	if runtime.GOARCH == "amd64" {
		list = append(list, calls("17", "x32-calls", unix.SYS_GETPPID|0x40000000))
	}
	return list
}

func reached(answer string) string {
	switch answer {
	case "EPERM", "ENOSYS", "EACCES", "EIO", "EOPNOTSUPP":
		return ""
	}
	return "answers " + answer
}

// nested makes a user namespace and tries something in it.
func nested(flags uintptr, what string) string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	cmd := exec.Command(self, "nested", what)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | flags, UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}}
	out, err := cmd.Output()
	return got(err, string(out))
}

func inNested(args []string) error {
	var err error
	switch args[0] {
	case "mount":
		err = unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "")
	case "packet":
		_, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	case "netfilter":
		_, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER)
	}
	if err == nil {
		fmt.Println("done:", args[0])
	}
	return err
}

// strangers are the processes that are seen and not the attempts' own.
func strangers() []int {
	var out []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if data, err := os.ReadFile(dir + "/cmdline"); pid == os.Getpid() || err == nil && ours(data) {
			continue
		}
		comm, _ := os.ReadFile(dir + "/comm")
		if args, _ := os.ReadFile(dir + "/cmdline"); (string(comm) == "sh\n" || string(comm) == "sleep\n") && bytes.Contains(args, []byte("60606")) {
			continue // the script's own
		}
		out = append(out, pid)
	}
	return out
}

// traceHelpers tries to get hold of processes that do not belong to the command.
func traceHelpers(facts) string {
	runtime.LockOSThread()
	for _, pid := range strangers() {
		if unix.PtraceSeize(pid) == nil {
			_ = unix.PtraceDetach(pid)
			return fmt.Sprint("traces process ", pid)
		}
		if f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0); err == nil {
			f.Close()
			return fmt.Sprint("has the memory of process ", pid)
		}
	}
	return ""
}

// otherNamespaces tries to enter those of processes that it sees, where they are others.
func otherNamespaces(facts) string {
	runtime.LockOSThread()
	for _, pid := range strangers() {
		for _, kind := range []string{"user", "mnt", "net", "pid", "ipc"} {
			name := fmt.Sprintf("/proc/%d/ns/%s", pid, kind)
			theirs, _ := os.Readlink(name)
			mine, _ := os.Readlink("/proc/self/ns/" + kind)
			fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil || theirs == mine {
				continue
			}
			if unix.Setns(fd, 0) == nil {
				return "entered " + name
			}
			unix.Close(fd)
		}
	}
	return ""
}

// forkBomb makes n processes that wait, and says whether it got them all.
func forkBomb(n int) string {
	_ = unix.Setpgid(0, 0)
	made := []uintptr{}
	for range n {
		pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			break
		}
		for pid == 0 {
			syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
		}
		made = append(made, pid)
	}
	for _, pid := range made {
		_ = unix.Kill(int(pid), unix.SIGKILL)
	}
	for range made {
		_, _ = unix.Wait4(-1, nil, 0, nil)
	}
	if len(made) < n {
		return ""
	}
	return fmt.Sprint(n, " processes")
}

// threadBomb does it with threads. The runtime ends the process where it gets none.
func threadBomb(n int) string {
	up := make(chan bool)
	for i := range n {
		go func() {
			runtime.LockOSThread()
			up <- true
			_ = unix.Nanosleep(&unix.Timespec{Sec: 60}, nil)
		}()
		select {
		case <-up:
		case <-time.After(10 * time.Second):
			return fmt.Sprint(i, " threads, and no more in time")
		}
	}
	return fmt.Sprint(n, " threads")
}
