#include "textflag.h"

// handler writes the low byte of DI, the signal, to the pipe. The kernel has
// saved all registers, and restorer gives them back.
TEXT handler<>(SB), NOSPLIT|NOFRAME, $0-0
	SUBQ $8, SP
	MOVB DI, 0(SP)
	MOVL ·pipe(SB), DI
	MOVQ SP, SI
	MOVL $1, DX
	MOVL $1, AX // write
	SYSCALL
	ADDQ $8, SP
	RET

TEXT restorer<>(SB), NOSPLIT|NOFRAME, $0-0
	MOVL $15, AX // rt_sigreturn
	SYSCALL
	INT  $3

// func handlerAddr() uintptr
TEXT ·handlerAddr(SB), NOSPLIT, $0-8
	MOVQ $handler<>(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func restorerAddr() uintptr
TEXT ·restorerAddr(SB), NOSPLIT, $0-8
	MOVQ $restorer<>(SB), AX
	MOVQ AX, ret+0(FP)
	RET
