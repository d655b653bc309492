package layer

import (
	"context"
	"fmt"
	"io"
	"math"

	"golang.org/x/sys/unix"
)

// maxSkips is how many left-out things a Result names.
const maxSkips = 10

// unpacker makes one layer.
type unpacker struct {
	r        *Request
	ids      ids
	lim      Limits
	a        *archive
	t        *tree
	pending  notes
	stat     notes
	times    times
	res      Result
	size     int64 // of all files, holes included
	skipped  map[string]bool
	rootSeen bool
	acls     bool           // a default ACL has been set somewhere
	unmapped *UnmappedError // from then on nothing is written, only counted
	noMknod  bool           // whiteouts are made by xattr
}

// Unpack implements Stage.
func (l *local) Unpack(ctx context.Context, r Request) (Result, error) {
	s, err := newStream(ctx, &r)
	if err != nil {
		return Result{}, err
	}
	defer s.close()
	top, fd, err := l.makeTarget(r.Dir)
	if err != nil {
		return Result{}, markRefused(fmt.Errorf("make the layer's directory %s: %w", quote(r.Dir), err))
	}
	defer unix.Close(top)
	defer unix.Close(fd)
	u := &unpacker{
		r: &r, ids: l.ids, lim: limitsOf(r.Limits), noMknod: l.noMknod,
		a:       &archive{s: s, strict: r.DiffID == ""},
		pending: notes{dirfd: top, name: pendingFile},
		stat:    notes{dirfd: top, name: statFile},
		times:   times{dirfd: top},
		skipped: make(map[string]bool),
	}
	defer u.close()
	if u.t, err = newTree(fd, u.implied, l.noOpen2); err != nil {
		return Result{}, err
	}
	err = u.run()
	return u.res, markRefused(err)
}

func (u *unpacker) close() {
	if u.t != nil {
		u.t.close()
	}
	u.times.close()
	_ = u.pending.close() // after an error only: run has closed them
	_ = u.stat.close()
}

// run goes through the archive, then through what has to come last.
func (u *unpacker) run() error {
	for {
		h, err := u.a.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		u.t.trim()
		if err := u.entry(h); err != nil {
			return err
		}
	}
	d, err := u.a.s.finish(u.r)
	if err != nil {
		return err
	}
	u.res.DiffID, u.res.Bytes = d, u.a.s.total
	if u.unmapped != nil {
		u.unmapped.MaxUID, u.unmapped.MaxGID = u.res.MaxUID, u.res.MaxGID
		return u.unmapped
	}
	if !u.rootSeen {
		if err := u.implied("."); err != nil {
			return err
		}
	}
	if err := u.setDirTimes(); err != nil {
		return err
	}
	if err := u.pending.close(); err != nil {
		return err
	}
	return u.stat.close()
}

// implied notes a directory that no entry names, explicit that one does after all.
func (u *unpacker) implied(name string) error  { return u.pending.add("d" + name) }
func (u *unpacker) explicit(name string) error { return u.pending.add("x" + name) }

// entry makes one entry.
func (u *unpacker) entry(h *header) error {
	u.res.Entries++
	if u.res.Entries > u.lim.Entries {
		return &TooBigError{"entries", u.lim.Entries}
	}
	if u.size += h.size; h.size > u.lim.Bytes || u.size > u.lim.Bytes {
		return &TooBigError{"bytes", u.lim.Bytes}
	}
	name, err := cleanName(h.name)
	if err != nil {
		return err
	}
	if err := u.owner(name, h); err != nil {
		return err
	}
	dir, base := splitName(name)
	role, deleted := roleFile, ""
	if !u.r.Plain {
		if role, deleted, err = roleOf(dir, base); err != nil {
			return err
		}
	}
	if role == roleFile && u.unmapped == nil && !u.r.Record {
		u.checkMapped(name, h)
	}
	if u.unmapped != nil || role == roleAufs {
		return nil
	}
	if err := u.place(name, h, role, deleted); err != nil {
		return fmt.Errorf("unpack %s: %w", quote(name), err)
	}
	return nil
}

// owner checks an entry's owner and keeps count of the highest.
func (u *unpacker) owner(name string, h *header) error {
	if h.uid < 0 || h.uid >= math.MaxUint32 || h.gid < 0 || h.gid >= math.MaxUint32 {
		return fmt.Errorf("%w: %s belongs to %d:%d, which are no ids", ErrBadEntry, quote(name), h.uid, h.gid)
	}
	u.res.MaxUID = max(u.res.MaxUID, uint32(h.uid))
	u.res.MaxGID = max(u.res.MaxGID, uint32(h.gid))
	return nil
}

// checkMapped finds the first owner that cannot be had. The archive is then
// read on to its end, so that the error can say how many ids are needed.
func (u *unpacker) checkMapped(name string, h *header) {
	if h.typ == typeLink || h.typ == typeChar || h.typ == typeBlock {
		return // they get no owner
	}
	if !mapped(u.ids.uids, uint32(h.uid)) {
		u.unmapped = &UnmappedError{Path: clip(name), Kind: "uid", ID: uint32(h.uid)}
	} else if !mapped(u.ids.gids, uint32(h.gid)) {
		u.unmapped = &UnmappedError{Path: clip(name), Kind: "gid", ID: uint32(h.gid)}
	}
}

// place puts an entry where its name says.
func (u *unpacker) place(name string, h *header, role role, deleted string) error {
	if name == "." {
		return u.rootEntry(h)
	}
	dir, base := splitName(name)
	d, err := u.t.dir(dir, true)
	if err != nil {
		return err
	}
	if len(d.real)+1+len(base) > maxPath {
		return fmt.Errorf("%w: through links, the name has more than %d bytes", ErrBadEntry, maxPath)
	}
	switch role {
	case roleWhiteout:
		if err := u.pending.add("w" + joinName(d.real, deleted)); err != nil {
			return err
		}
		return makeWhiteout(d, deleted, u.noMknod)
	case roleOpaque:
		if d == u.t.root {
			// The kernel does not read the mark on a layer's root. Finish does.
			if err := u.pending.add("o"); err != nil {
				return err
			}
		}
		return makeOpaque(d.fd)
	}
	switch h.typ {
	case typeReg:
		return u.file(d, base, h)
	case typeDir:
		return u.directory(d, base, name, h)
	case typeSymlink:
		return u.symlink(d, base, h)
	case typeLink:
		return u.hardLink(d, base, h)
	case typeFifo:
		return u.fifo(d, base, h)
	case typeChar, typeBlock:
		return u.device(d, base, h)
	}
	return fmt.Errorf("%w: unknown type %q", ErrBadEntry, h.typ)
}

func (u *unpacker) rootEntry(h *header) error {
	if h.typ != typeDir {
		return fmt.Errorf("%w: the root is not a directory", ErrBadEntry)
	}
	u.rootSeen = true
	if err := u.times.add(".", h.sec, h.nsec); err != nil {
		return err
	}
	if err := u.finishFD(u.t.root.fd, ".", h, true, false); err != nil {
		return err
	}
	u.t.root.setgid = h.mode&unix.S_ISGID != 0
	return nil
}

// skip notes something that is left out.
func (u *unpacker) skip(name, why string) {
	u.res.Skipped++
	if len(u.res.Skips) < maxSkips {
		u.res.Skips = append(u.res.Skips, Skip{clip(name), why})
	}
}

// clip keeps a message within what one packet of the stage's socket holds.
func clip(name string) string {
	if len(name) > 256 {
		return name[:256] + "…"
	}
	return name
}
