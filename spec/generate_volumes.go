package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// volumes takes -v, --mount, --tmpfs, --volumes-from, the image's volumes,
// --secret, and what --read-only implies.
func (g *generator) volumes() error {
	for _, s := range g.opt.Volumes {
		v, err := parseVolume(s)
		switch {
		case err != nil:
		case v.source != "":
			err = g.bind("--volume", s, v.source, v.destination, v.options)
		default:
			err = g.named("--volume", s, v.name, v.destination, v.options)
		}
		if err != nil {
			return refused("--volume", s, err)
		}
	}
	for _, s := range g.opt.Mounts {
		m, err := parseMount(s)
		if err == nil {
			err = g.mount(s, m)
		}
		if err != nil {
			return refused("--mount", s, err)
		}
	}
	for _, s := range g.opt.Tmpfs {
		if err := g.tmpfs(s); err != nil {
			return refused("--tmpfs", s, err)
		}
	}
	for _, s := range g.opt.VolumesFrom {
		if err := g.volumesFrom(s); err != nil {
			return refused("--volumes-from", s, err)
		}
	}
	if err := g.imageVolumes(); err != nil {
		return err
	}
	g.readOnlyTmpfs()
	return g.secrets()
}

// bind mounts a directory or file of the host.
func (g *generator) bind(flag, value, source, destination string, o bindOptions) error {
	source, err := g.hostPath(source)
	if err != nil {
		return err
	}
	info, err := g.in.Host.Stat(source)
	if err != nil {
		return g.noSource(flag, value, source, err)
	}
	if len(o.uids) > 0 {
		// Needs a second user namespace that holds the map.
		return later("idmap with a map of its own is not available yet").hint("idmap alone takes the container's own map")
	}
	if o.copyUp == "copy" {
		return bad("copy fills a named volume from the image; a directory of the host is taken as it is").hint("leave out copy")
	}
	if o.overlay && !info.isDir() {
		return refuse(flag, value, "an overlay needs a directory, and %s is none", source)
	}
	use := Mounted{Type: "bind", Source: source}
	if o.overlay {
		return g.overlay(flag, value, source, destination, o, use)
	}
	m := specs.Mount{Destination: destination, Type: "bind", Source: source, Options: o.mountOptions()}
	if err := g.placeUse(m, use.with(m), fromUser, flag, value); err != nil {
		return err
	}
	g.chown(o.chown, source, destination)
	g.propagate(o.propagation)
	return nil
}

func (g *generator) noSource(flag, value, source string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return refuse(flag, value, "%s does not exist on the host", source).because(quiet{err}).hint("mkdir -p %s", source)
	}
	return refuse(flag, value, "").because(err)
}

func (g *generator) chown(asked bool, source, destination string) {
	if asked {
		g.res.Chowns = append(g.res.Chowns, Chown{Path: source, Destination: destination, UID: g.user.uid, GID: g.user.gid})
	}
}

// propagate makes the root let mounts through, or the mount's own propagation
// would end at it (podman does the same).
func (g *generator) propagate(p string) {
	l := g.spec.Linux
	switch strings.TrimPrefix(p, "r") {
	case "shared":
		l.RootfsPropagation = "shared"
	case "slave":
		if l.RootfsPropagation == "" {
			l.RootfsPropagation = "rslave"
		}
	}
}

// overlay mounts a directory with copy-on-write (-v …:O).
func (g *generator) overlay(flag, value, source, destination string, o bindOptions, use Mounted) error {
	ov := g.newOverlay(source, destination)
	if o.upper != "" {
		var err error
		if ov.Upper, err = g.hostPath(o.upper); err != nil {
			return err
		}
		if ov.Work, err = g.hostPath(o.work); err != nil {
			return err
		}
		for _, dir := range []string{ov.Upper, ov.Work} {
			if _, err := g.in.Host.Stat(dir); err != nil {
				return g.noSource(flag, value, dir, err)
			}
		}
	}
	g.res.Overlays = append(g.res.Overlays, ov)
	options := []string{
		"lowerdir=" + escapeLower(source), "upperdir=" + EscapeUpper(ov.Upper), "workdir=" + EscapeUpper(ov.Work),
		"userxattr", orElse(o.propagation, "rprivate"),
	}
	for _, word := range []string{o.suid, o.dev, o.exec} {
		if word != "" {
			options = append(options, word)
		}
	}
	// The source itself is never written: U gives the upper layer its owner.
	g.chown(o.chown, ov.Upper, destination)
	m := specs.Mount{Destination: destination, Type: "overlay", Source: "overlay", Options: options}
	use.Overlay = true
	return g.placeUse(m, use, fromUser, flag, value)
}

// newOverlay is an overlay whose writes go with the container.
func (g *generator) newOverlay(source, destination string) Overlay {
	n := fmt.Sprint(len(g.res.Overlays))
	return Overlay{
		Source: source, Destination: destination,
		Upper: path.Join(g.in.Files, "overlay", n, "upper"),
		Work:  path.Join(g.in.Files, "overlay", n, "work"),
	}
}

