package spec

import "strings"

// capNames are the capabilities in the order of their numbers
// (linux/capability.h).
const capNames = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE " +
	"NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE " +
	"SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL " +
	"SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"

// capNumber is the number of a capability, with or without CAP_.
func capNumber(name string) (int, bool) {
	name = strings.TrimPrefix(name, "CAP_")
	n := 0
	for c := range strings.FieldsSeq(capNames) {
		if c == name {
			return n, true
		}
		n++
	}
	return 0, false
}
