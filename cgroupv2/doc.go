// Package cgroupv2 is how much a container may use: it finds the place in the
// cgroup v2 tree where the caller may make a cgroup, writes the limits of
// runtime-spec's linux.resources there, and freezes, counts, signals, kills
// and removes what runs in it.
//
// Version 1 hierarchies are never touched. What was asked for is enforced or
// refused by the name of its field; only a request without limits, without a
// path and without a place to make a cgroup in gives an empty Cgroup.
//
// Sources: the kernel's Documentation/admin-guide/cgroup-v2.rst, cgroups(7),
// runtime-spec v1.3.0 config-linux.md#control-groups.
package cgroupv2
