package begin

import (
	"context"
	"os"
	"strings"

	"coracle/spec"
	"coracle/userns"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// ahead is what Early has begun of a sandbox, and nobody has asked for yet.
var ahead struct {
	host chan host // nil: nothing was begun
	born chan *spec.Newborn

	uid, gid uint32 // of the newborn
}

// Early looks at the host, and begins the first process, if args, a whole command line, are of
// a sandbox that most likely needs no cgroup: that goes beside the initialisation of the
// packages that the command needs. A process that turns out to be wrong is
// abandoned; it ends with us in any case.
func Early(args []string) {
	if os.Getuid() == 0 || !wanted(args) { // root's processes are limited by a cgroup
		return
	}
	a := &ahead
	a.uid, a.gid = uint32(os.Geteuid()), uint32(os.Getegid())
	a.host, a.born = make(chan host, 1), make(chan *spec.Newborn, 1)
	go func() {
		a.host <- look() // first: it is asked for first, and takes a third of the time
		begun, _ := Plan{Namespaces: true, Map: &userns.Map{UIDs: oneID(a.uid), GIDs: oneID(a.gid)}}.Begin(context.Background(), nil)
		a.born <- begun.Newborn // none: whoever asks finds out what is wrong, if anything is
	}()
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
func DismissUnused() { taken().Abandon() }

// Ahead hands over the process that Early has begun, its maps included, if there is one with these ids.
func Ahead(uid, gid uint32) *spec.Newborn {
	if a := &ahead; a.uid != uid || a.gid != gid {
		DismissUnused()
	}
	return taken()
}

func taken() *spec.Newborn {
	if ahead.born == nil {
		return nil
	}
	n := <-ahead.born
	ahead.born = nil
	return n
}
