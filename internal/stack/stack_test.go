package stack

import "testing"

// What makes room must leave a stack that need not grow, which shows in its address: a
// grown stack is another one.
func TestReserve(t *testing.T) {
	moved := make(chan bool)
	try := func(reserve func(), levels int) bool {
		go func() {
			var here byte
			reserve()
			before := address(&here)
			deep(levels)
			moved <- address(&here) != before
		}()
		return <-moved
	}
	nothing, forMain := func() {}, func() { mainRoom(0) }
	if !try(nothing, 100) || !try(Reserve, 250) { // a level takes some 300 bytes
		t.Fatal("a stack of this size does not grow here: the test proves nothing")
	}
	if try(Reserve, 100) {
		t.Error("the stack has moved after Reserve")
	}
	if try(forMain, 250) {
		t.Error("the main goroutine's stack moves")
	}
}

//go:noinline
func deep(n int) byte {
	var frame [256]byte
	frame[n%len(frame)] = 1
	if n == 0 {
		return frame[0]
	}
	return deep(n-1) + frame[n%len(frame)]
}