// Overlay's own parser of mount(2) data takes a backslash before what would
// end a path (fs/overlayfs/params.c, ovl_next_opt and ovl_parse_param_split_lowerdirs).
func escapeLower(p string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`, `:`, `\:`).Replace(p)
}

// EscapeUpper writes a path as upperdir= and workdir= of an overlay in mounts.
func EscapeUpper(p string) string { return strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(p) }

// mount takes one --mount.
func (g *generator) mount(value string, m mountFlag) error {
	switch m.kind {
	case "bind":
		return g.bind("--mount", value, m.source, m.destination, m.bind)
	case "glob":
		return g.globs(value, m)
	case "volume":
		return g.named("--mount", value, m.source, m.destination, m.bind)
	case "image":
		return g.image(value, m)
	case "devpts":
		return g.place(specs.Mount{
			Destination: m.destination, Type: "devpts", Source: "devpts",
			Options: append([]string{"nosuid", "noexec", "newinstance"}, m.devpts...),
		}, fromUser, "--mount", value)
	default:
		return g.place(specs.Mount{
			Destination: m.destination, Type: m.kind, Source: m.kind, Options: m.tmpfs.mountOptions(g.user),
		}, fromUser, "--mount", value)
	}
}

// globs binds every match of a pattern, below the destination or at its own
// path where none is given.
func (g *generator) globs(value string, m mountFlag) error {
	pattern, err := g.hostPath(m.source)
	if err != nil {
		return err
	}
	matches, err := g.glob(pattern)
	if err != nil {
		return err
	}
	if len(matches) == 0 {
		return refuse("--mount", value, "no file of the host matches %s", pattern)
	}
	for _, source := range matches {
		destination := source
		if m.destination != "" {
			destination = path.Join(m.destination, path.Base(source))
		}
		if err := g.bind("--mount", value, source, destination, m.bind); err != nil {
			return err
		}
	}
	return nil
}

// glob expands a pattern component by component. As in a shell, names that
// begin with a dot match only a pattern that does.
func (g *generator) glob(pattern string) ([]string, error) {
	found := []string{"/"}
	for _, part := range strings.Split(strings.TrimPrefix(pattern, "/"), "/") {
		var next []string
		for _, dir := range found {
			if !strings.ContainsAny(part, `*?[\`) {
				next = append(next, path.Join(dir, part))
				continue
			}
			names, err := g.in.Host.ReadDir(dir)
			if err != nil {
				continue // no directory, or not ours to read: nothing matches there
			}
			for _, name := range names {
				ok, err := path.Match(part, name)
				if err != nil {
					return nil, bad("bad pattern %q", part)
				}
				if ok && (name[0] != '.' || part[0] == '.') {
					next = append(next, path.Join(dir, name))
				}
			}
		}
		found = next
	}
	found = slices.DeleteFunc(found, func(p string) bool {
		_, err := g.in.Host.Lstat(p)
		return err != nil
	})
	slices.Sort(found)
	return found, nil
}

// tmpfs takes one --tmpfs: DST[:OPTIONS].
func (g *generator) tmpfs(value string) error {
	destination, list, _ := strings.Cut(value, ":")
	destination, err := cleanDestination(destination)
	if err != nil {
		return err
	}
	var o tmpfsOptions
	if list != "" {
		for word := range strings.SplitSeq(list, ",") {
			if err := o.set(word); err != nil {
				return err
			}
		}
	}
	return g.place(tmpfsMount(destination, o, g.user), fromUser, "--tmpfs", value)
}

func tmpfsMount(destination string, o tmpfsOptions, u execUser) specs.Mount {
	return specs.Mount{Destination: destination, Type: "tmpfs", Source: "tmpfs", Options: o.mountOptions(u)}
}

// readOnlyTmpfs gives a read-only root the places that programs write to, as
// podman does; /dev and /dev/shm are tmpfs in any case.
func (g *generator) readOnlyTmpfs() {
	if !g.opt.ReadOnly || !g.withReadOnlyTmpfs() {
		return
	}
	for _, d := range [][2]string{{"/run", "mode=755"}, {"/tmp", "mode=1777"}, {"/var/tmp", "mode=1777"}} {
		_ = g.place(tmpfsMount(d[0], tmpfsOptions{words: d[1:]}, g.user), fromImplied, "--read-only-tmpfs", "")
	}
}

func (g *generator) withReadOnlyTmpfs() bool {
	return g.opt.ReadOnlyTmpfs == nil || *g.opt.ReadOnlyTmpfs
}

// volumeCovers says whether a path of the container is, or is below, a mount
// of the user's.
func (g *generator) volumeCovers(p string) bool {
	for ; p != "/" && p != "."; p = path.Dir(p) {
		if g.userMounted(p) {
			return true
		}
	}
	return false
}
