#include "textflag.h"

// func cloneShared(args *cloneArgs, size uintptr, f *childFrame) (pid, errno uintptr)
TEXT ·cloneShared(SB), NOSPLIT, $16-40
	MOVD args+0(FP), R0
	MOVD size+8(FP), R1
	MOVD f+16(FP), R19 // the kernel keeps it
	MOVD $435, R8      // clone3
	SVC
	CBZ  R0, child
	CMN  $4095, R0
	BCS  failed
	MOVD R0, pid+24(FP)
	MOVD ZR, errno+32(FP)
	RET

failed:
	NEG  R0, R0
	MOVD ZR, pid+24(FP)
	MOVD R0, errno+32(FP)
	RET

child:
	// RSP is the new stack's, with room above it.
	MOVD R19, 8(RSP)
	CALL ·childLoop(SB)
	BRK
