package begin

import (
	"context"
	"os"
	"strings"

	"coracle/spec"
	"coracle/userns"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// ahead is the first process of a sandbox that Early has begun, and nobody has asked
// for yet, with the ids that it has.
var ahead struct {
	newborn  *spec.Newborn
	uid, gid uint32
}

// Early begins the first process if args, a whole command line, are of a sandbox that
// most likely needs no cgroup: the kernel makes its namespaces while the packages
// are initialised that the command needs. One that turns out to be wrong is
// abandoned; it ends with us in any case.
func Early(args []string) {
	if os.Getuid() == 0 || !wanted(args) { // root's processes are limited by a cgroup
		return
	}
	a := &ahead
	a.uid, a.gid = uint32(os.Geteuid()), uint32(os.Getegid())
	begun, err := Plan{Namespaces: true, Map: &userns.Map{UIDs: oneID(a.uid), GIDs: oneID(a.gid)}}.Begin(context.Background(), nil)
	if err == nil { // else whoever asks finds out what is wrong, if anything is
		a.newborn = begun.Newborn
	}
}

func oneID(id uint32) []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{ContainerID: id, HostID: id, Size: 1}}
}

// wanted is a guess: it knows no flag that takes a value.
func wanted(args []string) bool {
	if len(args) < 3 || args[1] != "sandbox" {
		return false
	}
	for _, a := range args[2:] {
		name, _, _ := strings.Cut(a, "=")
		switch {
		case a == "--":
			return true
		case name == "--memory" || name == "--cpus" || strings.HasPrefix(a, "-m"):
			return false // a cgroup, which it has to be born in
		case name == "--help" || name == "-h" || name == "--explain" || name == "--dry-run":
			return false
		}
	}
	return true
}

// DismissUnused ends the one that nobody has asked for.
func DismissUnused() {
	ahead.newborn.Abandon()
	ahead.newborn = nil
}

// Ahead hands over the process that Early has begun, its maps included, if there is one with these ids.
func Ahead(uid, gid uint32) *spec.Newborn {
	if a := &ahead; a.uid != uid || a.gid != gid {
		DismissUnused()
	}
	n := ahead.newborn
	ahead.newborn = nil
	return n
}
