package spec

import (
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// with completes what a mount is shown as by how it is mounted.
func (u Mounted) with(m specs.Mount) Mounted {
	u.Options = m.Options
	u.ReadOnly = slices.Contains(m.Options, "ro")
	return u
}

// named mounts a volume; without a name it is the container's own.
func (g *generator) named(flag, value, name, destination string, o bindOptions) error {
	return g.volume(flag, value, name, destination, o, fromUser)
}

func (g *generator) volume(flag, value, name, destination string, o bindOptions, from origin) error {
	anonymous := name == ""
	if anonymous {
		name = AnonymousName(g.in.ID, destination)
	}
	v, err := g.sources().Volume(name)
	if err != nil {
		return refused(flag, value, err)
	}
	use := Mounted{
		Type: "volume", Name: name, Source: v.Source,
		Anonymous: anonymous || v.Anonymous, NoCopy: o.copyUp == "nocopy",
	}
	switch {
	case v.Tmpfs:
		return g.tmpfsVolume(flag, value, destination, v, o, use, from)
	case len(o.uids) > 0:
		return later("idmap with a map of its own is not available yet").hint("idmap alone takes the container's own map")
	case o.overlay:
		return g.overlay(flag, value, v.Source, destination, o, use)
	}
	m := specs.Mount{Destination: destination, Type: "bind", Source: v.Source, Options: o.mountOptions()}
	for _, word := range v.Options {
		m.Options = strengthen(m.Options, word)
	}
	if err := g.placeUse(m, use.with(m), from, flag, value); err != nil {
		return err
	}
	g.chown(o.chown, v.Source, destination)
	g.propagate(o.propagation)
	return nil
}

// strengthen adds a restriction of the volume's own; its opposite goes.
func strengthen(options []string, word string) []string {
	off := opposite(word)
	if word == "ro" {
		off = "rw"
	}
	options = slices.DeleteFunc(slices.Clone(options), func(o string) bool { return o == off })
	if slices.Contains(options, word) {
		return options
	}
	return append(options, word)
}

// tmpfsVolume is a volume of --opt type=tmpfs: empty for each container.
func (g *generator) tmpfsVolume(flag, value, destination string, v Volume, o bindOptions, use Mounted, from origin) error {
	if o.overlay || o.idmap {
		return refuse(flag, value, "the volume %s is a tmpfs: O and idmap are for directories", use.Name)
	}
	t := tmpfsOptions{chown: o.chown, copyUp: !use.NoCopy}
	for _, word := range append(slices.Clone(v.Options), o.access, o.suid, o.dev, o.exec) {
		if word == "" {
			continue
		}
		if err := t.set(word); err != nil {
			return refused(flag, value, err)
		}
	}
	m := tmpfsMount(destination, t, g.user)
	return g.placeUse(m, use.with(m), from, flag, value)
}

// image mounts the root of another image, read-only or with writes that go
// with the container.
func (g *generator) image(value string, m mountFlag) error {
	root, err := g.sources().Image(m.source, m.subpath)
	if err != nil {
		return refused("--mount", value, err)
	}
	use := Mounted{Type: "image", Name: m.source, Source: root.ID, Overlay: m.bind.access == "rw", ReadOnly: m.bind.access != "rw"}
	var mount specs.Mount
	switch {
	case use.Overlay:
		ov := g.newOverlay(root.Bind, m.destination)
		g.res.Overlays = append(g.res.Overlays, ov)
		options := root.Overlay
		if root.Bind != "" {
			options = []string{"userxattr", "lowerdir=" + escapeLower(root.Bind)}
		}
		mount = specs.Mount{Destination: m.destination, Type: "overlay", Source: "overlay",
			Options: append(slices.Clone(options), "upperdir="+EscapeUpper(ov.Upper), "workdir="+EscapeUpper(ov.Work), "rprivate", "nodev")}
	case root.Bind != "":
		mount = specs.Mount{Destination: m.destination, Type: "bind", Source: root.Bind, Options: []string{"rbind", "rprivate", "ro", "rro", "nodev"}}
	default:
		mount = specs.Mount{Destination: m.destination, Type: "overlay", Source: "overlay", Options: append(slices.Clone(root.Overlay), "ro", "rprivate", "nodev")}
	}
	return g.placeUse(mount, use, fromUser, "--mount", value)
}

// volumesFrom takes over the binds and volumes of another container:
// CONTAINER[:OPTIONS]. What the user says of a destination counts for more.
func (g *generator) volumesFrom(value string) error {
	name, list, _ := strings.Cut(value, ":")
	access, err := parseFromOptions(list)
	if err != nil {
		return err
	}
	all, err := g.sources().Mounts(name)
	if err != nil {
		return err
	}
	for _, use := range all {
		if use.Overlay || use.Type != "bind" && use.Type != "volume" {
			continue // they are that container's own
		}
		options := use.Options
		switch access {
		case "ro":
			options = strengthen(options, "ro")
			if slices.Contains(options, "rbind") {
				options = strengthen(options, "rro")
			}
		case "rw":
			options = slices.DeleteFunc(slices.Clone(options), func(o string) bool { return o == "ro" || o == "rro" })
			options = append(options, "rw")
		}
		m := specs.Mount{Destination: use.Destination, Type: "bind", Source: use.Source, Options: options}
		if use.Type == "volume" {
			v, err := g.sources().Volume(use.Name)
			if err != nil {
				return err
			}
			if v.Tmpfs {
				m.Type, m.Source = "tmpfs", "tmpfs"
			}
		}
		if err := g.placeUse(m, use.with(m), fromOthers, "--volumes-from", value); err != nil {
			return err
		}
	}
	return nil
}

// parseFromOptions reads what follows the container: ro or rw, and z.
func parseFromOptions(list string) (access string, err error) {
	if list == "" {
		return "", nil
	}
	for word := range strings.SplitSeq(list, ",") {
		switch {
		case word == "z":
		case word != "ro" && word != "rw":
			return "", bad("unknown option %q", word).hint("options are ro, rw, z")
		case access != "" && access != word:
			return "", bad("%s and %s contradict each other", access, word)
		default:
			access = word
		}
	}
	return access, nil
}

// imageVolumes treats the VOLUMEs of the image: a volume each, which goes with
// its container, unless something else is mounted there.
func (g *generator) imageVolumes() error {
	mode := g.opt.ImageVolume
	modes := []string{"anonymous", "bind", "tmpfs", "ignore"} // bind is podman's other word for anonymous
	if mode != "" && !slices.Contains(modes, mode) {
		return refuse("--image-volume", mode, "unknown mode").choose(mode, modes)
	}
	dirs := make([]string, 0, len(g.in.Image.Volumes))
	for dir := range g.in.Image.Volumes {
		// From an image: never an error of the user's, never outside.
		if dir = path.Join("/", dir); dir != "/" {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	for _, dir := range dirs {
		switch {
		case g.userMounted(dir):
		case mode == "ignore":
			g.res.Directories = append(g.res.Directories, dir)
		case mode == "tmpfs":
			_ = g.place(tmpfsMount(dir, tmpfsOptions{}, g.user), fromImplied, "--image-volume", mode)
		default:
			if err := g.volume("--image-volume", "anonymous", "", dir, bindOptions{}, fromImplied); err != nil {
				return err
			}
		}
	}
	return nil
}
