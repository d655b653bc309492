package spec

import (
	"fmt"
	"os"
	"slices"
	"strconv"

	"coracle/internal/plainfile"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// OpenNamespace opens a namespace of the container, for another container to
// join: that which it was made with, or none. Errors unwrap to ErrNotRunning.
func (c *Container) OpenNamespace(kind specs.LinuxNamespaceType) (_ *os.File, err error) {
	i := slices.IndexFunc(namespaceKinds, func(k namespaceKind) bool { return k.kind == kind })
	if i < 0 || len(c.Namespaces) == 0 {
		return nil, fmt.Errorf("open the %s namespace of container %s: it is not known: %w", kind, c.ID, ErrNotRunning)
	}
	k := namespaceKinds[i]
	pidfd, err := c.process()
	if err != nil {
		return nil, err
	}
	defer pidfd.Close()
	f, err := plainfile.Open("/proc/"+strconv.Itoa(c.Pid)+"/ns/"+k.file, unix.O_RDONLY, 0)
	// A process that is gone by now may not be the one that was looked at.
	if unix.PidfdSendSignal(int(pidfd.Fd()), 0, nil, 0) != nil {
		if err == nil {
			f.Close()
		}
		return nil, &idError{c.ID, ErrNotRunning}
	}
	if err != nil {
		return nil, fmt.Errorf("open the %s namespace of container %s: %w", kind, c.ID, err)
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &st); err == nil && st.Ino != c.Namespaces[k.file] {
		err = fmt.Errorf("its first process has left the %s namespace that it was made with", kind)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open the %s namespace of container %s: %w", kind, c.ID, err)
	}
	return f, nil
}
