#include "textflag.h"

// The stub: see stub.go for what it does, stub_amd64.s for its rules.
//
//	R19 entry stack pointer        R20 argv        R21 envp
//	R22 number in argv[1]          R23 mode, later the child's pid or errno
TEXT ·stubCode(SB), NOSPLIT|NOFRAME, $0-0
	MOVD RSP, R19
	MOVD 0(R19), R9
	ADD  $8, R19, R20
	ADD  R9<<3, R20, R21
	ADD  $8, R21, R21
	CMP  $3, R9
	BLT  refuse
	MOVD 0(R20), R1
	MOVD 0(R1), R2
	MOVD $0x656c6361726f635b, R3 // "[coracle"
	CMP  R2, R3
	BNE  refuse
	MOVBU 9(R1), R23

	MOVD 8(R20), R1
	MOVD ZR, R22
	MOVD $10, R3
digit:
	MOVBU 0(R1), R2
	CBZ  R2, mode
	MUL  R3, R22, R22
	SUB  $48, R2, R2
	ADD  R2, R22, R22
	ADD  $1, R1, R1
	JMP  digit

mode:
	CMP  $103, R23 // 'g'
	BEQ  guard
	CMP  $105, R23 // 'i'
	BEQ  init
	CMP  $101, R23 // 'e'
	BEQ  exec
	CMP  $99, R23 // 'c'
	BNE  refuse

created:
	ADD  $1, R22, R0
	SUB  $16, R19, R1
	MOVD $1, R2
	MOVD $63, R8 // read
	SVC
	CMN  $4, R0 // -EINTR
	BEQ  created
	CMP  $1, R0
	BNE  refuse
	ADD  $1, R22, R0
	MOVD $57, R8 // close
	SVC
	CBZ  R0, started
	ADD  $1, R22, R0
	MOVD R0, R1
	MOVD ZR, R2
	MOVD $436, R8 // close_range
	SVC
	CBNZ R0, denied
started:
	MOVD 0(R20), R1
	MOVBU 16(R1), R2
	CMP  $45, R2 // '-'
	BEQ  init

exec:
	ADD  $16, R20, R24
	MOVD R24, R25
find:
	MOVD 0(R25), R1
	CBZ  R1, refuse
	ADD  $8, R25, R25
	MOVBU 0(R1), R2
	CBNZ R2, find

	MOVD R22, R0 // fcntl(errfd, F_SETFD, FD_CLOEXEC)
	MOVD $2, R1
	MOVD $1, R2
	MOVD $25, R8
	SVC
	MOVD R22, R0
	MOVD $1, R1 // F_GETFD
	MOVD $25, R8
	SVC
	CMP  $1, R0 // FD_CLOEXEC
	BEQ  closes
	MOVD R22, R0
	MOVD R22, R1
	MOVD $4, R2 // CLOSE_RANGE_CLOEXEC
	MOVD $436, R8 // close_range
	SVC
	CBZ  R0, closes
denied:
	NEG  R0, R23
	JMP  fail
closes:
	MOVD $2, R23 // ENOENT until a candidate says otherwise
try:
	MOVD 0(R24), R0
	MOVBU 0(R0), R2
	CBZ  R2, fail
	ADD  $8, R24, R24
	MOVD R25, R1
	MOVD R21, R2
	MOVD $221, R8 // execve
	SVC
	NEG  R0, R0
	CMP  $2, R0 // ENOENT
	BEQ  try
	CMP  $20, R0 // ENOTDIR
	BEQ  try
	MOVD R0, R23
	CMP  $13, R0 // EACCES: look further, as execvp does
	BEQ  try
fail:
	MOVW R23, -16(R19)
	MOVD R22, R0
	SUB  $16, R19, R1
	MOVD $4, R2
	MOVD $64, R8 // write
	SVC
	MOVD $127, R0
	CMP  $2, R23
	BEQ  exit
refuse:
	MOVD $126, R0
exit:
	MOVD $94, R8 // exit_group
	SVC
	JMP  exit

