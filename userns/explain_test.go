package userns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// hostFacts are those of an ordinary host without restrictions.
func hostFacts(t *testing.T) Facts {
	return Facts{
		UID: 1000, GID: 1000, UserNamespaces: true, MaxNamespaces: "63000", Label: "unconfined",
		Own: mapOf(t, "0:0:4294967295"), Exe: "/home/ann/bin/coracle",
	}
}

func TestExplainStep(t *testing.T) {
	inner := mapOf(t, "0:1000:1 1:100000:65536")
	for _, c := range []struct {
		name           string
		change         func(*Facts)
		step           string
		errno          syscall.Errno
		cause          Cause
		reason, advice string
	}{
		{"not in the kernel", func(f *Facts) { f.UserNamespaces = false }, stepClone, syscall.EINVAL, CauseNoKernelSupport, "no user namespaces", "CONFIG_USER_NS"},
		{"something else", nil, stepClone, syscall.EINVAL, CauseUnknown, "cannot create a user namespace", ""},
		{"debian's switch", func(f *Facts) { f.UnprivilegedClone = "0" }, stepClone, syscall.EPERM, CauseUnprivileged, "kernel.unprivileged_userns_clone is 0", "kernel.unprivileged_userns_clone=1"},
		{"debian's switch is on", func(f *Facts) { f.UnprivilegedClone = "1" }, stepClone, syscall.EPERM, CauseUnknown, "", ""},
		{"limit 0", func(f *Facts) { f.MaxNamespaces = "0" }, stepClone, syscall.ENOSPC, CauseMaxNamespaces, "user.max_user_namespaces is 0", "user.max_user_namespaces=15000"},
		{"limit reached", nil, stepClone, syscall.ENOSPC, CauseMaxNamespaces, "is 63000, and that many exist", "user.max_user_namespaces=15000"},
		{"outer limit", func(f *Facts) { f.Own = inner }, stepClone, syscall.ENOSPC, CauseNesting, "limit of an outer user namespace", "on the host"},
		{"old kernels", func(f *Facts) { f.Own = inner }, stepClone, syscall.EUSERS, CauseNesting, "32 are nested", ""},
		{"ubuntu, unconfined", func(f *Facts) { f.AppArmorRestrict = "1" }, stepClone, syscall.EPERM, CauseAppArmor, "apparmor_restrict_unprivileged_userns is 1", "profile coracle \"/home/ann/bin/coracle\""},
		{"ubuntu, in its profile", func(f *Facts) { f.AppArmorRestrict, f.Label = "1", "unprivileged_userns (enforce)" }, stepMounts, syscall.EPERM, CauseAppArmor, "AppArmor", "apparmor_parser -r"},
		{"ubuntu, refused later", func(f *Facts) { f.AppArmorRestrict = "1" }, stepMount, syscall.EACCES, CauseAppArmor, "AppArmor", "userns,"},
		{"ubuntu, switched off", func(f *Facts) { f.AppArmorRestrict = "0" }, stepMounts, syscall.EPERM, CauseUnknown, "", ""},
		{"docker's filter", func(f *Facts) { f.Seccomp, f.Container, f.Label = true, "docker", "docker-default (enforce)" }, stepClone, syscall.EPERM, CauseSeccomp, "docker container", "seccomp=unconfined"},
		{"docker's profile", func(f *Facts) { f.Seccomp, f.Container, f.Label = true, "docker", "docker-default (enforce)" }, stepMount, syscall.EACCES, CauseAppArmor, "docker-default", "apparmor=unconfined"},
		{"podman's filter", func(f *Facts) { f.Seccomp, f.Container = true, "podman" }, stepClone, syscall.EPERM, CauseSeccomp, "podman container", "--security-opt"},
		{"our own filter", func(f *Facts) { f.Seccomp, f.Container = true, "coracle" }, stepClone, syscall.EPERM, CauseSeccomp, "coracle around us", "outside"},
		{"lxc's filter", func(f *Facts) { f.Seccomp, f.Container = true, "lxc" }, stepClone, syscall.EPERM, CauseSeccomp, "lxc container", ""},
		{"a unit's filter", func(f *Facts) { f.Seccomp = true }, stepClone, syscall.EPERM, CauseSeccomp, "seccomp filter on this process", "RestrictNamespaces="},
		{"selinux", func(f *Facts) { f.SELinux, f.Label = "enforcing", "user_u:user_r:user_t:s0" }, stepClone, syscall.EACCES, CauseSELinux, "user_u:user_r:user_t:s0", "ausearch"},
		{"selinux with booleans", func(f *Facts) { f.SELinux, f.SELinuxOff = "enforcing", []string{"a_userns", "b_userns"} }, stepClone, syscall.EACCES, CauseSELinux, "SELinux", "setsebool -P a_userns=on b_userns=on"},
		{"selinux is permissive", func(f *Facts) { f.SELinux, f.Label = "permissive", "" }, stepClone, syscall.EACCES, CauseUnknown, "", ""},
		{"chroot", func(f *Facts) { f.Chroot = true }, stepClone, syscall.EPERM, CauseChroot, "chroot", "pivot_root"},
		{"chroot to a mount, as root", func(f *Facts) { f.SysAdmin = true }, stepClone, syscall.EPERM, CauseChroot, "chroot", "pivot_root"},
		{"unmapped", func(f *Facts) { f.Own, f.UID = inner, OverflowID+10 }, stepClone, syscall.EPERM, CauseUnmapped, "user 65544", "a user that it maps"},
		{"unmapped group", func(f *Facts) { f.Own, f.GID = inner, 70000 }, stepClone, syscall.EPERM, CauseUnmapped, "group 70000", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := hostFacts(t)
			if c.change != nil {
				c.change(&f)
			}
			e := explainStep(f, c.step, c.errno)
			if e.Cause != c.cause || !strings.Contains(e.Reason, c.reason) || !strings.Contains(e.Hint(), c.advice) {
				t.Errorf("%s: %s\nhint %s", e.Cause, e, e.Hint())
			}
			if !errors.Is(e, c.errno) || !errors.Is(e, ErrRestricted) {
				t.Error("does not unwrap")
			}
			if (c.cause == CauseUnknown) != (e.Hint() == "") {
				t.Errorf("hint %q", e.Hint())
			}
		})
	}
}

