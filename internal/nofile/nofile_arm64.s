#include "textflag.h"

// func prlimit(r *[2]uint64) int64
TEXT ·prlimit(SB), NOSPLIT, $0-16
	MOVD ZR, R0
	MOVD $7, R1
	MOVD ZR, R2
	MOVD r+0(FP), R3
	MOVD $261, R8
	SVC
	MOVD R0, ret+8(FP)
	RET
