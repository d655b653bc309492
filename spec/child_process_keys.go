package spec

import (
	"golang.org/x/sys/unix"
)

// keyring joins a session keyring of the container's own, named as runc names
// it, so that every process of the container finds the same one. A kernel or
// filter without keyrings has none to leak either.
func (c *child) keyring() {
	if c.x.NoNewKeyring {
		return
	}
	label := c.s.Process.SelinuxLabel
	c.writeAttr("process.selinuxLabel: label the keyring", "keycreate", label)
	key, done := c.p.NewReg(), c.p.NewSpot()
	c.p.Call("join the session keyring _ses."+c.x.ID, unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, "_ses."+c.x.ID).
		To(key).Allow(unix.ENOSYS, unix.EPERM)
	// All for who possesses it, and for its owner what joining it by name takes:
	// view, read, link as the kernel gives, and search.
	c.p.Call("let exec find the keyring", unix.SYS_KEYCTL, unix.KEYCTL_SETPERM, key, 0x3f1b0000).Catch(0, done)
	c.p.Mark(done)
	if label != "" {
		c.writeAttr("process.selinuxLabel: label further keys as usual", "keycreate", "\x00")
	}
}