init:
	MOVD $-1, R1
	MOVD R1, -64(R19)
	MOVD ZR, R0
	SUB  $64, R19, R1
	SUB  $56, R19, R2
	MOVD $8, R3
	MOVD $135, R8 // rt_sigprocmask
	SVC
	MOVD $17, R0 // SIGCHLD
	MOVD ZR, R1
	MOVD ZR, R2
	MOVD ZR, R3
	MOVD ZR, R4
	MOVD $220, R8 // clone
	SVC
	CMP  $0, R0
	BGT  parent
	BEQ  child
	NEG  R0, R23
	JMP  fail
child:
	MOVD $2, R0 // SIG_SETMASK
	SUB  $56, R19, R1
	MOVD ZR, R2
	MOVD $8, R3
	MOVD $135, R8
	SVC
	MOVD ZR, R0
	MOVD ZR, R1
	MOVD $154, R8 // setpgid
	SVC
	MOVD $172, R8 // getpid
	SVC
	MOVW R0, -16(R19)
	MOVD $-1, R1
	MOVD R1, -64(R19)
	MOVD ZR, R0
	SUB  $64, R19, R1
	SUB  $48, R19, R2
	MOVD $8, R3
	MOVD $135, R8
	SVC
	MOVD ZR, R0
	MOVD $0x5410, R1 // TIOCSPGRP
	SUB  $16, R19, R2
	MOVD $29, R8 // ioctl
	SVC
	MOVD $2, R0
	SUB  $48, R19, R1
	MOVD ZR, R2
	MOVD $8, R3
	MOVD $135, R8
	SVC
	JMP  exec
parent:
	MOVD R0, R23
	MOVD R22, R0
	MOVD $57, R8 // close
	SVC
	CBZ  R0, next
	MOVD R22, R0
	MOVD R22, R1
	MOVD ZR, R2
	MOVD $436, R8 // close_range
	SVC
	CBNZ R0, refuse
next:
	SUB  $64, R19, R0
	SUB  $256, R19, R1
	MOVD ZR, R2
	MOVD $8, R3
	MOVD $137, R8 // rt_sigtimedwait
	SVC
	CMP  $17, R0
	BEQ  reap
	CMP  $0, R0
	BLE  next
	MOVD R0, R1
	MOVD R23, R0
	MOVD $129, R8 // kill
	SVC
	JMP  next
reap:
	MOVD $-1, R0
	SUB  $272, R19, R1
	MOVD $1, R2 // WNOHANG
	MOVD ZR, R3
	MOVD $260, R8 // wait4
	SVC
	CMP  $0, R0
	BLE  next
	CMP  R0, R23
	BNE  reap
	SUB  $272, R19, R1
	MOVWU 0(R1), R2
	LSR  $8, R2, R0
	AND  $255, R0, R0
	AND  $127, R2, R2
	CBZ  R2, exit
	ADD  $128, R2, R0
	JMP  exit

guard:
	MOVD $-1, R1
	MOVD R1, -64(R19)
	MOVD $2, R0 // SIG_SETMASK
	SUB  $64, R19, R1
	MOVD ZR, R2
	MOVD $8, R3
	MOVD $135, R8 // rt_sigprocmask
	SVC
	MOVD $2, R0
	MOVD $0xffffffff, R1
	MOVD ZR, R2
	MOVD $436, R8 // close_range
	SVC
watch:
	MOVD ZR, R0
	SUB  $16, R19, R1
	MOVD $1, R2
	MOVD $63, R8 // read
	SVC
	CMN  $4, R0 // -EINTR
	BEQ  watch
	MOVD $1, R0
	MOVD $9, R1
	MOVD ZR, R2
	MOVD ZR, R3
	MOVD $424, R8 // pidfd_send_signal
	SVC
	MOVD ZR, R0
	JMP  exit

	WORD $0x4c435243
	WORD $0x444e452d

// func stubAddr() uintptr
TEXT ·stubAddr(SB), NOSPLIT, $0-8
	MOVD $·stubCode(SB), R0
	MOVD R0, ret+0(FP)
	RET
