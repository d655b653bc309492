package spec

import (
	"fmt"
	"strings"

	"coracle/fuse"

	"golang.org/x/sys/unix"
)

// mountOpts is a mount's options, sorted by what they act on.
type mountOpts struct {
	set, clr      uint64 // MOUNT_ATTR_*, on the mount
	rset, rclr    uint64 // the same on it and all below it
	propagation   uint64 // MS_*
	rpropagation  bool
	bind, rbind   bool
	remount       bool
	idmap, ridmap bool
	copyUp        bool         // tmpcopyup
	flags         []fuse.Param // for the superblock, whatever the file system
	data          []fuse.Param // for the file system
}

// parseMountOpts reads options as runtime-spec v1.3.0 config.md#linux-mount-options
// lists them; what it does not know is for the file system. Of two that
// contradict each other the later counts, as for mount(8).
func parseMountOpts(options []string) mountOpts {
	var o mountOpts
	for _, s := range options {
		switch {
		case mountAttrOption(s, &o.set, &o.clr):
		case strings.HasPrefix(s, "r") && mountAttrOption(s[1:], &o.rset, &o.rclr):
		case o.whole(s), o.superblock(s), forFstab(s):
		default:
			k, v, hasValue := strings.Cut(s, "=")
			o.data = append(o.data, fuse.Param{Key: k, Value: v, Flag: !hasValue})
		}
	}
	return o
}

// mountAttrOption takes an option that is an attribute of a mount, or the lack
// of one.
func mountAttrOption(s string, set, clr *uint64) bool {
	bit, on := mountAttrBit(s)
	switch {
	case bit == 0:
		return accessTime(s, set, clr)
	case on:
		*set, *clr = *set|bit, *clr&^bit
	default:
		*set, *clr = *set&^bit, *clr|bit
	}
	return true
}

func mountAttrBit(s string) (bit uint64, on bool) {
	switch s {
	case "ro", "rw":
		return unix.MOUNT_ATTR_RDONLY, s == "ro"
	case "nosuid", "suid":
		return unix.MOUNT_ATTR_NOSUID, s == "nosuid"
	case "nodev", "dev":
		return unix.MOUNT_ATTR_NODEV, s == "nodev"
	case "noexec", "exec":
		return unix.MOUNT_ATTR_NOEXEC, s == "noexec"
	case "nodiratime", "diratime":
		return unix.MOUNT_ATTR_NODIRATIME, s == "nodiratime"
	case "nosymfollow", "symfollow":
		return unix.MOUNT_ATTR_NOSYMFOLLOW, s == "nosymfollow"
	}
	return 0, false
}

// accessTime takes the options about access times, of which one holds at a
// time; the kernel wants the whole field cleared to change it.
func accessTime(s string, set, clr *uint64) bool {
	kind := *set & unix.MOUNT_ATTR__ATIME
	switch s {
	case "noatime":
		kind = unix.MOUNT_ATTR_NOATIME
	case "strictatime":
		kind = unix.MOUNT_ATTR_STRICTATIME
	case "relatime":
		kind = unix.MOUNT_ATTR_RELATIME
	case "atime": // the kernel's default then, which is relatime
		if kind == unix.MOUNT_ATTR_NOATIME {
			kind = unix.MOUNT_ATTR_RELATIME
		}
	case "nostrictatime":
		if kind == unix.MOUNT_ATTR_STRICTATIME {
			kind = unix.MOUNT_ATTR_RELATIME
		}
	case "norelatime":
	default:
		return false
	}
	*set, *clr = *set&^unix.MOUNT_ATTR__ATIME|kind, *clr|unix.MOUNT_ATTR__ATIME
	return true
}

// whole takes an option about the mount as a whole.
func (o *mountOpts) whole(s string) bool {
	switch s {
	case "bind":
		o.bind = true
	case "rbind":
		o.rbind = true
	case "remount":
		o.remount = true
	case "idmap":
		o.idmap = true
	case "ridmap":
		o.ridmap = true
	case "tmpcopyup":
		o.copyUp = true
	case "notmpcopyup":
		o.copyUp = false
	case "defaults", "":
	default:
		how, recursive := propagationFlag(s)
		if how == 0 {
			return false
		}
		o.propagation, o.rpropagation = how, o.rpropagation || recursive
	}
	return true
}

// propagationFlag is the MS_* flag of a propagation by its name in
// config.json, 0 for another word.
func propagationFlag(s string) (how uint64, recursive bool) {
	switch word := strings.TrimPrefix(s, "r"); word {
	case "private":
		how = unix.MS_PRIVATE
	case "slave":
		how = unix.MS_SLAVE
	case "shared":
		how = unix.MS_SHARED
	case "unbindable":
		how = unix.MS_UNBINDABLE
	}
	return how, strings.HasPrefix(s, "r")
}

// superblock takes what mount(2) has flags for but is a matter of the file
// system, not of one mount of it.
func (o *mountOpts) superblock(s string) bool {
	switch s {
	case "sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand":
		o.flags = append(o.flags, fuse.Param{Key: s, Flag: true})
	case "iversion": // a word that the file systems which have a choice call so
		o.flags = append(o.flags, fuse.Param{Key: "i_version", Flag: true})
	case "noiversion": // the default of all
	case "silent", "loud": // whether mount(2) writes to the kernel's log; fsopen(2) never does
	default:
		return false
	}
	return true
}

// iVersion is iversion as the file systems that have a choice call it.
const iVersion = "i_version"

// forFstab says whether an option is for the programs that read fstab, and
// dropped by mount(8).
func forFstab(s string) bool {
	switch s {
	case "auto", "noauto", "user", "nouser", "users", "owner", "group", "_netdev":
		return true
	}
	return strings.HasPrefix(s, "x-") || strings.HasPrefix(s, "X-") || strings.HasPrefix(s, "comment=")
}

// check names the option that a mount cannot have.
func (o *mountOpts) check(isBind bool, fstype string) error {
	switch {
	case o.remount:
		if o.idmap || o.ridmap || o.copyUp {
			return fmt.Errorf("remount changes a mount that is there: idmap and tmpcopyup need a new one")
		}
	case o.copyUp && (isBind || fstype != "tmpfs"):
		return fmt.Errorf("tmpcopyup is for a tmpfs")
	case (o.idmap || o.ridmap) && !isBind:
		return fmt.Errorf("idmap is for a bind mount")
	}
	if isBind && len(o.data) > 0 {
		// The kernel ignores them.
		return fmt.Errorf("%s is an option of a file system, and a bind mount cannot change its source's", o.data[0].Key)
	}
	return nil
}
