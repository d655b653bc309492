package spec

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"coracle/userns"

	"golang.org/x/sys/unix"
)

// CarrierName is the argv[0] of the carrier: this program once more, in the
// container's namespaces, for the steps that need more than system calls laid
// out beforehand. It runs before the root is entered, so nothing of the image
// is executed yet.
const CarrierName = "[coracle:carrier]"

// Descriptors of the carrier.
const (
	carrierSource = 3 // what the step reads
	carrierTarget = 4 // what it works on
	carrierErrors = 5 // the error pipe, for userns.ReportText
)

// CarrierMain is the carrier's main function. Its exit status says only whether
// the step succeeded; why not goes through the error pipe.
func CarrierMain(args []string) int {
	// Somebody in a pid namespace that was joined could look into us otherwise.
	err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	if err == nil {
		err = carry(args)
	}
	if err == nil {
		return 0
	}
	if userns.ReportText(os.NewFile(carrierErrors, "error pipe"), err.Error()) != nil {
		return 2
	}
	return 1
}

func carry(args []string) error {
	switch {
	case len(args) > 0 && args[0] == carryCopyUp:
		return copyUp(args[1:])
	case len(args) == 1 && args[0] == carryWalk:
		return serveWalks()
	}
	return fmt.Errorf("the carrier knows no step %q", strings.Join(args, " "))
}

// openCarrier opens our own executable while the child is still who the caller
// is, for a program with steps for the carrier.
func (c *child) openCarrier() {
	needed := c.x.lacks.openat2
	for i := range c.s.Mounts {
		o := parseMountOpts(c.s.Mounts[i].Options)
		needed = needed || o.copyUp
	}
	if !needed {
		return
	}
	c.exe = c.p.NewReg()
	c.p.Call("open our own executable", unix.SYS_OPENAT, atFDCWD, "/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0).To(c.exe)
}

// sealCarrier leaves a sealed copy of our executable in c.carrier, once: while
// the carrier runs, whoever shares its pid namespace can reach its executable
// through /proc (CVE-2019-5736).
func (c *child) sealCarrier() {
	const label, flags = "copy our own executable", unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	if c.carrier == 0 {
		c.carrier = c.p.NewReg()
	}
	have, old, again := c.p.NewSpot(), c.p.NewSpot(), c.p.NewSpot()
	c.p.Need(label, c.carrier, 0, unix.EEXIST).Catch(unix.EEXIST, have)
	c.p.Call(label, unix.SYS_MEMFD_CREATE, "coracle-carrier", flags|unix.MFD_EXEC).To(c.carrier).Catch(unix.EINVAL, old)
	c.p.Jump(again)
	c.p.Mark(old) // before 6.3
	c.p.Call(label, unix.SYS_MEMFD_CREATE, "coracle-carrier", flags).To(c.carrier)
	c.p.Mark(again)
	c.p.Call(label, unix.SYS_SENDFILE, c.carrier, c.exe, 0, 1<<30).To(c.tmp)
	c.p.Need(label, c.tmp, 0, unix.EAGAIN).Catch(unix.EAGAIN, again)
	c.p.Call(label, unix.SYS_FCNTL, c.carrier, unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	c.p.Mark(have)
}

// carrierStep lets the carrier do one step and waits for it. The descriptors
// become carrierSource and carrierTarget.
func (c *child) carrierStep(label string, source, target userns.Reg, args ...string) {
	c.startCarrier(label, source, target, c.tmp, args...)
	c.waitCarrier(label, c.tmp)
}

func (c *child) startCarrier(label string, source, target, pid userns.Reg, args ...string) {
	c.sealCarrier()
	parent := c.p.NewSpot()
	c.p.Call(label, unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0).To(pid)
	c.p.Need(label, pid, 0, unix.EEXIST).Catch(unix.EEXIST, parent)
	// The child. Out of the way first: they may have each other's numbers.
	for _, r := range []userns.Reg{source, target, userns.ErrFD, c.carrier} {
		c.p.Call(label, unix.SYS_FCNTL, r, unix.F_DUPFD_CLOEXEC, carrierErrors+1).To(r)
	}
	for fd, r := range []userns.Reg{carrierSource: source, carrierTarget: target, carrierErrors: userns.ErrFD} {
		if fd >= carrierSource {
			c.p.Call(label, unix.SYS_DUP3, r, fd, 0)
		}
	}
	c.p.CloseExec(carrierErrors + 1)
	c.p.Call(label, unix.SYS_EXECVEAT, c.carrier, "", c.p.Strings(append([]string{CarrierName}, args...)), c.p.Strings(nil), unix.AT_EMPTY_PATH)
	c.p.Mark(parent)
}

func (c *child) waitCarrier(label string, pid userns.Reg) {
	status := c.p.Bytes(make([]byte, 8))
	c.p.Call(label, unix.SYS_WAIT4, pid, status, 0, 0)
	c.p.NeedWord(label, status, 0, unix.ECANCELED)
}

// copyUpStep fills the tmpfs in c.mount with what is in c.target.
func (c *child) copyUpStep(label string, o *mountOpts) {
	owner, size := true, ""
	for _, p := range o.data {
		switch p.Key {
		case "uid", "gid":
			owner = false
		case "size":
			size = p.Value
		}
	}
	c.carrierStep(label+": tmpcopyup", c.target, c.mount, carryCopyUp, strconv.FormatBool(owner), size)
}
