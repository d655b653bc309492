package spec

import (
	"coracle/spec/seccomp"

	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// Features is what this runtime knows (runtime-spec v1.3.0 features.md), from
// the tables by which it works: what the kernel and the caller can have of it is
// another matter. The annotations are the caller's.
func Features(annotations map[string]string) *features.Features {
	known := seccomp.Names()
	yes, no := true, false
	f := &features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specVersion,
		MountOptions:  mountOptionNames(),
		Linux: &features.Linux{
			Namespaces:   texts(namespaceTypes()),
			Capabilities: capabilityNames(),
			// The unified hierarchy alone, by its files or as scopes of systemd.
			Cgroup: &features.Cgroup{V1: &no, V2: &yes, Systemd: &yes, SystemdUser: &yes, Rdma: &yes},
			Seccomp: &features.Seccomp{
				Enabled: &yes, Actions: known.Actions, Operators: known.Operators, Archs: known.Archs,
				KnownFlags: known.Flags, SupportedFlags: known.SupportedFlags,
			},
			Apparmor:        &features.Apparmor{Enabled: &yes},
			Selinux:         &features.Selinux{Enabled: &yes},
			IntelRdt:        &features.IntelRdt{Enabled: &no, Schemata: &no, Monitoring: &no},
			MemoryPolicy:    &features.MemoryPolicy{Modes: texts(memoryPolicyModes()), Flags: texts(memoryPolicyFlags())},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &yes}},
			NetDevices:      &features.NetDevices{Enabled: &yes},
		},
		Annotations:                        annotations,
		PotentiallyUnsafeConfigAnnotations: annotationNames(),
	}
	for _, p := range hookPoints(nil) {
		f.Hooks = append(f.Hooks, p.name)
	}
	return f
}

// annotationNames are those that change what a container may do.
func annotationNames() []string { return []string{KeepGroupsAnnotation, criuConfigAnnotation} }

func texts[T ~string](list []T) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		out = append(out, string(s))
	}
	return out
}
