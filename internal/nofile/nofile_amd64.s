#include "textflag.h"

// func prlimit(r *[2]uint64) int64
TEXT ·prlimit(SB), NOSPLIT, $0-16
	XORL DI, DI
	MOVL $7, SI
	XORL DX, DX
	MOVQ r+0(FP), R10
	MOVL $302, AX
	SYSCALL
	MOVQ AX, ret+8(FP)
	RET
