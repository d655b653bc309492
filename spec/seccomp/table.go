package seccomp

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// archID is a column of the generated table.
type archID uint8

const (
	archAMD64 archID = iota
	arch386
	archX32
	archARM64
	archARM
	archCount
)

// muxColumn is where tableNumbers keeps the i386 multiplexer's number.
const muxColumn = archCount

// x32Bit tells x32 calls from x86_64 ones, which share an audit token
// (arch/x86/include/uapi/asm/unistd.h, __X32_SYSCALL_BIT).
const x32Bit = 0x40000000

// abi is one way into the kernel as a filter sees it.
type abi struct {
	id     archID
	name   specs.Arch
	token  uint32 // seccomp_data.arch
	offset uint32 // added to the table's numbers
	wide   bool   // arguments are 64 bits
}

// abisOf lists what a kernel of goarch can present, the native ABI first.
func abisOf(goarch string) []abi {
	switch goarch {
	case "amd64":
		return []abi{
			{archAMD64, specs.ArchX86_64, unix.AUDIT_ARCH_X86_64, 0, true},
			{archX32, specs.ArchX32, unix.AUDIT_ARCH_X86_64, x32Bit, false},
			{arch386, specs.ArchX86, unix.AUDIT_ARCH_I386, 0, false},
		}
	case "arm64":
		return []abi{
			{archARM64, specs.ArchAARCH64, unix.AUDIT_ARCH_AARCH64, 0, true},
			{archARM, specs.ArchARM, unix.AUDIT_ARCH_ARM, 0, false},
		}
	}
	return nil
}

func tableName(i int) string {
	start := uint16(0)
	if i > 0 {
		start = tableEnds[i-1]
	}
	return tableNames[start:tableEnds[i]]
}

// lookup returns the row of name in tableNumbers, or -1.
func lookup(name string) int {
	lo, hi := 0, len(tableEnds)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		switch at := tableName(mid); {
		case at == name:
			return mid
		case at < name:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return -1
}

// number is the system call number of a table row as a filter for a sees it.
func (a abi) number(row int) (uint32, bool) {
	nr := tableNumbers[row][a.id]
	if nr < 0 {
		return 0, false
	}
	return uint32(nr) | a.offset, true
}

// multiplexed returns the multiplexer's own number and its first argument for
// a call that i386 can also make through socketcall(2) or ipc(2).
func (a abi) multiplexed(row int) (nr, call uint32, ok bool) {
	m := uint32(tableNumbers[row][muxColumn])
	switch {
	case a.id != arch386 || m == 0:
		return 0, 0, false
	case m < 200:
		return 102, m - 100, true // socketcall
	}
	return 117, m - 200, true // ipc
}

// archs are those of the runtime-spec (v1.3.0, config-linux.md#seccomp), sorted
// by name.
var archs = [...]specs.Arch{
	specs.ArchAARCH64, specs.ArchARM, specs.ArchLOONGARCH64, specs.ArchM68K, specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32,
	specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32, specs.ArchPARISC, specs.ArchPARISC64,
	specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchRISCV64, specs.ArchS390, specs.ArchS390X,
	specs.ArchSH, specs.ArchSHEB, specs.ArchX32, specs.ArchX86, specs.ArchX86_64,
}

func knownArch(a specs.Arch) bool {
	for i := range archs {
		if archs[i] == a {
			return true
		}
	}
	return false
}
