package cli

import (
	"slices"
	"strings"
)

// refusal is the answer to a flag of docker or podman that coracle knows by
// name but does not take: a silent no-op would be a lie.
type refusal struct {
	flags  string // names and short letters, separated by spaces
	never  bool   // not a matter of time
	reason string
	hint   string
}

func (r refusal) err(flag string) error {
	msg := flag + " is not supported yet: " + r.reason
	if r.never {
		msg = flag + " is refused: " + r.reason
	}
	return &usageError{msg: msg, hint: r.hint}
}

func findRefusal(list []refusal, name string) (refusal, bool) {
	for _, r := range list {
		if slices.Contains(strings.Fields(r.flags), name) {
			return r, true
		}
	}
	return refusal{}, false
}

// runRefusals are the flags of `docker run` and `podman run` that are not
// flags of runCmd.
func runRefusals() []refusal {
	return slices.Concat(refusedForLater(), refusedForEver())
}

func refusedForLater() []refusal {
	return []refusal{
		{
			flags:  "a attach",
			reason: "all streams are attached, or with --detach none",
			hint:   "leave it out; redirect what you do not want: 2>/dev/null",
		},
		{
			flags:  "sdnotify conmon-pidfile passwd-fd",
			reason: "no part of this version",
		},
		{
			flags: `health-startup-cmd health-startup-interval health-startup-retries health-startup-success
				health-startup-timeout`,
			reason: "there is one health check, from the start on",
			hint:   "--health-start-period is the time in which its failures do not count",
		},
		{
			flags:  "health-log-destination health-max-log-count health-max-log-size",
			reason: "the last five results are kept, with 500 bytes of output each",
			hint:   "coracle inspect shows them",
		},
		{
			flags:  "landlock",
			reason: "Landlock rules are not applied",
			hint:   "--read-only and read-only volumes keep files as they are",
		},
		{
			flags:  "gpus",
			reason: "device sets (CDI) are not read",
			hint:   "name the device nodes with --device",
		},
		{flags: "pod pod-id-file infra-command", reason: "there are no pods"},
		{
			flags:  "authfile creds cert-dir decryption-key retry retry-delay",
			reason: "it concerns pulling from a registry",
			hint:   `pull first; credentials are read from docker's and podman's own files`,
		},
		{
			flags: `chrootdirs domainname env-merge group-entry-add personality preserve-fd rmi requires
				shm-size-systemd userns-remap volume-driver mount-label hosts-file`,
			reason: "no part of this version",
		},
		{
			flags:  "seccomp-policy",
			reason: "profiles inside images are not read",
			hint:   "--security-opt seccomp=FILE",
		},
	}
}

func refusedForEver() []refusal {
	return []refusal{
		{
			flags: "device-cgroup-rule", never: true,
			reason: "device rules are made by root only, and a user namespace can open no device that its caller cannot",
			hint:   "--device PATH gives a device that you may open yourself",
		},
		{
			flags: "oom-kill-disable", never: true,
			reason: "only cgroup v1 has it, and a container over its limit would hang instead of ending",
			hint:   "--oom-score-adj makes the kernel choose another process first",
		},
		{
			flags: "memory-swappiness", never: true,
			reason: "cgroup v2 has none for a cgroup: vm.swappiness is the machine's",
			hint:   "--memory-swap limits swap; the same as --memory is none",
		},
		{
			flags: "link link-local-ip", never: true,
			reason: "docker itself calls it legacy, and no rootless network has it",
			hint:   "--add-host NAME:ADDRESS names another machine",
		},
		{
			flags: "cpu-rt-period cpu-rt-runtime kernel-memory", never: true,
			reason: "only cgroup v1 has it, and it needs root",
		},
		{
			flags: "cpu-count cpu-percent io-maxbandwidth io-maxiops isolation", never: true,
			reason: "it is for Windows",
		},
		{
			flags: "runtime rdt-class disable-content-trust storage-opt use-api-socket tls sig-verify signature-policy", never: true,
			reason: "coracle is its own runtime and has no daemon",
			hint:   "leave it out",
		},
	}
}

// refuseNetwork answers the network modes that are not there. A word without a colon
// may be the name of a network.
func refuseNetwork(mode string) error {
	kind, rest, more := strings.Cut(mode, ":")
	if kind == "container" && more && rest == "" {
		return &usageError{msg: "--network container: has no container's name behind it", hint: "as in --network container:web"}
	}
	kinds := []string{"container", "builtin", "slirp4netns", "pasta", "ns"}
	if !more || slices.Contains(kinds, kind) {
		return nil
	}
	if near := nearest(kind, kinds); near != "" {
		return &usageError{msg: "--network " + mode + ": there is no such mode", hint: "did you mean --network " + near + ":" + rest + "?"}
	}
	return &usageError{
		msg:  "--network " + mode + ": there is no such mode",
		hint: "there are private, builtin[:OPTIONS], slirp4netns, pasta, none, host, container:NAME, ns:PATH and names of networks",
	}
}
