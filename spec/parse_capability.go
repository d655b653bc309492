package spec

import (
	"slices"
	"strings"
)

// capabilityNames are all capabilities that we know, by number.
func capabilityNames() []string {
	names := make([]string, 0, 41)
	for name := range strings.FieldsSeq(capNames) {
		names = append(names, "CAP_"+name)
	}
	return names
}

// defaultCapabilities is docker's list (moby, daemon/pkg/oci/caps/defaults.go).
func defaultCapabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
	}
}

// capabilitySet is what --cap-add or --cap-drop say together.
type capabilitySet struct {
	all   bool
	names []string
}

// parseCapabilities reads names with or without CAP_, in any case, several
// separated by commas, or ALL. known are those that the kernel has.
func parseCapabilities(flag string, words, known []string) (set capabilitySet, err error) {
	for _, value := range words {
		for word := range strings.SplitSeq(value, ",") {
			name := strings.ToUpper(strings.TrimSpace(word))
			if name == "ALL" {
				set.all = true
				continue
			}
			if !strings.HasPrefix(name, "CAP_") {
				name = "CAP_" + name
			}
			if !slices.Contains(known, name) {
				return set, unknownCapability(flag, value, name, known)
			}
			if !slices.Contains(set.names, name) {
				set.names = append(set.names, name)
			}
		}
	}
	return set, nil
}

func unknownCapability(flag, value, name string, known []string) error {
	if slices.Contains(capabilityNames(), name) {
		return refuse(flag, value, "this kernel does not have %s", name)
	}
	e := refuse(flag, value, "unknown capability")
	if near := closest(name, known); near != "" {
		return e.hint("did you mean %s?", near)
	}
	return e.hint("man 7 capabilities lists them; ALL stands for all")
}

// mergeCapabilities applies drop and add to a base, by podman's rules: ALL in
// one of them replaces the base, and nothing can be in both.
func mergeCapabilities(base []string, add, drop capabilitySet, known []string) ([]string, error) {
	if add.all && drop.all {
		return nil, refuse("--cap-add", "ALL", "--cap-drop says ALL as well")
	}
	for _, name := range add.names {
		if slices.Contains(drop.names, name) {
			return nil, refuse("--cap-add", name, "--cap-drop names it as well")
		}
	}
	has := func(name string) bool {
		switch {
		case slices.Contains(add.names, name):
			return true
		case slices.Contains(drop.names, name):
			return false
		case drop.all:
			return false
		default:
			return add.all || slices.Contains(base, name)
		}
	}
	var result []string
	for _, name := range known {
		if has(name) {
			result = append(result, name)
		}
	}
	return result, nil
}
