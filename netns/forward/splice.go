package forward

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// pipe is what the kernel needs to move bytes from one socket to another.
type pipe struct{ r, w int }

// pipes are kept for others, as far as there may be some; all are empty.
var pipes struct {
	mu   sync.Mutex
	free []pipe
	used int
}

func takePipe() (p pipe, ok bool) {
	pipes.mu.Lock()
	defer pipes.mu.Unlock()
	if n := len(pipes.free); n > 0 {
		p = pipes.free[n-1]
		pipes.free = pipes.free[:n-1]
		pipes.used++
		return p, true
	}
	if pipes.used >= maxPipes {
		return p, false
	}
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return p, false
	}
	// Where that is not allowed it has 64 KiB.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, spliceMax)
	pipes.used++
	return pipe{fds[0], fds[1]}, true
}

// give takes one back; one that is not empty is of no use.
func (p pipe) give(empty bool) {
	pipes.mu.Lock()
	defer pipes.mu.Unlock()
	pipes.used--
	if empty && len(pipes.free) < maxPipes/8 {
		pipes.free = append(pipes.free, p)
		return
	}
	_ = unix.Close(p.r)
	_ = unix.Close(p.w)
}

// splice moves what is there until there is no more; done is a failure, or the end. It
// leaves it to others where there is no pipe.
func (s *stream) splice(to, from *side) (done, ok bool) {
	p, ok := takePipe()
	if !ok {
		return false, true
	}
	left := 0
	defer func() { p.give(left == 0) }()
	for {
		n, errno := splice(from.fd, p.w)
		switch {
		case errno == unix.EAGAIN:
			return false, true
		case errno != 0:
			return true, false
		case n == 0:
			return true, true
		}
		for left = n; left > 0; {
			n, errno := splice(p.r, to.fd)
			switch {
			case errno == unix.EAGAIN:
				if !s.room(to, from) {
					return true, false
				}
			case errno != 0:
				return true, false
			}
			left -= n
			s.count(to, n)
		}
	}
}

func splice(from, to int) (int, syscall.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, spliceMax, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), 0
	}
}
