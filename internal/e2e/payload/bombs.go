package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// bomb WHAT N takes that many megabytes of memory of one kind, or so many
// threads, and says that it has them. What is limited ends it before.
func bomb(args []string) error {
	kinds := map[string]func(n int) error{
		"memory": func(n int) error { return anonymous(n, unix.MAP_PRIVATE) },
		"shared": func(n int) error { return anonymous(n, unix.MAP_SHARED) },
		"memfd":  memfds, "pipes": pipes, "threads": threads,
	}
	if len(args) != 2 || kinds[args[0]] == nil {
		return fmt.Errorf("bomb WHAT N")
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	if err := kinds[args[0]](n); err != nil {
		return err
	}
	fmt.Println("reached", args[1], args[0])
	return nil
}

const megabyte = 1 << 20

// anonymous maps and touches.
func anonymous(n, how int) error {
	for range n {
		m, err := unix.Mmap(-1, 0, megabyte, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|how)
		if err != nil {
			return err
		}
		for at := 0; at < len(m); at += 4096 {
			m[at] = 1
		}
	}
	return nil
}

func memfds(n int) error {
	block := make([]byte, megabyte)
	for range n {
		fd, err := unix.MemfdCreate("bomb", 0)
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, block); err != nil {
			return err
		}
	}
	return nil
}

// pipes fills pipes of a megabyte; the kernel grants so much to a user without
// privileges up to 64 MB in all.
func pipes(n int) error {
	block := make([]byte, megabyte)
	for range n {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_NONBLOCK); err != nil {
			return err
		}
		if _, err := unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, megabyte); err != nil {
			return err
		}
		for left := megabyte; left > 0; {
			wrote, err := unix.Write(p[1], block[:left])
			if err != nil {
				return err
			}
			left -= wrote
		}
	}
	return nil
}

// threads makes threads that wait. Where one cannot be made, Go's runtime
// itself ends the program, with code 2.
func threads(n int) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer w.Close()
	defer r.Close()
	fd, made := int(r.Fd()), make(chan struct{})
	for range n {
		go func() {
			runtime.LockOSThread()
			made <- struct{}{}
			_, _ = syscall.Read(fd, make([]byte, 1))
		}()
		<-made
	}
	return nil
}
