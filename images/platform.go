package images

import (
	"cmp"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ParsePlatform reads os/arch[/variant], or arch alone, with uname's names
// (x86_64, aarch64, …) as docker accepts them. "" gives the zero platform.
func ParsePlatform(s string) (ocispec.Platform, error) {
	if s == "" {
		return ocispec.Platform{}, nil
	}
	parts := strings.Split(strings.ToLower(s), "/")
	p := ocispec.Platform{OS: "linux"}
	if len(parts) == 1 && (parts[0] == "linux" || parts[0] == "windows") {
		p.OS, p.Architecture = parts[0], defaultPlatform().Architecture
		return p, nil
	}
	if len(parts) > 1 {
		p.OS, parts = parts[0], parts[1:]
	}
	if len(parts) > 2 || slices.Contains(parts, "") || p.OS == "" {
		return p, fail(ErrPlatform, "invalid platform %s", quote(s)).hint("give os/architecture[/variant], for example linux/arm64")
	}
	p.Architecture = parts[0]
	if len(parts) == 2 {
		p.Variant = parts[1]
	}
	return normalPlatform(p), nil
}

// normalPlatform spells alike what means the same (containerd/platforms).
func normalPlatform(p ocispec.Platform) ocispec.Platform {
	p.OS = cmp.Or(strings.ToLower(p.OS), "linux")
	p.Architecture, p.Variant = strings.ToLower(p.Architecture), strings.ToLower(p.Variant)
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "i386", "i486", "i586", "i686":
		p.Architecture = "386"
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	}
	switch {
	case p.Architecture == "amd64" && p.Variant == "v1", p.Architecture == "arm64" && (p.Variant == "8" || p.Variant == "v8"):
		p.Variant = ""
	case p.Architecture == "arm" && len(p.Variant) == 1:
		p.Variant = "v" + p.Variant
	}
	return p
}

func formatPlatform(p ocispec.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// fit says how well have serves want: 0 not at all, more is better.
func fit(want, have ocispec.Platform) int {
	want, have = normalPlatform(want), normalPlatform(have)
	if want.OS != have.OS || want.Architecture != have.Architecture {
		return 0
	}
	switch {
	case want.Variant == have.Variant:
		return 100
	case have.Variant == "":
		return 50 // made for every variant
	case want.Variant == "" && want.Architecture != "arm":
		return 0 // amd64/v3 may need instructions that this machine lacks
	case want.Variant == "":
		return 1 + 10 - variantNumber(have.Variant)
	case variantNumber(have.Variant) <= variantNumber(want.Variant):
		return 1 + variantNumber(have.Variant)
	}
	return 0
}

func variantNumber(v string) int {
	if len(v) == 2 && v[0] == 'v' && v[1] >= '0' && v[1] <= '9' {
		return int(v[1] - '0')
	}
	return 9
}

// choosePlatform takes the best image of an index; its error lists what there is.
func choosePlatform(list []ocispec.Descriptor, want ocispec.Platform) (ocispec.Descriptor, error) {
	best, score := -1, 0
	var there []string
	for i, d := range list {
		f := 25 // no platform is said: the image's configuration will tell
		if d.Platform != nil {
			if d.Platform.OS == "unknown" {
				continue // buildkit's attestations
			}
			f = fit(want, *d.Platform)
			there = append(there, formatPlatform(*d.Platform))
		} else if len(list) > 1 && d.MediaType != ocispec.MediaTypeImageIndex && d.MediaType != dockerIndex {
			f = 10
		}
		if f > score {
			best, score = i, f
		}
	}
	if best < 0 {
		return ocispec.Descriptor{}, otherPlatform(want, there)
	}
	return list[best], nil
}

func otherPlatform(want ocispec.Platform, there []string) error {
	slices.Sort(there)
	there = slices.Compact(there)
	e := fail(ErrPlatform, "there is no image for %s", formatPlatform(want))
	if len(there) == 0 {
		return e
	}
	shown := there[:min(len(there), 20)]
	e.Text += ", only for " + strings.Trim(quote(strings.Join(shown, ", ")), `"`)
	return e.hint("choose one with --platform, where this machine can run it (qemu-user and binfmt_misc)")
}
