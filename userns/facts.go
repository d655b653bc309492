package userns

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Facts are what the host says about user namespaces. They explain a
// refusal; whether there is one is found out by trying (see Probe).
type Facts struct {
	UID, GID          uint32
	SetID             bool   // CAP_SETUID and CAP_SETGID in our own user namespace
	SetFCap           bool   // CAP_SETFCAP there
	SysAdmin          bool   // CAP_SYS_ADMIN there
	UserNamespaces    bool   // /proc/self/ns/user exists
	UnprivilegedClone string // kernel.unprivileged_userns_clone, "" where there is no such switch
	MaxNamespaces     string // user.max_user_namespaces
	AppArmorRestrict  string // kernel.apparmor_restrict_unprivileged_userns
	Label             string // our AppArmor profile or SELinux context
	SELinux           string // "enforcing", "permissive", "" where it is off
	SELinuxOff        []string
	Seccomp           bool // a filter is on this process
	NoNewPrivs        bool
	Container         string // "coracle", "docker", "podman", …, "container", "" for none
	Chroot            bool
	Own               Map    // of our own user namespace, container side is ours
	Exe               string // our executable
}

// HostFacts reads the facts; what cannot be read stays at its zero value.
func HostFacts() Facts {
	f := realSystem().facts()
	f.UID, f.GID = uint32(os.Geteuid()), uint32(os.Getegid())
	f.SetID = HaveCaps(unix.CAP_SETUID, unix.CAP_SETGID)
	f.SetFCap = HaveCaps(unix.CAP_SETFCAP)
	f.SysAdmin = HaveCaps(unix.CAP_SYS_ADMIN)
	if exe, err := os.Executable(); err == nil {
		f.Exe = exe
	}
	return f
}

// facts are those that stand in files.
func (s system) facts() Facts {
	f := Facts{
		UnprivilegedClone: s.word("/proc/sys/kernel/unprivileged_userns_clone"),
		MaxNamespaces:     s.word("/proc/sys/user/max_user_namespaces"),
		AppArmorRestrict:  s.word("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
		Label:             strings.TrimRight(s.word("/proc/self/attr/current"), "\x00"),
		Container:         s.container(),
	}
	if _, err := os.Lstat(s.file("/proc/self/ns/user")); err == nil {
		f.UserNamespaces = true
	}
	switch s.word("/sys/fs/selinux/enforce") {
	case "1":
		f.SELinux = "enforcing"
	case "0":
		f.SELinux = "permissive"
	}
	f.SELinuxOff = s.selinuxOff()
	for line := range strings.Lines(s.word("/proc/self/status")) {
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "Seccomp":
			f.Seccomp = strings.TrimSpace(value) == "2"
		case "NoNewPrivs":
			f.NoNewPrivs = strings.TrimSpace(value) == "1"
		}
	}
	if info := s.word("/proc/self/mountinfo"); info != "" {
		f.Chroot = !mountedAtRoot(info)
	}
	// Without its maps a namespace is taken for the whole host's.
	f.Own.UIDs, _ = parseProcMap(s.word("/proc/self/uid_map"))
	f.Own.GIDs, _ = parseProcMap(s.word("/proc/self/gid_map"))
	return f
}

// mountedAtRoot says whether mountinfo has our root directory as a mount. In
// a chroot to an ordinary directory it has not.
func mountedAtRoot(mountinfo string) bool {
	for line := range strings.Lines(mountinfo) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == "/" {
			return true
		}
	}
	return false
}

// selinuxOff are the booleans about user namespaces that are off.
func (s system) selinuxOff() []string {
	names, _ := filepath.Glob(s.file("/sys/fs/selinux/booleans") + "/*user*n*s*")
	var off []string
	for _, name := range names {
		base := filepath.Base(name)
		if !strings.Contains(base, "userns") && !strings.Contains(base, "user_namespace") {
			continue
		}
		b, err := os.ReadFile(name)
		if err == nil && strings.HasPrefix(string(b), "0") {
			off = append(off, base)
		}
	}
	slices.Sort(off)
	return off
}

// container names the container runtime around us by the marks they leave.
func (s system) container() string {
	if strings.HasPrefix(s.word("/proc/1/cmdline"), "[coracle:init]") {
		return "coracle" // its sandbox has the host's root, and with it what the next lines look for
	}
	if _, err := os.Lstat(s.file("/.dockerenv")); err == nil {
		return "docker"
	}
	if _, err := os.Lstat(s.file("/run/.containerenv")); err == nil {
		return "podman"
	}
	if name := s.word("/run/systemd/container"); name != "" {
		return name
	}
	return ""
}
