package sandbox

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLandlock(t *testing.T) {
	for _, tt := range []struct {
		abi           int
		o             Options
		files, scoped uint64
		writable      string // paths
	}{
		{abi: 0}, {abi: 1},
		{abi: 2, files: 0x3fff, writable: "/dev/shm /home/u /home/u/p /run /tmp /var/tmp"},
		{abi: 3, files: 0x7fff, writable: "/dev/shm /home/u /home/u/p /run /tmp /var/tmp"},
		{abi: 7, o: Options{Cwd: RO}, files: 0xffff, scoped: 3, writable: "/dev/shm /home/u /run /tmp /var/tmp"},
		{abi: 7, o: Options{Cwd: RW}, files: 0xffff, scoped: 3, writable: "/dev/shm /home/u /home/u/p /run /tmp /var/tmp"},
		{abi: 7, o: Options{Root: NoRoot, Cwd: None}, files: 0xffff, scoped: 3, writable: "/ /dev/shm /home/u /run /tmp /var/tmp"},
	} {
		t.Run(fmt.Sprint(tt.abi, tt.o.Cwd, tt.o.Root), func(t *testing.T) {
			f := facts()
			f.Landlock = tt.abi
			pl, err := New(tt.o, f, newFake())
			if err != nil {
				t.Fatal(err)
			}
			l := pl.Landlock()
			if l.Handled != tt.files || l.Scoped != tt.scoped {
				t.Errorf("handled %#x, scoped %#x", l.Handled, l.Scoped)
			}
			var writable []string
			for _, r := range l.Rules {
				if r.Access&^l.Handled != 0 || r.Access&mayNever != 0 {
					t.Errorf("%s: %#x", r.Path, r.Access)
				}
				if r.Access&unix.LANDLOCK_ACCESS_FS_MAKE_REG != 0 {
					writable = append(writable, r.Path)
				}
			}
			slices.Sort(writable)
			if got := strings.Join(writable, " "); got != tt.writable {
				t.Errorf("writable: %s", got)
			}
		})
	}
}
