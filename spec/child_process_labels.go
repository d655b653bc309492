package spec

import (
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// LSM says which security modules are there to take a label.
type LSM struct{ AppArmor, SELinux bool }

// hostLSM looks at this machine.
func hostLSM() LSM {
	enabled, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	var fs unix.Statfs_t
	return LSM{
		AppArmor: err == nil && strings.HasPrefix(string(enabled), "Y"),
		SELinux:  unix.Statfs("/sys/fs/selinux", &fs) == nil && fs.Type == unix.SELINUX_MAGIC,
	}
}

// checkLabels refuses a label that no module would apply. "unconfined" without
// AppArmor is what there is.
func checkLabels(p *specs.Process, mountLabel string, lsm *LSM) error {
	apparmor := p.ApparmorProfile != "" && p.ApparmorProfile != "unconfined"
	if !apparmor && p.SelinuxLabel == "" && mountLabel == "" {
		return nil
	}
	if lsm == nil {
		found := hostLSM()
		lsm = &found
	}
	switch {
	case apparmor && !lsm.AppArmor:
		return fmt.Errorf("process.apparmorProfile: %q cannot be applied: AppArmor is not enabled on this host", p.ApparmorProfile)
	case p.SelinuxLabel != "" && !lsm.SELinux:
		return fmt.Errorf("process.selinuxLabel: %q cannot be applied: SELinux is not enabled on this host", p.SelinuxLabel)
	case mountLabel != "" && !lsm.SELinux:
		return fmt.Errorf("linux.mountLabel: %q cannot be applied: SELinux is not enabled on this host", mountLabel)
	}
	return nil
}

// hostProc keeps the host's /proc for what must be written there after the
// root has changed, when /proc is the container's and may be anything. It must
// be a procfs; what is opened in it must not be mounted over (CVE-2019-16884,
// CVE-2025-52881). The first step of all: a process that has changed its user is
// not dumpable any more, and its own files belong to the host's root.
func (c *child) hostProc() {
	p := c.s.Process
	if err := checkLabels(p, c.s.Linux.MountLabel, c.x.LSM); err != nil {
		c.fail(err)
	}
	if p.OOMScoreAdj != nil || p.ApparmorProfile != "" || p.SelinuxLabel != "" || c.joined || c.x.straysSock != nil || c.x.lacks.any() {
		c.openProc()
	}
	if p.OOMScoreAdj != nil {
		v := fmt.Sprint(*p.OOMScoreAdj)
		// EACCES: only the host's root goes below what it once set.
		c.writeProc("process.oomScoreAdj: set it to "+v, "self/oom_score_adj", v)
	}
}

func (c *child) openProc() {
	c.proc = c.p.NewReg()
	c.p.Call("open /proc", unix.SYS_OPENAT, atFDCWD, "/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).To(c.proc)
	buf := c.p.Bytes(make([]byte, 256))
	c.p.Call("look at /proc", unix.SYS_FSTATFS, c.proc, buf)
	c.p.NeedWord("look at /proc: it is no procfs", buf, procSuperMagic, unix.EXDEV)
}

// writeProc writes to a file of the host's procfs, in one call.
func (c *child) writeProc(label, name, value string) {
	c.openProcFile(label, name)
	c.p.Call(label, unix.SYS_WRITE, c.tmp, []byte(value), uintptr(len(value)))
	c.closeReg(c.tmp)
}

// openProcFile opens a file of the host's procfs for writing. A kernel without
// openat2(2) cannot say that nothing is mounted over it.
func (c *child) openProcFile(label, name string) {
	if c.x.lacks.openat2 {
		c.p.Call(label, unix.SYS_OPENAT, c.proc, name, unix.O_WRONLY|unix.O_CLOEXEC, 0).To(c.tmp)
		return
	}
	c.openat2(c.proc, label, name, unix.O_WRONLY, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_XDEV, c.tmp)
}

// writeAttr writes one of the files in which a process says what label it
// wants; only the very process may.
func (c *child) writeAttr(label, name, value string) {
	if value != "" {
		c.writeProc(label, "self/attr/"+name, value)
	}
}

// labels asks for the payload's label. It holds from the next exec on, which is
// the stub's: an AppArmor profile must let a container execute its own files
// anyway, and SELinux finds the stub labelled as these are.
func (c *child) labels() {
	p := c.s.Process
	if profile := p.ApparmorProfile; profile != "" && !(profile == "unconfined" && !c.appArmor()) {
		name := "exec" // of whichever module comes first
		if unix.Access("/proc/self/attr/apparmor", unix.F_OK) == nil {
			name = "apparmor/exec" // Linux 5.8
		}
		c.writeAttr("process.apparmorProfile: apply "+profile, name, "exec "+profile)
	}
	if p.SelinuxLabel != "" {
		if l := c.s.Linux.MountLabel; l != "" {
			c.p.Call("linux.mountLabel: label the exec stub", unix.SYS_FSETXATTR, c.x.Stub.Fd(), "security.selinux", []byte(l+"\x00"), len(l)+1, 0).
				Allow(unix.EOPNOTSUPP, unix.EPERM)
		}
		c.writeAttr("process.selinuxLabel: apply "+p.SelinuxLabel, "exec", p.SelinuxLabel)
	}
}

func (c *child) appArmor() bool {
	if c.x.LSM != nil {
		return c.x.LSM.AppArmor
	}
	return hostLSM().AppArmor
}
