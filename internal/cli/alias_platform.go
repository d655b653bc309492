package cli

import (
	"slices"
	"strings"
)

// podman says --arch, --os and --variant for what --platform says in one word.

func isPlatformPart(name string) bool { return name == "arch" || name == "os" || name == "variant" }

// takesPlatformParts says whether the command has a platform, and none of the
// parts as a flag of its own.
func (p *parser) takesPlatformParts() bool {
	return slices.ContainsFunc(p.fields, func(f field) bool { return f.name == "platform" })
}

// joinPlatform puts the parts together: --arch arm64 is --platform linux/arm64.
func joinPlatform(flags []string) ([]string, error) {
	parts := map[string]string{}
	whole := false
	rest := slices.DeleteFunc(flags, func(word string) bool {
		name, value, _ := strings.Cut(word[2:], "=")
		whole = whole || name == "platform"
		if isPlatformPart(name) {
			parts[name] = value
		}
		return isPlatformPart(name)
	})
	if len(parts) == 0 {
		return rest, nil
	}
	if whole {
		return nil, &usageError{msg: "--platform stands beside --arch, --os or --variant", hint: "--platform OS/ARCH[/VARIANT] says it all"}
	}
	if parts["os"] == "" {
		parts["os"] = "linux"
	}
	if parts["arch"] == "" {
		return nil, &usageError{msg: "--os and --variant need --arch beside them", hint: "--platform OS/ARCH[/VARIANT]"}
	}
	platform := parts["os"] + "/" + parts["arch"]
	if parts["variant"] != "" {
		platform += "/" + parts["variant"]
	}
	return append(rest, "--platform="+platform), nil
}
