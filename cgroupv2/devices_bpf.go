package cgroupv2

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// instruction is one of eBPF (Documentation/bpf/standardization/instruction-set.rst).
type instruction struct {
	code     uint8
	dst, src uint8
	off      int16
	imm      int32
}

// The few kinds of instruction that are needed.
const (
	opLoad  = 0x61 // dst = *(u32 *)(src + off)
	opMov   = 0xb4 // dst = imm, 32 bit
	opAnd   = 0x54 // dst &= imm, 32 bit
	opShift = 0x74 // dst >>= imm, 32 bit
	opJump  = 0x05 // pc += off
	opNotEq = 0x55 // if dst != imm: pc += off
	opAny   = 0x45 // if dst & imm: pc += off
	opExit  = 0x95 // return r0
)

// Registers: r1 is struct bpf_cgroup_dev_ctx {u32 access_type, major, minor}.
const (
	regResult = 0
	regCtx    = 1
	regKind   = 2
	regLeft   = 3 // kinds of access that no rule has decided yet
	regMajor  = 4
	regMinor  = 5
)

// deviceProgram is the BPF_CGROUP_DEVICE program of the rules: 1 allows. It
// goes through them from the last to the first. Each kind of access is decided
// by itself: an open for reading and writing asks for both at once, and a rule
// that denies writing must not be passed over for naming less.
func deviceProgram(rules []deviceRule) []instruction {
	p := []instruction{
		{code: opLoad, dst: regKind, src: regCtx},
		{code: opAnd, dst: regKind, imm: 0xffff},
		{code: opLoad, dst: regLeft, src: regCtx},
		{code: opShift, dst: regLeft, imm: 16},
		{code: opLoad, dst: regMajor, src: regCtx, off: 4},
		{code: opLoad, dst: regMinor, src: regCtx, off: 8},
	}
	end := func(result int32) []instruction {
		return []instruction{{code: opMov, dst: regResult, imm: result}, {code: opExit}}
	}
	for i := len(rules) - 1; i >= 0; i-- {
		r := rules[i]
		var act []instruction
		if r.allow {
			act = append([]instruction{{code: opAnd, dst: regLeft, imm: ^r.access}, {code: opNotEq, dst: regLeft, off: 2}}, end(1)...)
		} else {
			act = append([]instruction{{code: opAny, dst: regLeft, imm: r.access, off: 1}, {code: opJump, off: 2}}, end(0)...)
		}
		var test []instruction
		for _, c := range []struct {
			reg  uint8
			want int64
			any  bool
		}{{regKind, int64(r.kind), r.kind == 0}, {regMajor, r.major, r.major < 0}, {regMinor, r.minor, r.minor < 0}} {
			if !c.any {
				test = append(test, instruction{code: opNotEq, dst: c.reg, imm: int32(c.want)})
			}
		}
		for j := range test {
			test[j].off = int16(len(test) - j - 1 + len(act))
		}
		p = append(append(p, test...), act...)
	}
	return append(p, end(0)...)
}

func encode(p []instruction) []byte {
	b := make([]byte, 0, 8*len(p))
	for _, i := range p {
		b = append(b, i.code, i.src<<4|i.dst)
		b = binary.NativeEndian.AppendUint16(b, uint16(i.off))
		b = binary.NativeEndian.AppendUint32(b, uint32(i.imm))
	}
	return b
}

// attachDevices loads the program and attaches it to the cgroup, in place of
// those that are attached to it. Programs add up, so that there is no moment
// without one.
func attachDevices(cgroup int, p []instruction) error {
	old, err := attached(cgroup)
	if err != nil {
		return err
	}
	code, license := encode(p), []byte("Apache-2.0\x00")
	load := struct {
		kind, count    uint32
		code, license  uint64
		level, logSize uint32
		log            uint64
	}{
		kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(p)),
		code: address(code), license: address(license),
	}
	fd, err := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&load), unsafe.Sizeof(load))
	runtime.KeepAlive(code)
	runtime.KeepAlive(license)
	if err != nil {
		return fmt.Errorf("load the device program: %w", err)
	}
	defer unix.Close(fd)
	if err := attach(unix.BPF_PROG_ATTACH, cgroup, fd, unix.BPF_F_ALLOW_MULTI); err != nil {
		return fmt.Errorf("attach the device program: %w", err)
	}
	for _, id := range old {
		if err := detach(cgroup, id); err != nil {
			return fmt.Errorf("detach the old device program: %w", err)
		}
	}
	return nil
}

func attach(cmd, cgroup, program int, flags uint32) error {
	attr := struct{ target, program, kind, flags, replace uint32 }{
		target: uint32(cgroup), program: uint32(program), kind: unix.BPF_CGROUP_DEVICE, flags: flags,
	}
	_, err := bpf(cmd, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

func detach(cgroup int, id uint32) error {
	attr := struct{ id, next, flags uint32 }{id: id}
	fd, err := bpf(unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return attach(unix.BPF_PROG_DETACH, cgroup, fd, 0)
}

// attached are the ids of the device programs of the cgroup itself, of which
// the kernel allows 64.
func attached(cgroup int) ([]uint32, error) {
	ids := make([]uint32, 64)
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&ids[0])
	// Kernels from 6.17 on write to the last field whatever size is given.
	attr := struct {
		target, kind, query, flags uint32
		ids                        uint64
		count, _                   uint32
		_, _, _, revision          uint64
	}{target: uint32(cgroup), kind: unix.BPF_CGROUP_DEVICE, ids: uint64(uintptr(unsafe.Pointer(&ids[0]))), count: uint32(len(ids))}
	if _, err := bpf(unix.BPF_PROG_QUERY, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return nil, fmt.Errorf("list device programs: %w", err)
	}
	return ids[:min(int(attr.count), len(ids))], nil
}

func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&b[0]))) }

// bpf calls bpf(2); a signal makes the verifier give up with EAGAIN, and Go
// sends itself signals.
func bpf(cmd int, attr unsafe.Pointer, size uintptr) (int, error) {
	for n := 0; ; n++ {
		r, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(cmd), uintptr(attr), size)
		if errno == 0 {
			return int(r), nil
		}
		if errno != unix.EAGAIN && errno != unix.EINTR || n == 30 {
			return -1, errno
		}
	}
}
