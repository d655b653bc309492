package seccomp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// kernelVersion is the part of a kernel's release that profiles ask for.
type kernelVersion struct{ major, minor uint64 }

func (k kernelVersion) atLeast(o kernelVersion) bool {
	return k.major > o.major || k.major == o.major && k.minor >= o.minor
}

// parseRelease reads "6.1.0-18-amd64", "5.10-rc3", "3.12".
func parseRelease(release string) (kernelVersion, error) {
	major, rest, ok := strings.Cut(release, ".")
	if end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		rest = rest[:end]
	}
	x, err := strconv.ParseUint(major, 10, 16)
	y, err2 := strconv.ParseUint(rest, 10, 16)
	if !ok || err != nil || err2 != nil {
		return kernelVersion{}, fmt.Errorf("read the version in kernel release %q", release)
	}
	return kernelVersion{x, y}, nil
}

func hostKernel() (kernelVersion, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return kernelVersion{}, fmt.Errorf("uname: %w", err)
	}
	return parseRelease(unix.ByteSliceToString(uts.Release[:]))
}

// target is what a profile's conditions ask about.
type target struct {
	caps   []string // the bounding set, "CAP_SYS_ADMIN" and so on
	goarch string
	kernel kernelVersion
}

func newTarget(caps []string, goarch string) (target, error) {
	if abisOf(goarch) == nil {
		return target{}, fmt.Errorf("%w: %q (amd64 and arm64 have it)", ErrArch, goarch)
	}
	kernel, err := hostKernel()
	return target{caps, goarch, kernel}, err
}

// condition is an includes or excludes of docker's format.
type condition struct {
	caps      []string
	arches    []string // docker's names: amd64, x86, arm64, …
	minKernel kernelVersion
}

// included says whether all parts of an includes hold.
func (t target) included(c condition) bool {
	if len(c.arches) > 0 && !slices.Contains(c.arches, t.goarch) {
		return false
	}
	for _, name := range c.caps {
		if !slices.Contains(t.caps, name) {
			return false
		}
	}
	return t.kernel.atLeast(c.minKernel)
}

// excluded says whether any part of an excludes holds.
func (t target) excluded(c condition) bool {
	if slices.Contains(c.arches, t.goarch) {
		return true
	}
	if slices.ContainsFunc(c.caps, func(name string) bool { return slices.Contains(t.caps, name) }) {
		return true
	}
	return c.minKernel != kernelVersion{} && t.kernel.atLeast(c.minKernel)
}

// nativeArch is the runtime-spec's name of a machine.
func (t target) nativeArch() specs.Arch { return abisOf(t.goarch)[0].name }

// Default is docker's default profile (github.com/moby/profiles/seccomp),
// with one rule made tight (see socketAbove), resolved for a container whose capability bounding set is caps ("CAP_CHOWN"
// …), for a machine (GOARCH) and for the running kernel.
func Default(caps []string, goarch string) (*specs.LinuxSeccomp, error) {
	t, err := newTarget(caps, goarch)
	if err != nil {
		return nil, err
	}
	return t.defaultProfile(), nil
}

func (t target) defaultProfile() *specs.LinuxSeccomp {
	src := moby.DefaultProfile()
	out := &src.LinuxSeccomp
	for _, a := range src.ArchMap {
		if a.Arch == t.nativeArch() {
			out.Architectures = append([]specs.Arch{a.Arch}, a.SubArches...)
		}
	}
	out.Syscalls = make([]specs.LinuxSyscall, 0, len(src.Syscalls))
	for _, sc := range src.Syscalls {
		if sc.Excludes != nil && t.excluded(fromMoby(sc.Excludes)) ||
			sc.Includes != nil && !t.included(fromMoby(sc.Includes)) {
			continue
		}
		if isSocketAbove(sc.LinuxSyscall) {
			out.Syscalls = append(out.Syscalls, socketAbove()...)
			continue
		}
		out.Syscalls = append(out.Syscalls, sc.LinuxSyscall)
	}
	return out
}

// isSocketAbove recognises docker's rule "socket, family > AF_VSOCK".
func isSocketAbove(sc specs.LinuxSyscall) bool {
	return len(sc.Names) == 1 && sc.Names[0] == "socket" && len(sc.Args) == 1 &&
		sc.Args[0] == specs.LinuxSeccompArg{Value: unix.AF_VSOCK, Op: specs.OpGreaterThan}
}

// socketAbove is what this profile has instead of that rule. A filter compares
// all 64 bits and socket(2) takes an int, so docker's rule lets 2^32 + AF_VSOCK
// and 2^32 + AF_ALG through, the two families that it is there to refuse. These
// allow the families from 41 to 47 (Linux 6.18 ends at 45) and nothing else.
// On amd64 the way through i386's socketcall stays open, as docker says.
func socketAbove() []specs.LinuxSyscall {
	var out []specs.LinuxSyscall
	for family := uint64(unix.AF_VSOCK + 1); family < 48; family++ {
		out = append(out, specs.LinuxSyscall{
			Names: []string{"socket"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Value: family, Op: specs.OpEqualTo}},
		})
	}
	return out
}

func fromMoby(f *moby.Filter) condition {
	c := condition{caps: f.Caps, arches: f.Arches}
	if f.MinKernel != nil {
		c.minKernel = kernelVersion{f.MinKernel.Kernel, f.MinKernel.Major}
	}
	return c
}
