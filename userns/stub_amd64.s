#include "textflag.h"

// The stub: see stub.go for what it does. It is never called in our process;
// its bytes are copied behind an ELF header. So: position independent, no
// data, no stack frame (memory below the entry stack pointer serves), only
// registers that system calls keep.
//
//	BX  entry stack pointer        R12 argv        R13 envp
//	R14 number in argv[1]          R15 mode, later the child's pid or errno
TEXT ·stubCode(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ SP, BX
	MOVQ 0(BX), CX
	LEAQ 8(BX), R12
	LEAQ 16(BX)(CX*8), R13
	CMPQ CX, $3
	JLT  refuse
	MOVQ 0(R12), SI
	MOVQ $0x656c6361726f635b, AX // "[coracle"
	CMPQ AX, 0(SI)
	JNE  refuse
	MOVBLZX 9(SI), R15

	MOVQ 8(R12), SI
	XORL R14, R14
digit:
	MOVBLZX 0(SI), AX
	TESTL AX, AX
	JEQ  mode
	LEAQ (R14)(R14*4), R14
	LEAQ -48(AX)(R14*2), R14
	INCQ SI
	JMP  digit

mode:
	CMPL R15, $103 // 'g'
	JEQ  guard
	CMPL R15, $105 // 'i'
	JEQ  init
	CMPL R15, $101 // 'e'
	JEQ  exec
	CMPL R15, $99 // 'c'
	JNE  refuse

	// Created: one byte from descriptor argv[1]+1 is the start.
created:
	LEAQ 1(R14), DI
	LEAQ -16(BX), SI
	MOVL $1, DX
	XORL AX, AX // read
	SYSCALL
	CMPQ AX, $-4 // EINTR
	JEQ  created
	CMPQ AX, $1
	JNE  refuse
	LEAQ 1(R14), DI
	MOVL $3, AX // close
	SYSCALL
	TESTQ AX, AX
	JEQ  started
	LEAQ 1(R14), DI // a filter of the payload's denies it: see exec
	MOVQ DI, SI
	XORL DX, DX
	MOVL $436, AX // close_range
	SYSCALL
	TESTQ AX, AX
	JNE  denied
started:
	MOVQ 0(R12), SI
	CMPB 16(SI), $45 // '-'
	JEQ  init

	// Candidates are argv[2] up to an empty string; behind it stands the
	// payload's own argv.
exec:
	LEAQ 16(R12), R8
	MOVQ R8, R9
find:
	MOVQ 0(R9), SI
	TESTQ SI, SI
	JEQ  refuse
	ADDQ $8, R9
	CMPB 0(SI), $0
	JNE  find

	MOVQ R14, DI // fcntl(errfd, F_SETFD, FD_CLOEXEC)
	MOVL $2, SI
	MOVL $1, DX
	MOVL $72, AX
	SYSCALL
	// A filter of the payload's can deny that, or pretend. With the pipe open
	// the payload must not go on: its launcher waits for the pipe's end.
	MOVQ R14, DI
	MOVL $1, SI // F_GETFD
	MOVL $72, AX
	SYSCALL
	CMPQ AX, $1 // FD_CLOEXEC
	JEQ  closes
	MOVQ R14, DI
	MOVQ R14, SI
	MOVL $4, DX // CLOSE_RANGE_CLOEXEC
	MOVL $436, AX // close_range
	SYSCALL
	TESTQ AX, AX
	JEQ  closes
denied:
	NEGL AX
	MOVL AX, R15
	JMP  fail
closes:
	MOVL $2, R15 // ENOENT until a candidate says otherwise
try:
	MOVQ 0(R8), DI
	CMPB 0(DI), $0
	JEQ  fail
	ADDQ $8, R8
	MOVQ R9, SI
	MOVQ R13, DX
	MOVL $59, AX // execve
	SYSCALL
	NEGL AX
	CMPL AX, $2 // ENOENT
	JEQ  try
	CMPL AX, $20 // ENOTDIR
	JEQ  try
	MOVL AX, R15
	CMPL AX, $13 // EACCES: look further, as execvp does
	JEQ  try
fail:
	MOVL R15, -16(BX)
	MOVQ R14, DI
	LEAQ -16(BX), SI
	MOVL $4, DX
	MOVL $1, AX // write
	SYSCALL
	MOVL $127, DI
	CMPL R15, $2
	JEQ  exit
refuse:
	MOVL $126, DI
exit:
	MOVL $231, AX // exit_group
	SYSCALL
	JMP  exit

init:
	// Block all signals: the loop below takes them one by one.
	MOVQ $-1, -64(BX)
	XORL DI, DI
	LEAQ -64(BX), SI
	LEAQ -56(BX), DX
	MOVL $8, R10
	MOVL $14, AX // rt_sigprocmask
	SYSCALL
	MOVL $17, DI // SIGCHLD
	XORL SI, SI
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	MOVL $56, AX // clone
	SYSCALL
	TESTQ AX, AX
	JGT  parent
	JEQ  child
	NEGL AX
	MOVL AX, R15
	JMP  fail
child:
	MOVL $2, DI // SIG_SETMASK
	LEAQ -56(BX), SI
	XORL DX, DX
	MOVL $8, R10
	MOVL $14, AX
	SYSCALL
	// A group of its own, so that a signal from the terminal comes once;
	// where there is a terminal, the group becomes its foreground.
	XORL DI, DI
	XORL SI, SI
	MOVL $109, AX // setpgid
	SYSCALL
	MOVL $39, AX // getpid
	SYSCALL
	MOVL AX, -16(BX)
	MOVQ $-1, -64(BX) // SIGTTOU must not stop us here
	XORL DI, DI
	LEAQ -64(BX), SI
	LEAQ -48(BX), DX
	MOVL $8, R10
	MOVL $14, AX
	SYSCALL
	XORL DI, DI
	MOVL $0x5410, SI // TIOCSPGRP
	LEAQ -16(BX), DX
	MOVL $16, AX // ioctl
	SYSCALL
	MOVL $2, DI
	LEAQ -48(BX), SI
	XORL DX, DX
	MOVL $8, R10
	MOVL $14, AX
	SYSCALL
	JMP  exec
parent:
	MOVQ AX, R15
	MOVQ R14, DI
	MOVL $3, AX // close
	SYSCALL
	TESTQ AX, AX
	JEQ  next
	MOVQ R14, DI
	MOVQ R14, SI
	XORL DX, DX
	MOVL $436, AX // close_range
	SYSCALL
	TESTQ AX, AX
	JNE  refuse
next:
	LEAQ -64(BX), DI
	LEAQ -256(BX), SI
	XORL DX, DX
	MOVL $8, R10
	MOVL $128, AX // rt_sigtimedwait
	SYSCALL
	CMPL AX, $17
	JEQ  reap
	TESTL AX, AX
	JLE  next
	MOVL AX, SI
	MOVQ R15, DI
	MOVL $62, AX // kill
	SYSCALL
	JMP  next
reap:
	MOVQ $-1, DI
	LEAQ -272(BX), SI
	MOVL $1, DX // WNOHANG
	XORL R10, R10
	MOVL $61, AX // wait4
	SYSCALL
	TESTL AX, AX
	JLE  next
	CMPL AX, R15
	JNE  reap
	MOVL -272(BX), AX
	MOVL AX, DI
	SHRL $8, DI
	ANDL $255, DI
	ANDL $127, AX
	JEQ  exit
	LEAL 128(AX), DI
	JMP  exit

	// Descriptor 0 is the pipe from the launcher, 1 the pidfd; nothing else
	// is kept. A ^C on the terminal is not for it.
guard:
	MOVQ $-1, -64(BX)
	MOVL $2, DI // SIG_SETMASK
	LEAQ -64(BX), SI
	XORL DX, DX
	MOVL $8, R10
	MOVL $14, AX // rt_sigprocmask
	SYSCALL
	MOVL $2, DI
	MOVL $-1, SI
	XORL DX, DX
	MOVL $436, AX // close_range
	SYSCALL
watch:
	XORL DI, DI
	LEAQ -16(BX), SI
	MOVL $1, DX
	XORL AX, AX // read
	SYSCALL
	CMPQ AX, $-4 // EINTR
	JEQ  watch
	MOVL $1, DI
	MOVL $9, SI
	XORL DX, DX
	XORL R10, R10
	MOVL $424, AX // pidfd_send_signal
	SYSCALL
	XORL DI, DI
	JMP  exit

	// The end, for stubBytes: "CRCL-END"
	BYTE $0x43; BYTE $0x52; BYTE $0x43; BYTE $0x4c
	BYTE $0x2d; BYTE $0x45; BYTE $0x4e; BYTE $0x44

// func stubAddr() uintptr
TEXT ·stubAddr(SB), NOSPLIT, $0-8
	LEAQ ·stubCode(SB), AX
	MOVQ AX, ret+0(FP)
	RET
