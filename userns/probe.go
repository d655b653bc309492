package userns

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// The steps that Probe tries, by the names of its errors.
const (
	stepClone  = "create a user namespace"
	stepMap    = "map the caller's own id"
	stepMounts = "create a mount namespace in it"
	stepMount  = "mount in it"
)

// Probe tries what every start needs: a user namespace with the caller's own
// id mapped, and a mount in it. nil when that works, else a *RestrictedError
// that says why not.
func Probe(ctx context.Context) error {
	return TryMap(ctx, SingleMap(uint32(unix.Geteuid()), uint32(unix.Getegid())))
}

// TryMap is Probe with a map of the caller's choice: it shows that
// newuidmap and newgidmap do what they should.
func TryMap(ctx context.Context, m Map) error {
	step, err := tryMap(ctx, m)
	if err == nil {
		return nil
	}
	var known *RestrictedError
	if errors.As(err, &known) {
		return known
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return explainStep(HostFacts(), step, errno)
	}
	return fmt.Errorf("%s: %w", step, err)
}

func tryMap(ctx context.Context, m Map) (step string, err error) {
	var p Program
	p.Call(stepMounts, unix.SYS_UNSHARE, uintptr(unix.CLONE_NEWNS))
	p.Call(stepMount, unix.SYS_MOUNT, "none", "/", "", uintptr(unix.MS_REC|unix.MS_PRIVATE), []byte(nil))
	p.Call("end", unix.SYS_EXIT_GROUP, 0)
	child, err := Start(&p, unix.CLONE_NEWUSER)
	if err != nil {
		return stepClone, err
	}
	if err := WriteMap(ctx, child.PID, m); err != nil {
		child.Abort()
		return stepMap, err
	}
	defer child.Close()
	if err := child.Release(); err != nil {
		child.Abort()
		return stepMounts, err
	}
	// The program ends in an exit, not in an exec: a closed pipe means that
	// all went well.
	failed := child.WaitExec()
	if _, _, err := child.Wait(); err != nil && failed == nil {
		failed = err
	}
	var at *StepError
	if errors.As(failed, &at) {
		return at.Step, failed
	}
	return stepMount, failed
}
