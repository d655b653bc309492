package stack

import "unsafe"

// address is where p points; p does not escape.
//
//go:noinline
func address(p *byte) uintptr { return uintptr(unsafe.Pointer(p)) }