func TestExplainMap(t *testing.T) {
	good := helperProgram{Path: "/usr/bin/newuidmap", Setuid: true}
	plain := helperProgram{Path: "/usr/bin/newuidmap"}
	said := func(s string) error { return &mapperError{helper: "newuidmap", said: s, status: 1 << 8} }
	refused := &os.PathError{Op: "write", Path: "/proc/1/uid_map", Err: syscall.EPERM}
	for _, c := range []struct {
		name           string
		change         func(*Facts)
		helper         helperProgram
		extents        string
		err            error
		cause          Cause
		reason, advice string
	}{
		{"not granted", nil, good, "0:1000:1 1:5000:5", said("newuidmap: uid range [1-6) -> [5000-5005) not allowed"), CauseNotAllowed, "1000, 5000-5004 are not all granted in /etc/subuid", "getsubids"},
		{"no privilege", nil, plain, "0:1000:1 1:5000:5", said("newuidmap: write to uid_map failed: Operation not permitted"), CauseHelperPrivilege, "neither setuid root nor has cap_setuid", "setcap"},
		{"no_new_privs", func(f *Facts) { f.NoNewPrivs = true }, good, "0:1000:1 1:5000:5", said("newuidmap: write to uid_map failed"), CauseHelperPrivilege, "no_new_privs", "no-new-privileges"},
		{"outside", func(f *Facts) { f.Own = mapOf(t, "0:1000:1 1:100000:65536") }, good, "0:0:1 1:70000:10", said("newuidmap: write to uid_map failed: Operation not permitted"), CauseOutsideRange, "uid ids 70000-70009 do not exist in this user namespace, which has 0-65536", "outer container"},
		{"root lacks setfcap", func(f *Facts) { f.UID, f.SetID = 0, true }, good, "0:0:4294967295", refused, CauseNoSetFCap, "CAP_SETFCAP", "--cap-add SETFCAP"},
		{"ubuntu", func(f *Facts) { f.AppArmorRestrict = "1" }, good, "0:1000:1", refused, CauseAppArmor, "AppArmor", "userns,"},
		{"no idea", nil, good, "0:1000:1", refused, CauseUnknown, "cannot write the uid map", ""},
		{"silent", nil, good, "0:1000:1 1:2000:4", said(""), CauseUnknown, "cannot write the uid map", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := hostFacts(t)
			if c.change != nil {
				c.change(&f)
			}
			err := explainMap(f, helperFacts{UID: c.helper}, idKind{"uid", "newuidmap", extents(t, c.extents)}, c.err)
			var e *RestrictedError
			if !errors.As(err, &e) || e.Cause != c.cause || !strings.Contains(e.Reason, c.reason) || !strings.Contains(e.Advice, c.advice) {
				t.Errorf("%v\nhint %q", err, hintOf(err))
			}
		})
	}
	gone := &os.PathError{Op: "open", Path: "/proc/1/uid_map", Err: syscall.ENOENT}
	if err := explainMap(hostFacts(t), helperFacts{}, idKind{name: "uid"}, gone); errors.Is(err, ErrRestricted) || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("a process that is gone: %v", err)
	}
}

