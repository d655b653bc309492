package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// key puts a key into the session keyring and executes the rest of its
// arguments, or says whether one is found from there.
//
//	key add NAME CMD…
//	key find NAME
func key(args []string) error {
	runtime.LockOSThread() // keyrings are a thread's
	name := args[1]
	if args[0] == "find" {
		_, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "user", name, 0)
		fmt.Println("find", answer(err))
		return nil
	}
	// One of our own: the caller's is none of this test's business.
	if _, err := unix.KeyctlJoinSessionKeyring("coracle-e2e"); err != nil {
		return err
	}
	if _, err := unix.AddKey("user", name, []byte("secret"), unix.KEY_SPEC_SESSION_KEYRING); err != nil {
		return err
	}
	return syscall.Exec(args[2], args[2:], os.Environ())
}

// trace tries for so many seconds to get hold of every other process that it
// sees, and says whose executables that worked with, and how often it was
// refused.
func trace(args []string) error {
	seconds, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread() // who attaches is a thread
	seen, refused := map[string]bool{}, 0
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end); {
		dirs, _ := filepath.Glob("/proc/[0-9]*")
		for _, dir := range dirs {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			if pid == os.Getpid() || pid == 1 {
				continue
			}
			exe, _ := os.Readlink(dir + "/exe")
			err := unix.PtraceSeize(pid)
			if err == nil {
				_ = unix.PtraceDetach(pid)
				seen["ptrace "+exe] = true
			} else if !errors.Is(err, unix.ESRCH) {
				refused++
			}
			if peek(pid) {
				seen["process_vm_readv "+exe] = true
			}
			if f, err := os.Open(dir + "/mem"); err == nil {
				f.Close()
				seen["mem "+exe] = true
			}
		}
	}
	for s := range seen {
		fmt.Println(s)
	}
	fmt.Println("refused", refused > 0)
	return nil
}

// peek reads a byte of a process, where its first mapping is.
func peek(pid int) bool {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return false
	}
	first, _, _ := strings.Cut(string(maps), "-")
	addr, err := strconv.ParseUint(first, 16, 64)
	if err != nil {
		return false
	}
	var b byte
	local := unix.Iovec{Base: &b, Len: 1}
	remote := [2]uint64{addr, 1}
	n, _, _ := syscall.RawSyscall6(unix.SYS_PROCESS_VM_READV, uintptr(pid), uintptr(unsafe.Pointer(&local)), 1, uintptr(unsafe.Pointer(&remote)), 1, 0)
	return n == 1
}

// join tries to enter namespaces by their files.
func join(paths []string) error {
	runtime.LockOSThread()
	for _, path := range paths {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, 0)
			unix.Close(fd)
		}
		fmt.Println(path, answer(err))
	}
	return nil
}
