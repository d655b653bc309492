package spec

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"coracle/internal/plainjson"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// HostFacts is what a configuration may ask of the place where it is to run.
type HostFacts struct {
	// Root: the caller has CAP_SYS_ADMIN in the initial user namespace.
	Root bool
	// UserNamespace: a container whose configuration names no user namespace
	// has one nevertheless, which is not the initial one: the caller lives in it,
	// or gets it added.
	UserNamespace bool
	// The map of the user namespace where the configuration makes none: the
	// caller's own, one that is joined by path, or one that gets added. Empty:
	// every id.
	UIDMap, GIDMap []specs.LinuxIDMapping
	// HostNamespaces are those that the configuration joins by a path which is
	// the caller's own namespace.
	HostNamespaces []specs.LinuxNamespaceType

	AppArmor, SELinux bool // the security modules, enabled
	TimeNamespaces    bool // Linux 5.6
	IDMappedMounts    bool // Linux 5.12, and files of this user namespace
	LastCapability    int  // the kernel's last (capabilities(7)); 0: all that we know

	// Bounding and Permitted are the caller's own sets, which bound a container
	// without a user namespace; Permitted 0: all.
	Bounding, Permitted uint64

	// OOMScoreAdj is the caller's own; without CAP_SYS_RESOURCE nobody gets below.
	OOMScoreAdj int
}

// Limits of what is worked at. A Linux mount namespace has 100,000 mounts at
// most (fs.mount-max), a Kubernetes pod some dozens, and each mount here is a dozen
// system calls before the first instruction of the payload.
const (
	maxMounts = 4096
	maxPaths  = 4096 // masked, read-only, devices
	maxHooks  = 1024 // of one point
)

// validator holds what the rules for one configuration share.
type validator struct {
	s        *specs.Spec
	h        *HostFacts
	warnings []string
	update   bool // what is there counts along
}

