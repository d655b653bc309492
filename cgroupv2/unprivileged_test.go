package cgroupv2

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// insideDelegated is an unprivileged user in a leaf of a subtree that is its
// own: args[0] is the directory of the subtree.
func insideDelegated(args []string) error {
	c, err := New(Config{ID: "one"})
	if err != nil {
		return err
	}
	if want := args[0] + "/coracle-one"; c.Path() != want {
		return fmt.Errorf("made %q (%s), want %q", c.Path(), c.Reason(), want)
	}
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: c.FD(), Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start in %s: %w", c.Path(), err)
	}
	defer cmd.Wait()
	ctx := context.Background()
	if err := errors.Join(c.Freeze(ctx), c.Kill(ctx), c.Remove(ctx)); err != nil {
		return err
	}
	// Device rules: no program without root, the user namespace holds them.
	denyAll := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}}}
	d, err := New(Config{ID: "dev", Resources: denyAll, UserNamespace: true})
	if err != nil {
		return fmt.Errorf("device rules: %w", err)
	}
	if err := d.Remove(ctx); err != nil {
		return err
	}
	kvm := specs.LinuxDevice{Path: "/dev/kvm", Type: "c", Major: 10, Minor: 232}
	_, err = New(Config{ID: "dev", Resources: denyAll, UserNamespace: true, Devices: []specs.LinuxDevice{kvm}})
	if _, left := os.Stat(args[0] + "/coracle-dev"); !errors.Is(err, ErrUnsupported) || left == nil {
		return fmt.Errorf("a device that is given and denied: %w", err)
	}
	_, err = New(Config{ID: "two", Path: "/not-ours"})
	if !errors.Is(err, ErrUnsupported) || !errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("a path that is another's: %w", err)
	}
	return nil
}

// insideUnified is an unprivileged user where nothing is delegated.
func insideUnified(args []string) error {
	c, err := New(Config{ID: "one"})
	if err != nil {
		return err
	}
	if c.Path() != "" || !strings.Contains(c.Reason(), "permission denied") {
		return fmt.Errorf("made %q, %q", c.Path(), c.Reason())
	}
	limit := int64(10)
	_, err = New(Config{ID: "one", Resources: &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: &limit}}})
	var field *FieldError
	if !errors.As(err, &field) || field.Field != "linux.resources.pids.limit" || field.Hint() == "" {
		return fmt.Errorf("a limit that cannot be enforced: %w", err)
	}
	return nil
}

func TestUnprivileged(t *testing.T) {
	tree, name := realTree(t)
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	// A place that is ours, and one that is not.
	mine, leaf := tree.Mount+name+"/mine", tree.Mount+name+"/mine/leaf"
	must(t, os.MkdirAll(leaf, 0o755))
	must(t, os.Chown(mine, 65534, 65534))
	must(t, os.Chown(mine+"/cgroup.procs", 65534, 65534))
	runInside(t, "delegated", leaf, syscall.SysProcAttr{Credential: nobody}, mine)
	runInside(t, "unified", tree.Mount+name, syscall.SysProcAttr{Credential: nobody})
}
