#include "textflag.h"

// handler writes the low byte of R0, the signal, to the pipe. The kernel has
// saved all registers, and what R30 leads to gives them back.
TEXT handler<>(SB), NOSPLIT|NOFRAME, $0-0
	SUB  $16, RSP
	MOVB R0, 0(RSP)
	MOVW ·pipe(SB), R0
	MOVD RSP, R1
	MOVD $1, R2
	MOVD $64, R8 // write
	SVC
	ADD  $16, RSP
	RET

// func handlerAddr() uintptr
TEXT ·handlerAddr(SB), NOSPLIT, $0-8
	MOVD $handler<>(SB), R0
	MOVD R0, ret+0(FP)
	RET

// func restorerAddr() uintptr
TEXT ·restorerAddr(SB), NOSPLIT, $0-8
	MOVD ZR, ret+0(FP)
	RET
