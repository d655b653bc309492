package userns

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// AppArmorProfile is the profile that lets the executable create user
// namespaces where kernel.apparmor_restrict_unprivileged_userns is 1 (Ubuntu
// 23.10 and later), for /etc/apparmor.d/coracle.
func AppArmorProfile(exe string) string {
	return `abi <abi/4.0>,
include <tunables/global>

profile coracle ` + quoteAppArmor(exe) + ` flags=(unconfined) {
  userns,
  include if exists <local/coracle>
}
`
}

// quoteAppArmor makes a file name that AppArmor takes literally: its pattern
// characters escaped, the whole in quotes.
func quoteAppArmor(name string) string {
	var b strings.Builder
	for _, r := range name {
		if strings.ContainsRune(`"\*?[]{}^,@`, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return `"` + b.String() + `"`
}

// appArmorAdvice is a command that installs the profile as it stands.
func appArmorAdvice(exe string) string {
	return "sudo tee /etc/apparmor.d/coracle <<'EOF' && sudo apparmor_parser -r /etc/apparmor.d/coracle\n" + AppArmorProfile(exe) + "EOF"
}

// explainStep finds the reason why a step of Probe was refused.
func explainStep(f Facts, step string, errno syscall.Errno) *RestrictedError {
	e := &RestrictedError{Cause: CauseUnknown, Reason: "cannot " + step, Err: errno}
	switch errno {
	case syscall.ENOSPC, syscall.EUSERS:
		explainLimit(f, e)
	case syscall.EINVAL, syscall.ENOSYS:
		if !f.UserNamespaces {
			e.Cause, e.Reason = CauseNoKernelSupport, "this kernel has no user namespaces"
			e.Advice = "boot a kernel built with CONFIG_USER_NS=y"
		}
	case syscall.EPERM, syscall.EACCES:
		explainRefusal(f, step, errno, e)
	}
	return e
}

func explainLimit(f Facts, e *RestrictedError) {
	e.Cause = CauseMaxNamespaces
	e.Advice = "echo user.max_user_namespaces=15000 | sudo tee /etc/sysctl.d/90-userns.conf && sudo sysctl --system"
	switch {
	case f.MaxNamespaces == "0":
		e.Reason = "user.max_user_namespaces is 0, so nobody can create a user namespace"
	case f.Container != "" || len(f.Own.UIDs) > 0 && !wholeHost(f.Own):
		e.Cause = CauseNesting
		e.Reason = "no more user namespaces can be created: the limit of an outer user namespace is reached, or 32 are nested"
		e.Advice = "nest less deeply, or raise user.max_user_namespaces on the host"
	default:
		e.Reason = "user.max_user_namespaces is " + f.MaxNamespaces + ", and that many exist"
	}
}

// wholeHost says that a map is that of the host's own user namespace.
func wholeHost(m Map) bool {
	return len(m.UIDs) == 1 && m.UIDs[0] == specs.LinuxIDMapping{Size: 1<<32 - 1}
}

// explainRefusal goes from the switches that are certain to the guesses.
func explainRefusal(f Facts, step string, errno syscall.Errno, e *RestrictedError) {
	_, uidMapped := outward(f.Own.UIDs, f.UID)
	_, gidMapped := outward(f.Own.GIDs, f.GID)
	apparmor := f.AppArmorRestrict == "1" && !f.SysAdmin
	switch {
	case step == stepClone && f.UnprivilegedClone == "0" && !f.SysAdmin:
		e.Cause, e.Reason = CauseUnprivileged, "kernel.unprivileged_userns_clone is 0: only root may create user namespaces"
		e.Advice = "echo kernel.unprivileged_userns_clone=1 | sudo tee /etc/sysctl.d/90-userns.conf && sudo sysctl --system"
	case errno == syscall.EACCES && f.SELinux == "enforcing":
		explainSELinux(f, e)
	case step == stepClone && len(f.Own.UIDs) > 0 && !(uidMapped && gidMapped):
		e.Cause = CauseUnmapped
		e.Reason = fmt.Sprintf("the outer user namespace has no mapping for this process (user %d, group %d)", f.UID, f.GID)
		e.Advice = "start the outer container as a user that it maps"
	case apparmor && (f.Label == "" || strings.HasPrefix(f.Label, "unconfined") || strings.Contains(f.Label, "unprivileged_userns")):
		e.Cause = CauseAppArmor
		e.Reason = "AppArmor lets only programs with a profile use user namespaces (kernel.apparmor_restrict_unprivileged_userns is 1)"
		e.Advice = appArmorAdvice(f.Exe)
	case step == stepClone && (f.Chroot || f.SysAdmin && !f.Seccomp && f.SELinux != "enforcing"):
		// A chroot to a mount point is not seen in mountinfo; but to one who
		// holds CAP_SYS_ADMIN the kernel has no other reason left.
		e.Cause, e.Reason = CauseChroot, "a process in a chroot may not create user namespaces"
		e.Advice = "enter the directory with pivot_root instead (bwrap, unshare --root, systemd-nspawn)"
	case f.Seccomp && (step == stepClone || f.Label == "" || strings.HasPrefix(f.Label, "unconfined")):
		explainSeccomp(f, e)
	case f.SELinux == "enforcing":
		explainSELinux(f, e)
	case f.Label != "" && !strings.HasPrefix(f.Label, "unconfined") && f.SELinux == "":
		e.Cause, e.Reason = CauseAppArmor, "the AppArmor profile "+f.Label+" around this process forbids it"
		e.Advice = "start the outer container with --security-opt apparmor=unconfined"
	}
}

func explainSELinux(f Facts, e *RestrictedError) {
	e.Cause = CauseSELinux
	e.Reason = "SELinux is enforcing and forbids it to " + f.Label
	if len(f.SELinuxOff) > 0 {
		e.Advice = "sudo setsebool -P"
		for _, name := range f.SELinuxOff {
			e.Advice += " " + name + "=on"
		}
		return
	}
	e.Advice = "sudo ausearch -m avc -ts recent | audit2allow -M coracle && sudo semodule -i coracle.pp"
}

func explainSeccomp(f Facts, e *RestrictedError) {
	e.Cause = CauseSeccomp
	switch f.Container {
	case "coracle":
		e.Reason = "the sandbox or container of coracle around us forbids it"
		e.Advice = "run it outside; no sandbox can be made in a sandbox"
	case "docker":
		e.Reason = "the seccomp filter of the docker container around us forbids it"
		e.Advice = "start the outer container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
	case "podman":
		e.Reason = "the seccomp filter of the podman container around us forbids it"
		e.Advice = "start the outer container with --security-opt seccomp=unconfined --security-opt unmask=ALL"
	case "":
		e.Reason = "a seccomp filter on this process forbids it"
		e.Advice = "look for RestrictNamespaces= or SystemCallFilter= in the systemd unit, or for the sandbox around this shell"
	default:
		e.Reason = "the seccomp filter of the " + f.Container + " container around us forbids it"
		e.Advice = "start the outer container without its seccomp filter"
	}
}

// explainWrite finds the reason why an id map was refused.
func (s system) explainWrite(k idKind, err error) error {
	return explainMap(HostFacts(), s.helperFacts(Identity{}), k, err)
}

func explainMap(f Facts, h helperFacts, k idKind, err error) error {
	program, capability := h.UID, "cap_setuid"
	own, file := f.Own.UIDs, "/etc/subuid"
	if k.name == "gid" {
		program, capability, own, file = h.GID, "cap_setgid", f.Own.GIDs, "/etc/subgid"
	}
	e := &RestrictedError{Cause: CauseUnknown, Reason: "cannot write the " + k.name + " map", Err: err}
	var said *mapperError
	viaHelper := errors.As(err, &said)
	refused := errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || viaHelper
	_, out := usable(hostRanges(k.extents), own, OverflowID)
	var powerless, advice string
	if viaHelper {
		powerless, advice = program.powerless(capability, f.NoNewPrivs)
	}
	switch {
	case !refused:
		return fmt.Errorf("write the %s map: %w", k.name, err)
	case viaHelper && strings.Contains(said.said, "not allowed"):
		e.Cause, e.Reason = CauseNotAllowed, "the ids "+hostText(k.extents)+" are not all granted in "+file
		e.Advice = "see `getsubids` and " + file + " for what is"
	case viaHelper && strings.Contains(said.said, "owned by a different user"):
		e.Cause, e.Reason = CauseLoginGroup, "this newuidmap serves only processes in the group of their login, as they are not after newgrp and sg"
		e.Advice = "sg \"$(id -gn \"$(id -un)\")\" -c 'coracle …'"
	case len(own) > 0 && len(out) > 0:
		e.Cause = CauseOutsideRange
		e.Reason = fmt.Sprintf("%s ids %s do not exist in this user namespace, which has %s", k.name, rangesText(out), insideText(own))
		e.Advice = "start the outer container with more ids, or list ids of this namespace in " + file
	case powerless != "":
		e.Cause, e.Reason, e.Advice = CauseHelperPrivilege, powerless, advice
	case !viaHelper && k.name == "uid" && mapsRoot(k.extents) && !f.SetFCap && f.UID == 0:
		e.Cause, e.Reason = CauseNoSetFCap, "to map user 0 this process needs CAP_SETFCAP (since Linux 5.12)"
		e.Advice = "start the outer container with --cap-add SETFCAP"
	default:
		explainRefusal(f, stepMap, syscall.EPERM, e)
	}
	return e
}

func mapsRoot(extents []specs.LinuxIDMapping) bool {
	_, ok := inward(extents, 0)
	return ok
}
