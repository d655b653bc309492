package spec

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Whatever is open, the child's own descriptors find room below the handles:
// else a handle would take the number of one, and close it.
func TestFreeHandlesLeaveRoom(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	isFree := func(fd int) bool {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		return err != nil
	}
	for _, last := range []int{2, 15, 16, 40} {
		var filled []int
		for fd := 3; fd <= last; fd += 1 + last/40 { // with holes, at the end
			if isFree(fd) {
				if err := unix.Dup3(int(null.Fd()), fd, unix.O_CLOEXEC); err != nil {
					t.Fatal(err)
				}
				filled = append(filled, fd)
			}
		}
		const n = 20
		base, err := freeHandles(n)
		if err != nil {
			t.Fatal(err)
		}
		below := 0
		for fd := 3; fd < base; fd++ {
			if isFree(fd) {
				below++
			}
		}
		for fd := base; fd < base+n; fd++ {
			if !isFree(fd) {
				t.Errorf("up to %d filled: %d is not free", last, fd)
			}
		}
		if below < ownHandles {
			t.Errorf("up to %d filled: %d free numbers below %d", last, below, base)
		}
		for _, fd := range filled {
			unix.Close(fd)
		}
	}
}
