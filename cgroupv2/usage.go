package cgroupv2

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what a cgroup and all below it have used: the part of Stats that
// people look at, read with as few system calls as it takes. CPU time is known
// of every cgroup, the rest where the controller is.
type Usage struct {
	CPU, User, System time.Duration

	HasMemory  bool
	Memory     uint64 // without the page cache that can be given up, as docker counts
	Charged    uint64 // with it: what the limit is held against
	MemoryPeak uint64 // of Charged; 0 before Linux 5.19
	OOMKills   uint64 // processes that the kernel killed for want of memory

	HasPids   bool
	Pids      uint64 // tasks: threads count
	PidsLimit uint64 // math.MaxUint64: none

	HasIO                 bool
	ReadBytes, WriteBytes uint64

	CPUPressure, MemoryPressure, IOPressure *PSI // nil where the kernel does not measure it
}

// UsageParts say what Usage reads beyond what a table shows.
type UsageParts int

// The parts.
const (
	UsageEvents   UsageParts = 1 << iota // MemoryPeak, OOMKills
	UsagePressure                        // the three kinds
)

// Usage reads it. The error is ErrGone when the cgroup was removed.
func (c *Cgroup) Usage(parts UsageParts) (Usage, error) {
	if c.dir == nil {
		return Usage{}, fmt.Errorf("read what was used: %w", ErrNone)
	}
	r := usageReader{c: c, buf: make([]byte, 0, 8<<10)}
	var u Usage
	r.cpu(&u)
	r.memory(&u, parts)
	if u.HasPids = r.read("pids.current"); u.HasPids {
		u.Pids = firstNumber(r.buf)
		if u.PidsLimit = math.MaxUint64; r.read("pids.max") {
			u.PidsLimit = firstNumber(r.buf)
		}
	}
	if u.HasIO = r.read("io.stat"); u.HasIO {
		u.ReadBytes, u.WriteBytes = ioBytes(r.buf)
	}
	if parts&UsagePressure != 0 {
		s := statReader{c: c}
		u.CPUPressure, u.MemoryPressure, u.IOPressure = s.pressure("cpu.pressure"), s.pressure("memory.pressure"), s.pressure("io.pressure")
		r.keep(s.err)
	}
	if r.err != nil {
		return Usage{}, fmt.Errorf("read what cgroup %s has used: %w", c.ref.Path, r.err)
	}
	return u, nil
}

// usageReader reads one file after the other into one buffer.
type usageReader struct {
	c     *Cgroup
	buf   []byte
	there bool // the cgroup is known to be: what is missing is a controller's
	err   error
}

func (r *usageReader) keep(err error) {
	if r.err == nil {
		r.err = err
	}
}

// read fills the buffer; false where there is no such file.
func (r *usageReader) read(name string) bool {
	if r.err != nil {
		return false
	}
	fd, err := unix.Openat(r.c.FD(), name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		if err == unix.ENOENT && r.there {
			return false
		}
		if err = r.c.gone(err); errors.Is(err, ErrGone) || !errors.Is(err, unix.ENOENT) {
			r.keep(fmt.Errorf("open %s: %w", name, err))
		}
		return false
	}
	defer unix.Close(fd)
	if r.buf, err = readFD(fd, r.buf[:0]); err != nil {
		r.keep(fmt.Errorf("read %s: %w", name, r.c.gone(err)))
		return false
	}
	r.there = true
	return true
}

// readFD reads to the end of a file that has no size. A file of the kernel's
// that fits is given whole, so that the second read finds the end.
func readFD(fd int, buf []byte) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return buf, err
		}
		buf = buf[:len(buf)+n]
	}
}

func (r *usageReader) cpu(u *Usage) {
	if !r.read("cpu.stat") {
		return
	}
	u.CPU = fromMicroseconds(keyed(r.buf, "usage_usec"))
	u.User, u.System = fromMicroseconds(keyed(r.buf, "user_usec")), fromMicroseconds(keyed(r.buf, "system_usec"))
}

func fromMicroseconds(n uint64) time.Duration {
	return time.Duration(min(n, math.MaxInt64/1000)) * time.Microsecond
}

func (r *usageReader) memory(u *Usage, parts UsageParts) {
	if u.HasMemory = r.read("memory.current"); !u.HasMemory {
		return
	}
	u.Charged = firstNumber(r.buf)
	u.Memory = u.Charged
	if r.read("memory.stat") {
		if cache := keyed(r.buf, "inactive_file"); cache < u.Charged {
			u.Memory -= cache
		}
	}
	if parts&UsageEvents == 0 {
		return
	}
	if r.read("memory.peak") {
		u.MemoryPeak = firstNumber(r.buf)
	}
	if r.read("memory.events") {
		u.OOMKills = keyed(r.buf, "oom_kill")
	}
}

// firstNumber is what a file of one value has; "max" is math.MaxUint64.
func firstNumber(b []byte) uint64 { return parseNumber(string(bytes.TrimSpace(b))) }

// keyed is one value of a flat keyed file, 0 where it has none such.
func keyed(b []byte, key string) uint64 {
	for line := range bytes.Lines(b) {
		if len(line) > len(key) && line[len(key)] == ' ' && string(line[:len(key)]) == key {
			return firstNumber(line[len(key):])
		}
	}
	return 0
}

// ioBytes adds up all devices of io.stat: "8:0 rbytes=1 wbytes=2 rios=…".
func ioBytes(b []byte) (read, written uint64) {
	for line := range bytes.Lines(b) {
		for word := range bytes.FieldsSeq(line) {
			if n, ok := bytes.CutPrefix(word, []byte("rbytes=")); ok {
				read += firstNumber(n)
			} else if n, ok := bytes.CutPrefix(word, []byte("wbytes=")); ok {
				written += firstNumber(n)
			}
		}
	}
	return read, written
}

// MemoryLimits finds the memory limits that hold in directories, and remembers
// those that it has read: containers mostly have the same parents.
type MemoryLimits map[string]uint64

// Of is the lowest memory.max of a cgroup's directory and of all above it;
// math.MaxUint64 where there is none.
func (l MemoryLimits) Of(dir string) uint64 {
	if dir == "" || dir == "/" || dir == "." {
		return math.MaxUint64
	}
	if limit, ok := l[dir]; ok {
		return limit
	}
	limit := l.Of(filepath.Dir(dir))
	if fd, err := unix.Open(dir+"/memory.max", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0); err == nil {
		var space [64]byte
		n, err := unix.Read(fd, space[:])
		unix.Close(fd)
		if own, perr := strconv.ParseUint(string(bytes.TrimSpace(space[:max(n, 0)])), 10, 64); err == nil && perr == nil {
			limit = min(limit, own)
		}
	}
	l[dir] = limit
	return limit
}
