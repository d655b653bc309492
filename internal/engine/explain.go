package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"coracle/cgroupv2"
	"coracle/spec"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// explain turns the failure of a start into words and an exit code.
func (r *run) explain(err error) (Exit, error) {
	var ee *userns.ExecError
	if errors.As(err, &ee) {
		return r.explainExec(ee)
	}
	var se *userns.StepError
	if errors.As(err, &se) {
		if why := whyRefused(context.Background(), err); why != err { //nolint:errorlint // the same error comes back where there is nothing to say
			return Exit{Code: 125}, fmt.Errorf("start the container: %w", why)
		}
		return Exit{Code: 125}, &Error{Op: "start the container", Err: err, Help: stepHint(se)}
	}
	return Exit{Code: 125}, explainLimit(r.o.Options, err)
}

// explainLimit names the flag that asked for a limit that cannot be had.
func explainLimit(o spec.Options, err error) error {
	if errors.Is(err, spec.ErrLiftable) {
		return &Error{Op: "set the limits", Err: err, Help: "sudo mount -o remount,nsdelegate /sys/fs/cgroup, or leave the limits or the writable cgroup out"}
	}
	var field *cgroupv2.FieldError
	if !errors.As(err, &field) {
		return err
	}
	flag := o.Limits.Flag(field.Field)
	if flag == "" && field.Field == "linux.cgroupsPath" && o.CgroupParent != "" {
		flag = "--cgroup-parent " + o.CgroupParent
	} else if flag == "" && field.Field == "linux.cgroupsPath" {
		flag = "make the container's cgroup"
	}
	if flag == "" {
		return err
	}
	why := errors.New(field.Reason)
	if field.Err != nil {
		why = fmt.Errorf("%s: %w", field.Reason, field.Err)
	}
	return &Error{Op: flag, Err: why, Help: field.Hint()}
}

// explainExec is about the payload's command.
func (r *run) explainExec(ee *userns.ExecError) (Exit, error) {
	err := explainCommand(r.result.Spec.Process.Args[0], r.o.Image, "the image", ee)
	return Exit{Code: err.Code}, err
}

// explainCommand is about a command that cannot be executed in something: 127
// where it is not there, else 126.
func explainCommand(command, in, what string, ee *userns.ExecError) *Error {
	e := &Error{Op: fmt.Sprintf("run %q in %s", command, in), Err: ee, Code: 126}
	switch {
	case ee.Errno == unix.ENOENT && strings.Contains(command, "/"):
		e.Code, e.Help = 127, "the file, or the interpreter or loader it names, is not in "+what
	case ee.Errno == unix.ENOENT:
		e.Code, e.Err = 127, fmt.Errorf("executable file not found in $PATH: %w", ee.Errno)
	case ee.Errno == unix.ENOEXEC:
		e.Help = "it is made for another kind of machine, or a script without a #! line"
	}
	return e
}

// stepHint says what helps when the kernel refuses a step.
func stepHint(se *userns.StepError) string {
	switch {
	case strings.HasPrefix(se.Step, "open /dev/net/tun"):
		return "a network of its own needs that device: sudo modprobe tun && sudo chmod 666 /dev/net/tun; or do without: --network none, or --network host; for good: network = 'none' under [run] of the configuration"
	case se.Step == "create namespaces":
		return "find out why: coracle doctor"
	case strings.HasPrefix(se.Step, "mount proc ") && se.Errno == unix.EPERM:
		return "inside another container parts of /proc are hidden, and the kernel allows no new one: start the outer container with /proc unmasked (podman: --security-opt unmask=ALL; docker: --security-opt systempaths=unconfined)"
	case strings.HasPrefix(se.Step, "mount sysfs ") && se.Errno == unix.EPERM:
		return "inside another container /sys is restricted: use --network host, or unmask /sys of the outer one"
	case strings.Contains(se.Step, "idmap") && (se.Errno == unix.EPERM || se.Errno == unix.EINVAL):
		return "this file system cannot be id-mapped without privilege: leave idmap out, or use :U"
	case se.Errno == unix.ELOOP:
		return "the image has a symbolic link where a directory must be"
	}
	return "see what was tried: add --dry-run, or --debug"
}
