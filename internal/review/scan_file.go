package review

import (
	"errors"

	"coracle/images/layer"

	"golang.org/x/sys/unix"
)

// file compares what is no directory in the sandbox.
func (c *scanner) file(p place, name string, have, host file) error {
	path := join(p.path, name)
	ch := Change{Kind: Created, Path: path, have: have, expected: host}
	fd, done := -1, func() {}
	var err error
	if have.is(File) {
		if fd, done, err = openOwn(p.upper, name, &have, readable); err != nil {
			return err
		}
	}
	defer done()
	if host.there {
		ch.Kind = Changed
		if err := c.compare(&ch, p, name, fd); err != nil {
			return err
		}
		if !ch.Content && !ch.Attrs && (have.perm()^host.perm())&c.bits == 0 {
			return nil
		}
	}
	if host.is(Directory) {
		if err := c.tree(&ch, p.lower, name, host); err != nil {
			return err
		}
	}
	switch {
	case !have.is(File) && !have.is(Link):
		ch.Refused = "a " + string(have.typ()) + " is never brought over"
	case fd >= 0 && elsewhere(fd):
		ch.Refused = notHere
	}
	if ch.Conflict == "" {
		ch.Conflict = c.conflict(path, have, host)
	}
	if have.is(Link) {
		if err := c.links(&ch, p, name); err != nil {
			return err
		}
	}
	c.add(ch)
	return nil
}

// compare says what of a file is other than the host's.
func (c *scanner) compare(ch *Change, p place, name string, fd int) error {
	have, host := &ch.have, &ch.expected
	if have.typ() != host.typ() {
		ch.Content = true
		return nil
	}
	switch have.typ() {
	case Link:
		a, err := readlink(p.upper, name)
		if err != nil {
			return err
		}
		b, err := readlink(p.lower, name)
		ch.Content = a != b
		ch.Was = host.side()
		ch.Was.Target = b
		return err
	case File:
	default:
		return nil
	}
	low, err := openat(p.lower, name, readable)
	if errors.Is(err, unix.EACCES) {
		// Nor could the sandbox read it: it has been replaced. Unless by an apply that went no further.
		ch.Content = !c.resuming || have.st.Size != host.st.Size || have.mtime() != host.mtime()
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(low)
	if ch.Attrs, err = otherAttrs(fd, low); err != nil {
		return err
	}
	if have.st.Size != host.st.Size {
		ch.Content = true
		return nil
	}
	same, err := layer.SameContent(fd, low, have.st.Size)
	ch.Content = !same
	return err
}

func (c *scanner) links(ch *Change, p place, name string) error {
	target, err := readlink(p.upper, name)
	if err != nil {
		return err
	}
	ch.Now = ch.have.side()
	ch.Now.Target = target
	if why := leadsOut(c.root, ch.Path, target); why != "" {
		ch.flag(FlagOutside, why)
	}
	return nil
}

func (c *scanner) deleted(p place, name string, host file) error {
	ch := Change{Kind: Deleted, Path: join(p.path, name), expected: host}
	if host.is(Directory) {
		if err := c.tree(&ch, p.lower, name, host); err != nil {
			return err
		}
	}
	if ch.Conflict == "" {
		ch.Conflict = c.conflict(ch.Path, file{}, host)
	}
	c.add(ch)
	return nil
}

// tree looks at a directory of the host's that is to go.
func (c *scanner) tree(ch *Change, lower int, name string, host file) error {
	if host.mount != c.mount {
		ch.Conflict = "another file system is mounted there"
		return nil
	}
	t, err := survey(c.ctx, lower, name, func(uint64) bool { return c.resuming })
	ch.Files = t.files
	if err != nil {
		ch.Conflict = "the host's cannot be looked at: " + err.Error()
		return c.ctx.Err()
	}
	if t.newest > c.since {
		ch.Conflict = "the host has changed " + t.name + " in it since"
	}
	return nil
}