// Validate says whether a configuration can be carried out here, whole: each
// property of runtime-spec v1.3.0 for Linux is known to what follows, or it is
// refused by name, with the reason, as a *ConfigError (of linux.seccomp:
// *seccomp.FieldError). Warnings are what the specification lets go on: they are
// to be logged. It touches nothing, and it is quick with any input.
func Validate(s *specs.Spec, h HostFacts) (warnings []string, err error) {
	v := &validator{s: s, h: &h}
	if err := v.version(); err != nil {
		return nil, err
	}
	if s.Linux == nil {
		return nil, wrong("linux", "missing: without a mount namespace of its own the container would mount on the host")
	}
	for _, step := range []func() error{
		v.platforms, v.root, v.namespaces, v.names, v.mounts,
		func() error { return v.process("process", s.Process) },
		v.linux,
		func() error { return v.resources("linux.resources", s.Linux.Resources) },
		v.hooks, v.annotations,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return v.warnings, nil
}

// ValidateProcess is Validate for another process in a container (exec).
// Paths in errors begin with process.
func ValidateProcess(p *specs.Process, s *specs.Spec, h HostFacts) (warnings []string, err error) {
	v := &validator{s: s, h: &h}
	err = v.process("process", p)
	return v.warnings, err
}

// ValidateResources is Validate for new limits (update). Paths in errors begin
// with the name of the property, memory.limit.
func ValidateResources(r *specs.LinuxResources) (warnings []string, err error) {
	v := &validator{s: &specs.Spec{Linux: &specs.Linux{}}, h: &HostFacts{}, update: true}
	err = v.resources("", r)
	return v.warnings, err
}

func wrong(path, format string, args ...any) error {
	return &ConfigError{Path: path, Msg: fmt.Sprintf(format, args...)}
}

func (v *validator) warn(path, format string, args ...any) {
	v.warnings = append(v.warnings, path+": "+fmt.Sprintf(format, args...))
}

// at is the path of an entry of a list.
func at(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// under is the path of a property of an object.
func under(object, property string) string {
	if object == "" {
		return property
	}
	return object + "." + property
}

const noNUL = "has a NUL character, where the kernel would cut it off"

func noNul(field, s string) error {
	if strings.IndexByte(s, 0) >= 0 {
		return wrong(field, "%s %s", plainjson.Quote(s), noNUL)
	}
	return nil
}

func noNulIn(list string, words []string) error {
	for i, w := range words {
		if strings.IndexByte(w, 0) >= 0 {
			return noNul(at(list, i), w)
		}
	}
	return nil
}

// absolute wants an absolute path.
func absolute(field, p string) error {
	switch {
	case p == "":
		return wrong(field, "missing")
	case !path.IsAbs(p):
		return wrong(field, "%s is not an absolute path", plainjson.Quote(p))
	}
	return noNul(field, p)
}

// notOver bounds a list.
func notOver(field string, n, most int) error {
	if n > most {
		return wrong(field, "%d entries, and more than %d are not worked at", n, most)
	}
	return nil
}

// namespace returns the configuration's entry of a type.
func (v *validator) namespace(t specs.LinuxNamespaceType) (specs.LinuxNamespace, bool) {
	for _, ns := range v.s.Linux.Namespaces {
		if ns.Type == t {
			return ns, true
		}
	}
	return specs.LinuxNamespace{}, false
}

// own says that the container does not share the caller's namespace of a type.
func (v *validator) own(t specs.LinuxNamespaceType) bool {
	ns, ok := v.namespace(t)
	return ok && (ns.Path == "" || !slices.Contains(v.h.HostNamespaces, t))
}

// inUserNamespace says that the kernel will not take the container's root for
// the machine's.
func (v *validator) inUserNamespace() bool {
	return v.h.UserNamespace || v.own(specs.UserNamespace)
}

// version takes every 1.x: within a major version what is newer is more
// properties, and those that are unknown are to be ignored.
func (v *validator) version() error {
	const supported = "supported are 1.0.0 to " + specVersion
	if v.s.Version == "" {
		return wrong("ociVersion", "missing; %s", supported)
	}
	major, minor, ok := parseSemVer(v.s.Version)
	if !ok {
		return wrong("ociVersion", "%s is not a version (SemVer 2.0.0: MAJOR.MINOR.PATCH); %s", plainjson.Quote(v.s.Version), supported)
	}
	if major != "1" {
		return wrong("ociVersion", "%s is another specification; %s", plainjson.Quote(v.s.Version), supported)
	}
	if len(minor) > 1 || minor > "3" {
		v.warn("ociVersion", "%s is newer than %s: what it added is ignored", plainjson.Quote(v.s.Version), specVersion)
	}
	return nil
}

// specVersion is the newest version of the specification that is carried out.
const specVersion = "1.3.0"

// parseSemVer checks a version by the grammar of semver.org 2.0.0.
func parseSemVer(s string) (major, minor string, ok bool) {
	s, build, hasBuild := strings.Cut(s, "+")
	s, pre, hasPre := strings.Cut(s, "-")
	parts := strings.Split(s, ".")
	if len(parts) != 3 || hasBuild && !semVerWords(build, false) || hasPre && !semVerWords(pre, true) {
		return "", "", false
	}
	for _, p := range parts {
		if !decimal(p) || len(p) > 1 && p[0] == '0' {
			return "", "", false
		}
	}
	return parts[0], parts[1], true
}

func semVerWords(s string, strict bool) bool {
	for w := range strings.SplitSeq(s, ".") {
		if w == "" || strict && decimal(w) && len(w) > 1 && w[0] == '0' {
			return false
		}
		for _, c := range []byte(w) {
			if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-') {
				return false
			}
		}
	}
	return true
}

func decimal(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// platforms are the sections of other systems. One file may serve several, so
// theirs are none of ours; a virtual machine is asked of us too.
func (v *validator) platforms() error {
	if v.s.VM != nil {
		return wrong("vm", "this runtime starts no virtual machines")
	}
	for name, there := range map[string]bool{
		"solaris": v.s.Solaris != nil, "windows": v.s.Windows != nil,
		"zos": v.s.ZOS != nil, "freebsd": v.s.FreeBSD != nil,
	} {
		if there {
			v.warn(name, "ignored: this is Linux")
		}
	}
	return nil
}

func (v *validator) root() error {
	if v.s.Root == nil {
		return wrong("root", "missing")
	}
	if v.s.Root.Path == "" {
		return wrong("root.path", "missing")
	}
	return noNul("root.path", v.s.Root.Path)
}

// names are what uname(2) tells.
func (v *validator) names() error {
	for _, n := range []struct{ field, value string }{{"hostname", v.s.Hostname}, {"domainname", v.s.Domainname}} {
		if n.value == "" {
			continue
		}
		if !v.own(specs.UTSNamespace) {
			return wrong(n.field, "it would rename the host: the container has no UTS namespace of its own in linux.namespaces")
		}
		if len(n.value) > 64 {
			return wrong(n.field, "%s has %d bytes, and the kernel takes 64", plainjson.Quote(n.value), len(n.value))
		}
		if err := noNul(n.field, n.value); err != nil {
			return err
		}
	}
	return nil
}

func (v *validator) annotations() error {
	if _, empty := v.s.Annotations[""]; empty {
		return wrong("annotations", "a key is empty")
	}
	return nil
}

func (v *validator) hooks() error {
	if v.s.Hooks == nil {
		return nil
	}
	for _, point := range hookPoints(v.s.Hooks) {
		list := "hooks." + point.name
		if err := notOver(list, len(point.hooks), maxHooks); err != nil {
			return err
		}
		for i, h := range point.hooks {
			if err := absolute(at(list, i)+".path", h.Path); err != nil {
				return err
			}
			if h.Timeout != nil && *h.Timeout <= 0 {
				return wrong(at(list, i)+".timeout", "%d seconds; it must be more than 0", *h.Timeout)
			}
			if err := noNulIn(at(list, i)+".args", h.Args); err != nil {
				return err
			}
			if err := noNulIn(at(list, i)+".env", h.Env); err != nil {
				return err
			}
		}
	}
	return nil
}

// hookPoint is one moment of a container's life and what is called there.
type hookPoint struct {
	name  string
	hooks []specs.Hook
}

// hookPoints lists all six, in the order of a container's life; nil asks for
// their names.
func hookPoints(h *specs.Hooks) []hookPoint {
	if h == nil {
		h = &specs.Hooks{}
	}
	return []hookPoint{
		{"prestart", h.Prestart}, //nolint:staticcheck // deprecated, and podman's hooks still use it
		{"createRuntime", h.CreateRuntime},
		{"createContainer", h.CreateContainer},
		{"startContainer", h.StartContainer},
		{"poststart", h.Poststart},
		{"poststop", h.Poststop},
	}
}
