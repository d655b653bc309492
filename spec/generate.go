package spec

import (
	"cmp"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Generate computes config.json and the files that belong to it from an
// image's configuration and the user's flags. It changes nothing: it reads
// the host and the root through Input.Host and Input.Root only. The
// specification is valid for any runtime of runtime-spec 1.0 or later; what
// only the engine can do is in Result.
//
// The errors are *OptionError where a flag is refused; they may carry a hint.
func Generate(in Input) (Result, error) {
	g := newGenerator(&in)
	steps := []func() error{
		g.securityOptions, // mounts depend on them too
		g.modes,           // namespaces first: nearly everything depends on them
		g.userIDs,         // needs the root's passwd and group
		g.volumes,         // before passwd: a home that is mounted counts
		g.etcPasswd,
		g.etcFiles,
		g.capabilities,

		g.systemd, // before the mounts that are everybody's: it changes them
		g.defaultMounts,
		g.devices,
		g.security,
		g.seccomp, // after capabilities: the profile follows them
		g.sysctls,
		g.rlimits,
		g.limits,
		g.command,
		g.environ,
		g.metadata,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return Result{}, err
		}
	}
	g.finishMounts()
	return *g.res, nil
}

// bundleVersion is the oldest version that describes what we write. Newer
// fields (domainname, idmap, rro) are ignored or understood by a runtime of
// its own accord, but crun before 1.9 refuses all that does not say 1.0.
const bundleVersion = "1.0.2"

// generator is what the steps of Generate learn from each other.
type generator struct {
	in   *Input
	opt  *Options
	spec *specs.Spec
	res  *Result

	host environment // the caller's environment

	// The namespaces of its own that the container has.
	ownPID, ownNet, ownIPC, ownUTS, ownCgroup bool
	noShm                                     bool // --ipc none
	hostPID, hostNet, hostIPC                 bool // the host's, and not another container's

	hostname      string
	passwd, group []byte // the root's files; nil when missing
	user          execUser
	bounding      []string // capabilities, sorted by number
	profile       securityOpt

	mounts map[string]placed // by destination
	order  int
}

func newGenerator(in *Input) *generator {
	g := &generator{in: in, opt: &in.Options, mounts: make(map[string]placed)}
	g.host.setAll(in.Host.Getenv())
	if in.Arch == "" {
		in.Arch = runtime.GOARCH
	}
	g.spec = &specs.Spec{
		Version: bundleVersion,
		Process: &specs.Process{
			Terminal:     in.Options.TTY,
			Capabilities: &specs.LinuxCapabilities{},
		},
		Root: &specs.Root{Path: in.RootDir, Readonly: in.Options.ReadOnly},
		Linux: &specs.Linux{
			UIDMappings: in.UIDMap,
			GIDMappings: in.GIDMap,
		},
	}
	g.res = &Result{Spec: g.spec, Files: make(map[string][]byte)}
	return g
}

// Where a mount comes from decides who wins a destination: what the user
// typed, then what other flags imply, then what every container has.
type origin int

const (
	fromDefault origin = iota
	fromImplied
	fromOthers // another container: --volumes-from
	fromUser
)

// placed is a mount with where it came from.
type placed struct {
	specs.Mount
	from origin
	flag string // "--volume", for messages
	n    int    // order of arrival
	use  *Mounted
}

// place puts a mount at its destination unless a stronger one is there. Two
// by the user at one destination are an error, as in podman.
func (g *generator) place(m specs.Mount, from origin, flag, value string) error {
	m.Destination = path.Clean(m.Destination)
	old, taken := g.mounts[m.Destination]
	if taken && from == fromUser && old.from == fromUser {
		return refuse(flag, value, "%s is already the destination of a %s", m.Destination, old.flag)
	}
	if taken && old.from >= from {
		return nil
	}
	g.order++
	g.mounts[m.Destination] = placed{m, from, flag, g.order, nil}
	return nil
}

// placeUse is place for what the container's record shows, if it is not
// overruled.
func (g *generator) placeUse(m specs.Mount, use Mounted, from origin, flag, value string) error {
	before := g.order
	if err := g.place(m, from, flag, value); err != nil || g.order == before {
		return err
	}
	use.Destination = path.Clean(m.Destination)
	p := g.mounts[use.Destination]
	p.use = &use
	g.mounts[use.Destination] = p
	return nil
}

// placeDefault puts one of every container's mounts.
func (g *generator) placeDefault(destination, kind, source string, options ...string) {
	_ = g.place(specs.Mount{Destination: destination, Type: kind, Source: source, Options: options}, fromDefault, "", "")
}

// userMounted says whether the user's own mount is exactly there.
func (g *generator) userMounted(destination string) bool {
	m, ok := g.mounts[destination]
	return ok && m.from >= fromOthers
}

// finishMounts orders the mounts: shallow before deep, so that none hides
// another; else as they came.
func (g *generator) finishMounts() {
	ownDev := g.userMounted("/dev")
	all := make([]placed, 0, len(g.mounts))
	for _, m := range g.mounts {
		// A /dev of the user's is taken whole, as in podman.
		if ownDev && m.from == fromDefault && strings.HasPrefix(m.Destination, "/dev/") {
			continue
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b placed) int {
		return cmp.Or(
			cmp.Compare(strings.Count(a.Destination, "/"), strings.Count(b.Destination, "/")),
			// The user's come after ours: a link of the image's must not put them
			// below a /proc that is yet to come.
			cmp.Compare(a.from, b.from),
			cmp.Compare(a.n, b.n))
	})
	for _, m := range all {
		g.spec.Mounts = append(g.spec.Mounts, m.Mount)
		if m.use != nil {
			g.res.Mounted = append(g.res.Mounted, *m.use)
		}
	}
}

// hostPath makes a path that was typed absolute.
func (g *generator) hostPath(p string) (string, error) {
	if path.IsAbs(p) {
		return path.Clean(p), nil
	}
	wd, err := g.in.Host.Getwd()
	if err != nil {
		return "", err
	}
	return path.Join(wd, p), nil
}

// readHost reads a file that was typed.
func (g *generator) readHost(p string) ([]byte, error) {
	p, err := g.hostPath(p)
	if err != nil {
		return nil, err
	}
	return g.in.Host.ReadFile(p)
}

// mapped says whether the container's user namespace has an id.
func mapped(m []specs.LinuxIDMapping, id uint32) bool {
	if len(m) == 0 {
		return true
	}
	return slices.ContainsFunc(m, func(r specs.LinuxIDMapping) bool {
		return id >= r.ContainerID && id-r.ContainerID < r.Size
	})
}
