package spec

import (
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// commandStep is the label of the search for the command.
const commandStep = "find the command"

// findCommand fails where an exec would for want of a file that can be
// executed. A container that waits to be started does that search already at
// its creation, since callers of runc expect to hear of it then. What else can
// go wrong comes with the start.
func (c *child) findCommand(x userns.Exec) {
	if x.Created == nil {
		return
	}
	denied, found := c.p.NewReg(), c.p.NewSpot()
	for _, name := range x.Candidates {
		note, next := c.p.NewSpot(), c.p.NewSpot()
		look := func(name string, mode int) userns.Step {
			return c.p.Call(commandStep, unix.SYS_FACCESSAT2, atFDCWD, name, mode, unix.AT_EACCESS)
		}
		// The same question for each answer that leads elsewhere. ENOSYS and
		// EPERM: an old kernel, or a filter of the payload's; then exec tells.
		look(name, unix.X_OK).Catch(unix.EACCES, note).Allow(unix.ENOENT, unix.ENOTDIR, unix.ENOSYS, unix.EPERM)
		look(name, unix.X_OK).Catch(unix.ENOENT, next).Allow(unix.ENOTDIR, unix.ENOSYS, unix.EPERM)
		look(name, unix.X_OK).Catch(unix.ENOTDIR, next).Allow(unix.ENOSYS, unix.EPERM)
		look(name+"/.", unix.F_OK).Catch(0, found) // a directory can be "executed", too
		c.p.Mark(note)
		c.p.Set(denied, 1)
		c.p.Mark(next)
	}
	c.p.Need(commandStep, denied, 0, unix.EACCES)
	c.p.Set(denied, 1)
	c.p.Need(commandStep, denied, 0, unix.ENOENT)
	c.p.Mark(found)
}
