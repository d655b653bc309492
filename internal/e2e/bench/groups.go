package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// group is a piece of work to measure. Each has a file of its own, or shares
// one with its like; a new one is added here.
type group struct {
	name    string // for -only
	measure func(p place, rounds int) (Group, error)
}

// The long ones come last and in this order: each makes a hundred thousand
// files, and none removes any (see longest).
var groups = []group{
	{"start", startImage},
	{"host", startHost},
	{"sandbox", startSandbox},
	{"sandbox-egress", sandboxEgress},
	{"sandbox-compile", sandboxCompile},
	{"sandbox-write", sandboxWrite},
	{"sandbox-loop", sandboxLoop},
	{"version", startVersion},
	{"memory", memory},
	{"detached-start", detachedStart},
	{"detached-exec", detachedExec},
	{"detached-memory", detachedMemory},
	{"detached-many", detachedMany},
	{"detached-logs", detachedLogs},
	{"ps", psMany},
	{"stats", statsMany},
	{"limits", limited},
	{"network-tcp", networkTCP},
	{"network-tcp-large", networkTCPLarge},
	{"network-udp", networkUDP},
	{"network-requests", networkRequests},
	{"network-download", networkDownload},
	{"network-short", networkShort},
	{"network-start", networkStart},
	{"network-memory", networkMemory},
	{"copy", copyFiles},
	{"cycles", cycles},
	{"oci-run", ociRun},
	{"oci-mounts", ociMounts},
	{"oci-lifecycle", ociLifecycle},
	{"oci-exec", ociExec},
	{"oci-state", ociState},
	{"oci-parallel", ociParallel},
	{"images", imagesMany},
	{"pull", pull},
	{"commit", commit},
	{"push", push},
	{"keep-id", keepID},
}

// initsName stands for the table of package initialisation, which is no group.
const initsName = "inits"

// selection reads -only: names with commas between, "" for all; network is all those
// that begin so.
func selection(only string) (func(name string) bool, error) {
	var all []string
	for _, g := range groups {
		all = append(all, g.name)
	}
	all = append(all, initsName)
	if only == "" {
		return func(string) bool { return true }, nil
	}
	names := strings.Split(only, ",")
	for _, n := range names {
		if !slices.ContainsFunc(all, func(name string) bool { return within(name, n) }) {
			return nil, fmt.Errorf("no group %q: there are %s", n, strings.Join(all, ", "))
		}
	}
	return func(name string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return within(name, n) })
	}, nil
}

// within says whether a group is the wanted one, or one of its kind.
func within(name, wanted string) bool {
	return name == wanted || strings.HasPrefix(name, wanted+"-")
}

func measureAll(p place, only string, rounds int) (*Report, error) {
	wanted, err := selection(only)
	if err != nil {
		return nil, err
	}
	defer p.clear()
	r := &Report{Machine: machine(p), Peers: peers()}
	for _, g := range groups {
		if !wanted(g.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, "bench:", g.name)
		group, err := g.measure(p, rounds)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", g.name, err)
		}
		r.Groups = append(r.Groups, group)
	}
	if wanted(initsName) {
		r.Inits, err = inits(p)
	}
	return r, err
}
