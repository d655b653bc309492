package userns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Identity is who called us, as the user database and the kernel say.
type Identity struct {
	UID, GID uint32
	// LoginGID is the group of the user database where it is not GID: after
	// newgrp and sg. newgidmap maps only this one. 0 where they agree.
	LoginGID uint32
	Name     string // login name; "" for a caller without any entry
	Home     string // "" when not known
	Shell    string // "" when not known
	Groups   []uint32
	Local    bool // the entry is in /etc/passwd, so that usermod can change it
	SetID    bool // holds CAP_SETUID and CAP_SETGID in its user namespace
}

// Display is the name, or the number of a caller without one.
func (id Identity) Display() string {
	if id.Name != "" {
		return id.Name
	}
	return strconv.FormatUint(uint64(id.UID), 10)
}

// mapGID is the group of the caller that can be mapped.
func (id Identity) mapGID() uint32 {
	if id.SetID || id.LoginGID == 0 {
		return id.GID
	}
	return id.LoginGID
}

// Caller finds out who runs this process: /etc/passwd, else
// `getent passwd UID`, which asks the directory services that a static
// program cannot ask itself. A caller without any entry is no error.
func Caller(ctx context.Context) (Identity, error) {
	id := Identity{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), SetID: HaveCaps(unix.CAP_SETUID, unix.CAP_SETGID)}
	groups, err := os.Getgroups()
	if err != nil {
		return Identity{}, fmt.Errorf("read the groups of this process: %w", err)
	}
	for _, g := range groups {
		id.Groups = append(id.Groups, uint32(g))
	}
	return realSystem().lookup(ctx, id)
}

func (s system) lookup(ctx context.Context, id Identity) (Identity, error) {
	data, err := s.read("/etc/passwd")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Identity{}, fmt.Errorf("read the user database: %w", err)
	}
	if found, ok := passwdEntry(string(data), id); ok {
		found.Local = true
		return found, nil
	}
	out, err := s.run(ctx, "getent", "passwd", strconv.FormatUint(uint64(id.UID), 10))
	switch {
	case err == nil:
		if found, ok := passwdEntry(string(out), id); ok {
			return found, nil
		}
	case ctx.Err() != nil:
		return Identity{}, fmt.Errorf("look up user %d: %w", id.UID, err)
	}
	// getent exits with 2 for an unknown user, and may be missing or broken:
	// the number alone is enough to run.
	id.Home = os.Getenv("HOME")
	return id, nil
}

// passwdEntry fills id from the line of passwd(5) that has its UID.
func passwdEntry(passwd string, id Identity) (Identity, bool) {
	want := strconv.FormatUint(uint64(id.UID), 10)
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(f) < 7 || f[2] != want || f[0] == "" {
			continue
		}
		gid, err := strconv.ParseUint(f[3], 10, 32)
		if err != nil {
			continue
		}
		if uint32(gid) != id.GID {
			id.LoginGID = uint32(gid)
		}
		id.Name, id.Home, id.Shell = f[0], f[5], f[6]
		return id, true
	}
	return id, false
}

// HaveCaps says whether this thread has all these capabilities in effect in
// its own user namespace.
func HaveCaps(caps ...uint) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false
	}
	for _, c := range caps {
		if data[c/32].Effective&(1<<(c%32)) == 0 {
			return false
		}
	}
	return true
}
