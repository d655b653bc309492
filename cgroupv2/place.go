package cgroupv2

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// managed finds out which part of the tree is not ours to change: where systemd
// runs the machine it is the only writer of the tree, but for what it has
// delegated. A user's manager is one such part and has its units in it, which
// belong to the user and are yet not ours. Source: systemd's
// docs/CGROUP_DELEGATION.md, "Three Different Tree Setups" and "Two Key Design
// Rules".
func (t *Tree) managed() {
	if t.OwnDir == "" || os.Geteuid() == 0 && !inUserNamespace() {
		return // root is told by its caller where to go
	}
	if unix.Access("/run/systemd/system", unix.F_OK) != nil {
		return // as inside of most containers
	}
	t.Managed = true
	// systemd marks what it delegates, but not a user's manager (up to version 257
	// at least); there, and before version 251, a unit is taken to be delegated that
	// somebody has made cgroups in.
	unit := t.unit()
	if unit != "" && (unit != t.OwnDir || filepath.Base(unit) == sharedUnit || delegation(unit) == "1") {
		t.Delegate = unit
	}
}

// unit is the directory of the unit that we are in, "" where that is a slice, or
// a user's manager: none that could be delegated to us.
func (t Tree) unit() string {
	for dir := t.OwnDir; dir != t.Mount && dir != "/"; dir = filepath.Dir(dir) {
		name := filepath.Base(dir)
		switch filepath.Ext(name) {
		case ".slice":
			return ""
		case ".scope", ".service":
			if strings.HasPrefix(name, "user@") {
				return ""
			}
			return dir
		}
	}
	return ""
}

// delegation is what systemd writes at a cgroup that it has delegated: "1".
func delegation(dir string) string {
	var buf [8]byte
	n, err := unix.Getxattr(dir, "user.delegate", buf[:])
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// ours says whether a cgroup may be made in dir as far as systemd is concerned.
func (t Tree) ours(dir string) bool {
	return !t.Managed || t.Delegate != "" && (dir == t.Delegate || strings.HasPrefix(dir, t.Delegate+"/"))
}

// userUnit is the user's manager above a directory, "" without.
func (t Tree) userUnit(dir string) string {
	unit := fmt.Sprintf("user@%d.service", os.Geteuid())
	i := strings.Index(dir+"/", "/"+unit+"/")
	if i < 0 {
		return ""
	}
	return dir[:i+1] + unit
}
