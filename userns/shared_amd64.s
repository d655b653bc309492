#include "textflag.h"

// func cloneShared(args *cloneArgs, size uintptr, f *childFrame) (pid, errno uintptr)
TEXT ·cloneShared(SB), NOSPLIT, $0-40
	MOVQ args+0(FP), DI
	MOVQ size+8(FP), SI
	MOVQ f+16(FP), R12 // the kernel keeps it
	MOVL $435, AX      // clone3
	SYSCALL
	TESTQ AX, AX
	JEQ  child
	CMPQ AX, $0xfffffffffffff001
	JHI  failed
	MOVQ AX, pid+24(FP)
	MOVQ $0, errno+32(FP)
	RET

failed:
	NEGQ AX
	MOVQ $0, pid+24(FP)
	MOVQ AX, errno+32(FP)
	RET

child:
	// SP is the new stack's, with room above it.
	MOVQ R12, 0(SP)
	CALL ·childLoop(SB)
	INT  $3