func TestAppArmorProfile(t *testing.T) {
	got := AppArmorProfile(`/home/a b/[x]{1}/cora"cle`)
	if !strings.Contains(got, `profile coracle "/home/a b/\[x\]\{1\}/cora\"cle" flags=(unconfined) {`) {
		t.Error(got)
	}
	parser, err := exec.LookPath("apparmor_parser")
	if err != nil {
		return // nobody here to judge the profile
	}
	cmd := exec.Command(parser, "--skip-kernel-load", "--skip-cache", "--stdout")
	cmd.Stdin = strings.NewReader(got)
	if out, err := cmd.CombinedOutput(); err != nil && strings.Contains(string(out), "syntax error") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestFactsFromFiles(t *testing.T) {
	s := fakeRoot(t, map[string]string{
		"proc/sys/kernel/unprivileged_userns_clone":             "0\n",
		"proc/sys/user/max_user_namespaces":                     "0\n",
		"proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
		"proc/self/attr/current":                                "user_u:user_r:user_t:s0\x00",
		"proc/self/status":                                      "Name:\tx\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n",
		"proc/self/mountinfo":                                   "30 29 0:26 / /proc rw - proc proc rw\n",
		"proc/self/uid_map":                                     "0 1000 1\n",
		"proc/self/gid_map":                                     "0 1000 1\n",
		"sys/fs/selinux/enforce":                                "1",
		"sys/fs/selinux/booleans/allow_userns":                  "0 0",
		"sys/fs/selinux/booleans/other_userns":                  "1 1",
		"sys/fs/selinux/booleans/users_can_sing":                "0 0",
		"run/.containerenv":                                     "",
	})
	f := s.facts()
	got := fmt.Sprint(f.UnprivilegedClone, f.MaxNamespaces, f.AppArmorRestrict, f.Label, f.SELinux, f.SELinuxOff, f.Seccomp, f.NoNewPrivs, f.Container, f.Chroot, f.UserNamespaces, short(f.Own.UIDs))
	if want := fmt.Sprint("0", "0", "1", "user_u:user_r:user_t:s0", "enforcing", []string{"allow_userns"}, true, true, "podman", true, false, "0:1000:1"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, c := range []struct{ file, want string }{{".dockerenv", "docker"}, {"run/systemd/container", "lxc"}} {
		if got := fakeRoot(t, map[string]string{c.file: "lxc\n"}).container(); got != c.want {
			t.Errorf("%s: %q", c.file, got)
		}
	}
	real := HostFacts()
	if !real.UserNamespaces || real.Chroot || len(real.Own.UIDs) == 0 || real.Exe == "" {
		t.Errorf("this machine: %+v", real)
	}
}
