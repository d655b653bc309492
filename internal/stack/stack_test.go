package stack

import "testing"

// Reserve must leave a stack that need not grow, which shows in its address: a
// grown stack is another one.
func TestReserve(t *testing.T) {
	moved := make(chan bool)
	try := func(reserve bool) bool {
		go func() {
			var here byte
			if reserve {
				Reserve()
			}
			before := address(&here)
			deep(100)
			moved <- address(&here) != before
		}()
		return <-moved
	}
	if !try(false) {
		t.Fatal("a stack of this size does not grow here: the test proves nothing")
	}
	if try(true) {
		t.Error("the stack has moved after Reserve")
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
