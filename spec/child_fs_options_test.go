package spec

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMountOptions(t *testing.T) {
	const atime = unix.MOUNT_ATTR__ATIME
	for _, tt := range []struct {
		options string
		want    mountOpts
	}{
		{"", mountOpts{}},
		{"defaults,loud,silent,noiversion,auto,_netdev,x-systemd.idle,comment=me", mountOpts{}},
		{"ro,nosuid,nodev,noexec", mountOpts{set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC}},
		{"ro,rw", mountOpts{clr: unix.MOUNT_ATTR_RDONLY}},
		{"rw,ro", mountOpts{set: unix.MOUNT_ATTR_RDONLY}},
		{"suid,dev,exec,symfollow,diratime", mountOpts{clr: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NOSYMFOLLOW | unix.MOUNT_ATTR_NODIRATIME}},
		{"rro,rnosuid,rnodev,rnoexec,rnosymfollow,rnodiratime", mountOpts{rset: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NOSYMFOLLOW | unix.MOUNT_ATTR_NODIRATIME}},
		{"rrw,rsuid,rdev,rexec,rsymfollow,rdiratime", mountOpts{rclr: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NOSYMFOLLOW | unix.MOUNT_ATTR_NODIRATIME}},
		{"ro,rrw", mountOpts{set: unix.MOUNT_ATTR_RDONLY, rclr: unix.MOUNT_ATTR_RDONLY}},
		{"noatime", mountOpts{set: unix.MOUNT_ATTR_NOATIME, clr: atime}},
		{"noatime,strictatime", mountOpts{set: unix.MOUNT_ATTR_STRICTATIME, clr: atime}},
		{"noatime,atime", mountOpts{clr: atime}},
		{"noatime,norelatime", mountOpts{set: unix.MOUNT_ATTR_NOATIME, clr: atime}},
		{"strictatime,nostrictatime", mountOpts{clr: atime}},
		{"relatime", mountOpts{clr: atime}},
		{"rnoatime,rstrictatime", mountOpts{rset: unix.MOUNT_ATTR_STRICTATIME, rclr: atime}},
		{"ratime,rrelatime,rnorelatime,rnostrictatime", mountOpts{rclr: atime}},
		{"bind,private", mountOpts{bind: true, propagation: unix.MS_PRIVATE}},
		{"rbind,rslave", mountOpts{rbind: true, propagation: unix.MS_SLAVE, rpropagation: true}},
		{"shared", mountOpts{propagation: unix.MS_SHARED}},
		{"runbindable,ridmap", mountOpts{propagation: unix.MS_UNBINDABLE, rpropagation: true, ridmap: true}},
		{"idmap,remount", mountOpts{idmap: true, remount: true}},
		{"tmpcopyup", mountOpts{copyUp: true}},
		{"tmpcopyup,notmpcopyup", mountOpts{}},
	} {
		got := parseMountOpts(strings.Split(tt.options, ","))
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.options, got, tt.want)
		}
	}
	got := parseMountOpts([]string{"sync", "dirsync", "lazytime", "nolazytime", "async", "iversion", "mand", "nomand", "mode=755", "huge", "lowerdir=/a=b"})
	if s := fmt.Sprint(got.flags, got.data); s != "[{sync  true} {dirsync  true} {lazytime  true} {nolazytime  true} {async  true} {i_version  true} {mand  true} {nomand  true}] [{mode 755 false} {huge  true} {lowerdir /a=b false}]" {
		t.Errorf("for the file system: %s", s)
	}
}

// Every option that the specification lists is known: none is left to a file
// system that would refuse it.
func TestMountOptionsAreAllKnown(t *testing.T) {
	for _, s := range strings.Fields(`async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime
		noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime relatime remount
		rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave
		rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap`) {
		if o := parseMountOpts([]string{s}); len(o.data) > 0 {
			t.Errorf("%s is taken for an option of a file system", s)
		}
	}
}

func TestMountOptionsThatCannotBe(t *testing.T) {
	for _, tt := range []struct {
		options string
		bind    bool
		fstype  string
		want    string
	}{
		{"bind,mode=755", true, "bind", ""},
		{"bind,tmpcopyup", true, "bind", "tmpcopyup is for a tmpfs"},
		{"tmpcopyup", false, "proc", "tmpcopyup is for a tmpfs"},
		{"idmap", false, "tmpfs", "idmap is for a bind mount"},
		{"remount,bind,idmap", true, "", "remount changes a mount that is there"},
		{"rbind,ro,rprivate", true, "none", ""},
		{"remount,size=1m", false, "tmpfs", ""},
		{"tmpcopyup,mode=700", false, "tmpfs", ""},
	} {
		o := parseMountOpts(strings.Split(tt.options, ","))
		err := o.check(tt.bind, tt.fstype)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.options, err, tt.want)
		}
	}
}
