package cli

import (
	"fmt"
	"slices"
	"strings"
)

// Words of docker and podman. Their long forms (container run, image rm) are
// understood under every name of this program; their global flags, and the
// documents that their --format templates expect, where a link is called so.

// longForms gives each command its long form: container NAME for what acts on
// containers, image NAME for images. A command of two words has none.
func longForms(all []entry) map[string]string {
	out := map[string]string{}
	for _, e := range all {
		family := map[string]string{"Containers": "container", "Images": "image"}[e.group]
		switch {
		case family == "" || strings.Contains(e.name, " "), e.name == "images", e.name == "rmi", e.name == "login", e.name == "logout":
		case e.name == "inspect":
			out["container inspect"], out["image inspect"] = e.name, e.name
		default:
			out[family+" "+e.name] = e.name
		}
	}
	for long, name := range map[string]string{"image rm": "rmi", "image remove": "rmi", "container remove": "rm", "system info": "info", "system events": "events"} {
		out[long] = name
	}
	return out
}

// aliases are all other words for the commands in all: none hides a command of
// that name.
func aliases(all []entry) map[string]string {
	out := longForms(all)
	for name, command := range verbAliases() {
		out[name] = command
	}
	for _, e := range all {
		delete(out, e.name)
	}
	return out
}

// impliedFlags are what a long form says of its command.
func impliedFlags(verb string) []string {
	switch verb {
	case "container inspect":
		return []string{"--type=container"}
	case "image inspect":
		return []string{"--type=image"}
	}
	return nil
}

// peerCommand is a command of docker or podman that has no counterpart, and never
// or not soon will.
type peerCommand struct{ names, reason, hint string }

func peerCommands() []peerCommand {
	return []peerCommand{
		{"compose", "files of compose are not read", "start each service with \"coracle run\""},
		{"swarm service stack node", "there is no cluster: containers are one user's, on one machine", ""},
		{"context", "there is no daemon to choose: containers run here, as you", "for another machine: ssh HOST coracle"},
		{"machine", "there is no virtual machine: containers run on this kernel", ""},
		{"plugin", "there are no plugins", ""},
		{"trust manifest artifact", "this is work on a registry, not on images that run here", "skopeo and crane do it"},
		{"search", "only docker's own registry can be searched", "https://hub.docker.com"},
		{"pod kube play generate quadlet farm", "there are no pods", "containers can share namespaces, and a unit for systemd is a file of yours"},
		{"builder buildx", "there is no builder", "buildah makes images that \"coracle pull oci:DIR\" reads"},
		{"auto-update", "nothing is started again by itself because a registry has a newer image", "coracle pull, then coracle run --replace"},
		{"daemon dockerd", "there is no daemon, and none is needed", ""},
	}
}

// refusePeer answers a command of docker or podman by name.
func refusePeer(name string) error {
	first, _, _ := strings.Cut(name, " ")
	for _, p := range peerCommands() {
		if slices.Contains(strings.Fields(p.names), first) {
			return &usageError{msg: fmt.Sprintf("the command %q is not supported: %s", first, p.reason), hint: p.hint}
		}
	}
	return nil
}

// linkFlags reads the global flags of docker or podman, which stand before the
// command, and gives the line in our words.
func (a *app) linkFlags(args []string) ([]string, error) {
	var out []string
	for i := 0; i < len(args); i++ {
		word := args[i]
		if len(word) < 2 || word[0] != '-' || word == "--" {
			return append(out, args[i:]...), nil
		}
		name, value, given := strings.Cut(word, "=")
		switch {
		case strings.HasPrefix(name, "--"):
			name = name[2:]
		case len(name) > 2: // -Htcp://…
			name, value, given = word[1:2], strings.TrimPrefix(word[2:], "="), true
		default:
			name = name[1:]
		}
		f, ok := a.linkFlag(name)
		if !ok {
			out = append(out, word)
			if kind := globalKind(name); kind == flagValue && !given && i+1 < len(args) {
				i++
				out = append(out, args[i])
			}
			continue
		}
		if f.refusal.reason != "" {
			return nil, f.refusal.err(flagSpelling(name))
		}
		if f.value && !given {
			if i++; i == len(args) {
				return nil, missingValue(flagSpelling(name))
			}
			value = args[i]
		}
		more, err := a.takeLinkFlag(name, value)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

func flagSpelling(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// linkFlag is a global flag of docker or podman that is not ours.
type linkFlag struct {
	value   bool
	refusal refusal
}

func (a *app) linkFlag(name string) (linkFlag, bool) {
	switch {
	case name == "log-level" || name == "l" && a.name == "docker":
		return linkFlag{value: true}, true
	case name == "D" && a.name == "docker", name == "trace" && a.name == "podman":
		return linkFlag{}, true
	}
	if r, ok := findRefusal(linkRefusals(a.name), name); ok {
		return linkFlag{refusal: r}, true
	}
	return linkFlag{}, false
}

// takeLinkFlag gives our words for the flag.
func (a *app) takeLinkFlag(name, level string) ([]string, error) {
	if name == "D" || name == "trace" {
		return []string{"--debug"}, nil
	}
	switch level {
	case "debug", "trace":
		return []string{"--debug"}, nil
	case "info", "warn", "warning":
		return nil, nil
	case "error", "fatal", "panic":
		a.hushed = true
		return nil, nil
	}
	why, hint := notOneOf(level, []string{"trace", "debug", "info", "warn", "error", "fatal", "panic"})
	return nil, &usageError{msg: "--log-level: " + why, hint: hint}
}

// linkRefusals are the global flags of docker and podman that have no meaning
// without a daemon.
func linkRefusals(name string) []refusal {
	const here = "there is no daemon or service to talk to: containers run here, as you"
	if name == "docker" {
		return []refusal{
			{flags: "c context H host tls tlscacert tlscert tlskey tlsverify", never: true, reason: here, hint: "leave it out; for another machine: ssh HOST docker"},
			{flags: "config", never: true, reason: "docker's own directory is read for credentials only", hint: "DOCKER_CONFIG=DIR names it"},
		}
	}
	return []refusal{
		{flags: "r remote url c connection identity ssh", never: true, reason: here, hint: "leave it out; for another machine: ssh HOST podman"},
		{flags: "config module default-mounts-file", never: true, reason: "podman's configuration is not read", hint: "defaults stand in coracle's own file: see coracle.toml(5)"},
		{
			flags: `runtime runtime-flag conmon events-backend hooks-dir cdi-spec-dir network-cmd-path network-config-dir
				storage-opt imagestore tmpdir volumepath db-backend namespace transient-store max-workers noout out syslog
				cpu-profile memory-profile rdt-class`, never: true,
			reason: "coracle is its own runtime, monitor and store", hint: "leave it out; --root, --runroot and --storage-driver are understood",
		},
	}
}
