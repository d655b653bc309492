package userns

import "errors"

// Cause names why the host refuses a user namespace or an id map.
type Cause string

// The causes that can be told apart.
const (
	CauseNoKernelSupport Cause = "no-user-namespaces"     // not in the kernel
	CauseUnprivileged    Cause = "unprivileged-userns"    // kernel.unprivileged_userns_clone=0
	CauseMaxNamespaces   Cause = "max-user-namespaces"    // user.max_user_namespaces is 0 or reached
	CauseNesting         Cause = "nesting"                // 32 levels deep
	CauseAppArmor        Cause = "apparmor"               // kernel.apparmor_restrict_unprivileged_userns
	CauseSELinux         Cause = "selinux"                // user_namespace { create } denied
	CauseSeccomp         Cause = "seccomp"                // the filter of an outer container or service
	CauseChroot          Cause = "chroot"                 // a chroot may not create user namespaces
	CauseUnmapped        Cause = "unmapped-caller"        // our own ids have no mapping in our namespace
	CauseNoSetFCap       Cause = "no-cap-setfcap"         // mapping id 0 needs CAP_SETFCAP of its owner
	CauseNoHelper        Cause = "no-newuidmap"           // not installed
	CauseHelperPrivilege Cause = "newuidmap-unprivileged" // neither setuid nor file capabilities, nosuid, no_new_privs
	CauseNotAllowed      Cause = "range-not-allowed"      // newuidmap: not in /etc/subuid
	CauseLoginGroup      Cause = "login-group"            // newuidmap before shadow 4.14, after newgrp or sg
	CauseOutsideRange    Cause = "range-outside"          // ids that our own user namespace does not have
	CauseUnknown         Cause = "unknown"
)

// ErrRestricted is what every RestrictedError unwraps to, besides its own
// reason.
var ErrRestricted = errors.New("the host does not allow it")

// RestrictedError says that the host refuses a user namespace or an id map,
// and why as far as can be found out.
type RestrictedError struct {
	Cause  Cause
	Reason string // for the reader: what stands in the way
	Advice string // what to type, "" where nothing helps
	Err    error  // what the kernel or newuidmap answered; may be nil
}

func (e *RestrictedError) Error() string {
	if e.Err == nil {
		return e.Reason
	}
	return e.Reason + ": " + e.Err.Error()
}

// Unwrap gives ErrRestricted and the answer of the kernel.
func (e *RestrictedError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrRestricted}
	}
	return []error{ErrRestricted, e.Err}
}

// Hint is the advice.
func (e *RestrictedError) Hint() string { return e.Advice }
