package fuse

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// HostFS is what HostView asks of the host. Names are absolute; nothing may
// follow a last link or set off an automount.
type HostFS interface {
	ReadDir(name string, limit int) ([]HostEntry, error) // may stop after limit entries
	Empty(name string) (bool, error)                     // fails where ReadDir does
	Lstat(name string) (Stat, error)
	Readlink(name string) (string, error)
	ReadFile(name string, limit int64) ([]byte, error) // ErrTooBig beyond limit
}

// HostEntry is a name in a directory and its type: the S_IFMT bits of its
// mode, 0 when the directory does not say.
type HostEntry struct {
	Name string
	Type uint32
}

// HostInput is what the view is planned from.
type HostInput struct {
	Mountinfo []byte // /proc/self/mountinfo
	FS        HostFS
	Facts     Facts // HostLower: directories can be lowers; XinoOn
}

// Bounds of a directory that has mounts below it and is taken apart.
const (
	splitMax    = 512      // entries; a larger one is shown whole and read-only
	smallFile   = 64 << 10 // bytes of a file that is copied
	smallBudget = 4 << 20  // bytes of all such files together
)

// HostView plans the host's own root with disposable writes: an overlay for
// each top directory. As a lower the kernel refuses a directory with a mount
// below it (EINVAL: to another user namespace submounts are locked), so such
// a directory, the root first of all, becomes a plain one and its entries are
// planned one by one: links are made again, small files copied, other files
// bound read-only. File systems that cannot be lowers are bound read-only:
// FUSE, network file systems, those that ignore case. Automount points show
// only what is mounted on them already, and kernel file systems (/proc, /sys,
// /dev) stay empty directories for the container's own. /run and /tmp are
// empty.
func HostView(in HostInput) (HostPlan, error) {
	all, err := parseMountinfo(in.Mountinfo)
	if err != nil {
		return HostPlan{}, err
	}
	p := &hostPlanner{HostInput: in, mounts: visibleMounts(all), budget: smallBudget}
	root := p.mounts.at("/")
	if root == nil {
		root = &mountInfo{point: "/", fstype: "unknown"} // a chroot: nothing is known of what it is on
	}
	p.plan.Root = "root"
	if err := p.split("/", root, true); err != nil {
		return HostPlan{}, fmt.Errorf("plan the view of the host: %w", err)
	}
	return p.plan, nil
}

type hostPlanner struct {
	HostInput
	mounts mountTree
	plan   HostPlan
	layers int
	budget int64
}

func (p *hostPlanner) add(m HostMount) { p.plan.Mounts = append(p.plan.Mounts, m) }

func target(name string) string { return strings.TrimPrefix(name, "/") }

// dir plans one directory, which lies on the mount m or is its mount point.
func (p *hostPlanner) dir(name string, m *mountInfo) error {
	if own := p.mounts.at(name); own != nil {
		m = own
	}
	switch {
	case name == "/tmp":
		p.add(HostMount{Kind: HostDir, Target: "tmp", Mode: 0o1777})
	case name == "/run", name == "/proc", name == "/sys", name == "/dev":
		p.add(HostMount{Kind: HostDir, Target: target(name), Mode: 0o755})
	case len(p.mounts.below(name)) > 0:
		return p.split(name, m, false)
	case kernelFS(m.fstype):
		p.add(HostMount{Kind: HostDir, Target: target(name), Mode: 0o755})
	case !p.Facts.HostLower || !lowerFS(m.fstype):
		p.bind(name, false)
	default:
		return p.whole(name, m)
	}
	return nil
}

// bind shows a directory as it is, read-only. The directory itself is not
// looked at: a dead server must not hang the plan.
func (p *hostPlanner) bind(name string, recursive bool) {
	p.add(HostMount{Kind: HostDir, Target: target(name), Mode: 0o755})
	p.add(HostMount{Kind: HostBind, ReadOnly: true, Source: name, Target: target(name), Recursive: recursive})
}

// whole plans a directory without mounts below it on a file system that can
// be a lower.
func (p *hostPlanner) whole(name string, m *mountInfo) error {
	st, err := p.FS.Lstat(name)
	if gone(err) {
		return nil
	}
	if err != nil {
		p.bind(name, false)
		return nil //nolint:nilerr // what we may not look at is shown as it is
	}
	empty, err := p.FS.Empty(name)
	if err != nil {
		// Through an overlay it could not be read either, and the upper would
		// only show an owner and a mode that are not the host's.
		p.bind(name, false)
		return nil //nolint:nilerr // see above
	}
	if empty {
		p.add(HostMount{Kind: HostDir, Target: target(name), Mode: st.Mode & 0o7777})
		return nil
	}
	p.overlay(name, m, st, false)
	for _, open := range forEverybody {
		if path.Dir(open) != name {
			continue
		}
		if st, err := p.FS.Lstat(open); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&0o002 != 0 {
			p.overlay(open, m, st, true)
		}
	}
	return nil
}

// forEverybody are directories that anybody may write to. Their owner has no id
// in the container, so an overlay cannot copy them up (EOVERFLOW): they get one
// of their own, whose top is the caller's.
var forEverybody = []string{"/var/tmp"}

