// Package inittask puts off the initialisation of other packages, and does it later as
// the runtime would have done. Who uses it must be initialised before them: a package
// with a path that sorts before theirs and few imports is (see the language's
// specification, "Program initialization"). Should a version of Go keep elsewhere what
// is to be done, the tests of internal/later and of internal/e2e say so.
package inittask

import "unsafe"

// Task is the beginning of the runtime's initTask, which as many functions follow. A
// package's own is named by go:linkname PATH..inittask.
type Task struct{ state, functions uint32 }

const (
	fresh       = 0
	initialised = 2
)

// PutOff says that these packages have been initialised, unless one of them has:
// then it does nothing, and false.
func PutOff(tasks ...*Task) bool {
	for _, t := range tasks {
		if t.state != fresh {
			return false
		}
	}
	for _, t := range tasks {
		t.state = initialised
	}
	return true
}

// Run initialises packages that were put off, each after those that it imports. It is
// to be called once, before any of them is used.
func Run(tasks ...*Task) {
	for _, t := range tasks {
		// A function value is a pointer to where its address stands.
		first := unsafe.Add(unsafe.Pointer(t), unsafe.Sizeof(*t))
		for i := range uintptr(t.functions) {
			f := unsafe.Add(first, i*unsafe.Sizeof(i))
			(*(*func())(unsafe.Pointer(&f)))()
		}
	}
}
