package userns

import (
	"encoding/binary"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// helperFacts are what decides whether newuidmap and newgidmap can work.
type helperFacts struct {
	UID, GID   helperProgram
	NoNewPrivs bool // of this process: setuid and file capabilities have no effect
}

// helperProgram is newuidmap or newgidmap.
type helperProgram struct {
	Path   string // "" when it is not installed
	Setuid bool   // belongs to root and is setuid
	Caps   bool   // has cap_setuid or cap_setgid as a file capability
	NoSuid bool   // on a file system mounted nosuid
}

func (s system) helperFacts(id Identity) helperFacts {
	if id.SetID {
		return helperFacts{} // never needed
	}
	nnp, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return helperFacts{
		UID:        s.helperProgram("newuidmap", unix.CAP_SETUID),
		GID:        s.helperProgram("newgidmap", unix.CAP_SETGID),
		NoNewPrivs: err == nil && nnp == 1,
	}
}

func (s system) helperProgram(name string, capability uint) helperProgram {
	path, ok := s.find(name)
	if !ok {
		return helperProgram{}
	}
	p := helperProgram{Path: path}
	if fi, err := os.Stat(s.file(path)); err == nil {
		st, ok := fi.Sys().(*syscall.Stat_t)
		p.Setuid = ok && st.Uid == 0 && fi.Mode()&os.ModeSetuid != 0
	}
	if !p.Setuid {
		buf := make([]byte, 64)
		if n, err := unix.Getxattr(s.file(path), "security.capability", buf); err == nil {
			p.Caps = fileCapability(buf[:n], capability)
		}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(s.file(path), &fs); err == nil {
		p.NoSuid = fs.Flags&unix.ST_NOSUID != 0
	}
	return p
}

// fileCapability says whether a security.capability xattr permits this
// capability. The value is a struct vfs_cap_data, little endian: revision
// and flags, then permitted and inheritable, 32 bits at a time
// (linux/capability.h).
func fileCapability(xattr []byte, capability uint) bool {
	at := 4 + 8*int(capability/32)
	if len(xattr) < at+8 {
		return false
	}
	return binary.LittleEndian.Uint32(xattr[at:])&(1<<(capability%32)) != 0
}

// shortage says why the helpers cannot be used, and what to type.
func (h helperFacts) shortage(osRelease string) (why, hint string) {
	var missing []string
	for _, p := range []struct{ name, path string }{{"newuidmap", h.UID.Path}, {"newgidmap", h.GID.Path}} {
		if p.path == "" {
			missing = append(missing, p.name)
		}
	}
	if len(missing) == 1 {
		return missing[0] + " is not installed", installHint(osRelease)
	}
	if len(missing) > 1 {
		return strings.Join(missing, " and ") + " are not installed", installHint(osRelease)
	}
	if why, hint := h.UID.powerless("cap_setuid", h.NoNewPrivs); why != "" {
		return why, hint
	}
	return h.GID.powerless("cap_setgid", h.NoNewPrivs)
}

// powerless says why an installed helper gains no privilege, "" when it does.
func (p helperProgram) powerless(capability string, noNewPrivs bool) (why, hint string) {
	switch {
	case noNewPrivs:
		return "no_new_privs is set on this process, so " + p.Path + " gains no privilege",
			"start coracle from a process without no_new_privs (container: --security-opt no-new-privileges=false; systemd: NoNewPrivileges=no)"
	case p.NoSuid:
		return p.Path + " is on a file system mounted nosuid, so it gains no privilege", "mount that file system without nosuid"
	case !p.Setuid && !p.Caps:
		return p.Path + " is neither setuid root nor has " + capability, "sudo setcap " + capability + "+ep " + p.Path
	}
	return "", ""
}

// installHint is how newuidmap is installed on this distribution.
func installHint(osRelease string) string {
	ids := ""
	for line := range strings.Lines(osRelease) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if key == "ID" || key == "ID_LIKE" {
			ids += " " + strings.Trim(value, `"'`)
		}
	}
	for id := range strings.FieldsSeq(ids) {
		switch id {
		case "debian", "ubuntu":
			return "sudo apt-get install uidmap"
		case "fedora", "rhel", "centos":
			return "sudo dnf install shadow-utils"
		case "suse", "opensuse":
			return "sudo zypper install shadow"
		case "arch":
			return "sudo pacman -S shadow"
		case "alpine":
			return "sudo apk add shadow-uidmap"
		case "nixos":
			return "set security.wrappers for newuidmap and newgidmap (virtualisation.podman.enable does)"
		}
	}
	return "install newuidmap and newgidmap (Debian: sudo apt-get install uidmap)"
}