func (p *hostPlanner) overlay(name string, m *mountInfo, st Stat, present bool) {
	p.layers++
	n := strconv.Itoa(p.layers)
	s := stack{lowers: []string{name}, upper: "u" + n, work: "w" + n, flags: userxattr()}
	if p.Facts.XinoOn {
		s.flags = append(s.flags, Param{Key: "xino", Value: "on"})
	}
	p.add(HostMount{
		Kind: HostOverlay, Source: name, Target: target(name), Mode: st.Mode & 0o7777, Present: present,
		Upper: s.upper, Work: s.work, Data: s.data(), Flags: mountFlags(m.options),
	})
}

// split plans a directory that has mounts below it.
func (p *hostPlanner) split(name string, m *mountInfo, root bool) error {
	entries, err := p.listing(name, m)
	if err != nil {
		return err
	}
	if !root {
		if len(entries) > splitMax {
			p.bind(name, true)
			return nil
		}
		mode := uint32(0o755)
		if st, err := p.FS.Lstat(name); err == nil {
			mode = st.Mode & 0o7777
		}
		p.add(HostMount{Kind: HostDir, Target: target(name), Mode: mode})
	}
	for _, e := range entries {
		if err := p.entry(path.Join(name, e.Name), e.Type, m); err != nil {
			return err
		}
	}
	return nil
}

// listing is what a directory holds, and what mountinfo says it must hold:
// of an automount point and of a directory that cannot be read only that.
func (p *hostPlanner) listing(name string, m *mountInfo) ([]HostEntry, error) {
	var entries []HostEntry
	if !kernelFS(m.fstype) {
		var err error
		entries, err = p.FS.ReadDir(name, splitMax+1)
		if err != nil && name == "/" {
			return nil, err
		}
	}
	have := map[string]bool{}
	for _, e := range entries {
		have[e.Name] = true
	}
	for _, b := range p.mounts.below(name) {
		if !have[b] {
			entries = append(entries, HostEntry{Name: b})
		}
	}
	slices.SortFunc(entries, func(a, b HostEntry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

func (p *hostPlanner) entry(name string, kind uint32, m *mountInfo) error {
	if kind == 0 {
		if len(p.mounts.below(name)) > 0 {
			kind = unix.S_IFDIR
		} else if st, err := p.FS.Lstat(name); err == nil {
			kind = st.Mode & unix.S_IFMT
		} else {
			p.skip(name, err.Error())
			return nil
		}
	}
	switch kind {
	case unix.S_IFDIR:
		return p.dir(name, m)
	case unix.S_IFLNK:
		text, err := p.FS.Readlink(name)
		if err != nil {
			p.skip(name, err.Error())
			return nil
		}
		p.add(HostMount{Kind: HostSymlink, Source: text, Target: target(name)})
	case unix.S_IFREG:
		p.file(name)
	default:
		p.skip(name, "not a file, a directory or a link")
	}
	return nil
}

// file copies a small file and binds another, which then cannot be written to.
func (p *hostPlanner) file(name string) {
	st, err := p.FS.Lstat(name)
	if gone(err) {
		return
	}
	step := HostMount{Kind: HostFile, Target: target(name), Mode: 0o644}
	if err == nil {
		step.Mode = st.Mode & 0o777
		if st.Size <= min(smallFile, p.budget) {
			if data, err := p.FS.ReadFile(name, smallFile); err == nil {
				p.budget -= int64(len(data))
				step.Content = data
				p.add(step)
				return
			}
		}
	}
	p.add(step)
	p.add(HostMount{Kind: HostBind, ReadOnly: true, Source: name, Target: target(name)})
}

func (p *hostPlanner) skip(name, why string) {
	p.plan.Skipped = append(p.plan.Skipped, name+": "+why)
}

func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// lowerFS names the file systems that the overlay takes as a lower and that
// answer without a server. Others may work; a read-only bind always does.
func lowerFS(fstype string) bool {
	switch fstype {
	case "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "bcachefs", "zfs", "jfs", "reiserfs", "nilfs2", "ubifs",
		"tmpfs", "ramfs", "rootfs", "overlay", "squashfs", "erofs", "unknown":
		return true
	}
	return false
}

// ignoresCase names the file systems that compare names in a way of their own, which no
// overlay takes (ovl_dentry_weird).
func ignoresCase(fstype string) bool {
	switch fstype {
	case "vfat", "msdos", "exfat", "ntfs", "ntfs3", "hfs", "hfsplus", "cifs", "smb3", "ncpfs", "isofs", "iso9660", "affs":
		return true
	}
	return false
}

// kernelFS names the file systems that are windows on the kernel, and autofs,
// whose directories are mounted by looking at them.
func kernelFS(fstype string) bool {
	switch fstype {
	case "proc", "sysfs", "devtmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "pstore",
		"bpf", "configfs", "efivarfs", "binfmt_misc", "rpc_pipefs", "nsfs", "hugetlbfs", "fusectl", "selinuxfs", "autofs":
		return true
	}
	return false
}

// mountFlags are the restrictions of a mount that its overlay keeps.
func mountFlags(options string) uintptr {
	var flags uintptr
	for _, o := range strings.Split(options, ",") {
		switch o {
		case "nosuid":
			flags |= unix.MS_NOSUID
		case "nodev":
			flags |= unix.MS_NODEV
		case "noexec":
			flags |= unix.MS_NOEXEC
		}
	}
	return flags
}
