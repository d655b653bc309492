// Package stack gives goroutines a stack that will do, at once. Growing by
// doubling copies it five times on the way through a start, and each time the
// tables of all functions on it are read, from pages that nobody has touched yet:
// a tenth of all page faults.
//
// This package imports nothing, so it is initialised before nearly all others,
// and the main goroutine, which initialises those, is the first to have one: twice as
// large, for it goes through the whole of a start. Of either, only what is used takes memory.
package stack

var _ = mainRoom(0)

// Reserve makes room for all that the calling goroutine is likely to call.
func Reserve() { room(0) }

//go:noinline
func room(use int) byte {
	if use > 0 { // never: the room is in the frame all the same
		var frame [48 << 10]byte
		for i := range use {
			frame[i%len(frame)]++
		}
		return frame[use%len(frame)]
	}
	return 0
}

//go:noinline
func mainRoom(use int) byte {
	if use > 0 { // as in room
		var frame [100 << 10]byte
		for i := range use {
			frame[i%len(frame)]++
		}
		return frame[use%len(frame)]
	}
	return 0
}
