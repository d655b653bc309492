// Package userns answers who the caller is inside: subordinate ids, id maps,
// newuidmap and newgidmap, user namespaces and what the host allows of them.
package userns

import specs "github.com/opencontainers/runtime-spec/specs-go"

// Map is a pair of id maps as written to /proc/PID/uid_map and gid_map,
// container ids ascending.
type Map struct {
	UIDs, GIDs []specs.LinuxIDMapping
}

// Request is what the user asked for: the flags as typed, "" or empty when
// not given.
type Request struct {
	Userns     string   // --userns: keep-id[:uid=,gid=], nomap, auto[:size=], host
	UIDMaps    []string // --uidmap CONTAINER:HOST[:SIZE]
	GIDMaps    []string // --gidmap
	SubUIDName string   // --subuidname
	SubGIDName string   // --subgidname
}
