package spec

import (
	"fmt"
	"slices"
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
		case o.whole(s), forFstab(s):
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

// mountAttrWords are the words about one attribute each: set, or taken away.
var mountAttrWords = [...]struct {
	on, off string
	bit     uint64
}{
	{"ro", "rw", unix.MOUNT_ATTR_RDONLY},
	{"nosuid", "suid", unix.MOUNT_ATTR_NOSUID},
	{"nodev", "dev", unix.MOUNT_ATTR_NODEV},
	{"noexec", "exec", unix.MOUNT_ATTR_NOEXEC},
	{"nodiratime", "diratime", unix.MOUNT_ATTR_NODIRATIME},
	{"nosymfollow", "symfollow", unix.MOUNT_ATTR_NOSYMFOLLOW},
}

func mountAttrBit(s string) (bit uint64, on bool) {
	for i := range mountAttrWords {
		if w := &mountAttrWords[i]; s == w.on || s == w.off {
			return w.bit, s == w.on
		}
	}
	return 0, false
}

// accessTimeWords are the words about access times: to becomes the kind where
// from was, with anyTime whatever was.
var accessTimeWords = [...]struct {
	name     string
	from, to uint64
}{
	{"noatime", anyTime, unix.MOUNT_ATTR_NOATIME},
	{"strictatime", anyTime, unix.MOUNT_ATTR_STRICTATIME},
	{"relatime", anyTime, unix.MOUNT_ATTR_RELATIME},
	// The kernel's default then, which is relatime.
	{"atime", unix.MOUNT_ATTR_NOATIME, unix.MOUNT_ATTR_RELATIME},
	{"nostrictatime", unix.MOUNT_ATTR_STRICTATIME, unix.MOUNT_ATTR_RELATIME},
	{"norelatime", unix.MOUNT_ATTR_RELATIME, unix.MOUNT_ATTR_RELATIME},
}

const anyTime = ^uint64(0)

// accessTime takes the options about access times, of which one holds at a
// time; the kernel wants the whole field cleared to change it.
func accessTime(s string, set, clr *uint64) bool {
	for _, w := range accessTimeWords {
		if s != w.name {
			continue
		}
		kind := *set & unix.MOUNT_ATTR__ATIME
		if w.from == anyTime || w.from == kind {
			kind = w.to
		}
		*set, *clr = *set&^unix.MOUNT_ATTR__ATIME|kind, *clr|unix.MOUNT_ATTR__ATIME
		return true
	}
	return false
}

// wholeWords are about the mount as a whole, or about its file system whatever
// that is: mount(2) has flags for those.
var wholeWords = [...]struct {
	name string
	do   func(*mountOpts)
}{
	{"bind", func(o *mountOpts) { o.bind = true }},
	{"rbind", func(o *mountOpts) { o.rbind = true }},
	{"remount", func(o *mountOpts) { o.remount = true }},
	{"idmap", func(o *mountOpts) { o.idmap = true }},
	{"ridmap", func(o *mountOpts) { o.ridmap = true }},
	{"tmpcopyup", func(o *mountOpts) { o.copyUp = true }},
	{"notmpcopyup", func(o *mountOpts) { o.copyUp = false }},
	{"defaults", func(*mountOpts) {}},
	{"sync", func(o *mountOpts) { o.flag("sync") }},
	{"async", func(o *mountOpts) { o.flag("async") }},
	{"dirsync", func(o *mountOpts) { o.flag("dirsync") }},
	{"lazytime", func(o *mountOpts) { o.flag("lazytime") }},
	{"nolazytime", func(o *mountOpts) { o.flag("nolazytime") }},
	{"mand", func(o *mountOpts) { o.flag("mand") }},
	{"nomand", func(o *mountOpts) { o.flag("nomand") }},
	{"iversion", func(o *mountOpts) { o.flag(iVersion) }},
	{"noiversion", func(*mountOpts) {}}, // the default of all
	// Whether mount(2) writes to the kernel's log; fsopen(2) never does.
	{"silent", func(*mountOpts) {}},
	{"loud", func(*mountOpts) {}},
}

func (o *mountOpts) flag(key string) {
	o.flags = append(o.flags, fuse.Param{Key: key, Flag: true})
}

// whole takes one of wholeWords, or a propagation.
func (o *mountOpts) whole(s string) bool {
	for i := range wholeWords {
		if s == wholeWords[i].name {
			wholeWords[i].do(o)
			return true
		}
	}
	if how, recursive := propagationFlag(s); how != 0 {
		o.propagation, o.rpropagation = how, o.rpropagation || recursive
		return true
	}
	return s == ""
}

// propagationWords have a recursive form with an r before them.
var propagationWords = [...]struct {
	name string
	how  uint64
}{{"private", unix.MS_PRIVATE}, {"slave", unix.MS_SLAVE}, {"shared", unix.MS_SHARED}, {"unbindable", unix.MS_UNBINDABLE}}

// propagationFlag is the MS_* flag of a propagation by its name in
// config.json, 0 for another word.
func propagationFlag(s string) (how uint64, recursive bool) {
	word, recursive := strings.CutPrefix(s, "r")
	for _, w := range propagationWords {
		if word == w.name {
			return w.how, recursive
		}
	}
	return 0, recursive
}

// mountOptionNames lists the words of all these tables, sorted.
func mountOptionNames() []string {
	var names []string
	add := func(word string, recursive bool) {
		names = append(names, word)
		if recursive {
			names = append(names, "r"+word)
		}
	}
	for _, w := range mountAttrWords {
		add(w.on, true)
		add(w.off, true)
	}
	for _, w := range accessTimeWords {
		add(w.name, true)
	}
	for _, w := range propagationWords {
		add(w.name, true)
	}
	for _, w := range wholeWords {
		add(w.name, false)
	}
	slices.Sort(names)
	return names
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

// check names the option that a mount cannot have, and drops what says
// nothing to a bind mount.
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
	if isBind {
		// mount(2) does not look at them either, and bundles that runc and
		// crun run have them; Validate warns.
		o.data = nil
	}
	return nil
}
