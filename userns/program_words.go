package userns

import "syscall"

// What a Program does with the memory that its calls have filled.

// RefuseWord fails with errno when the 64-bit word at the start of b, which
// must have come from Bytes, is bad.
func (p *Program) RefuseWord(label string, b []byte, bad uint64, errno syscall.Errno) {
	p.Call(label, opRefuse, b, uintptr(bad), uintptr(errno))
}

// NeedWord fails with errno unless the 64-bit word at the start of b, which
// must have come from Bytes, is want.
func (p *Program) NeedWord(label string, b []byte, want uint64, errno syscall.Errno) Step {
	return p.Call(label, opNeedWord, b, uintptr(want), uintptr(errno))
}

// Peek reads the 32-bit word at the start of b, which must have come from
// Bytes, into the register.
func (p *Program) Peek(b []byte, r Reg) {
	p.Call("", opPeek, b, uintptr(r))
}

// Reply fails with the errno at the start of code, unless it is 0; its result is
// the 32-bit word at the start of value. Both must have come from Bytes.
func (p *Program) Reply(label string, code, value []byte) Step {
	return p.Call(label, opReply, code, value)
}

// Same fails with errno unless the 64-bit words at the start of a and b, which
// must have come from Bytes, are equal.
func (p *Program) Same(label string, a, b []byte, errno syscall.Errno) {
	p.Call(label, opSame, a, b, uintptr(errno))
}

// Blend keeps the register's bits that are in and, and sets those in or.
func (p *Program) Blend(r Reg, and, or uintptr) {
	p.Call("", opBlend, uintptr(r), and, or)
}

// Octal writes the lowest twelve bits of the 32-bit word at the start of word to
// the start of b, as four octal digits: a mode as mount options have it. Both
// must have come from Bytes.
func (p *Program) Octal(b, word []byte) {
	p.Call("", opOctal, b, word)
}

// Addr keeps b and returns its address as an argument: for memory that many
// calls name.
func (p *Program) Addr(b []byte) uintptr {
	v, _ := p.arg("", b)
	return v
}
