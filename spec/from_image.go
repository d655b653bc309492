package spec

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// ImageFacts are an image's configuration, as far as a bundle is made of it.
type ImageFacts struct {
	ImageConfig
	OS, Architecture, Variant, OSVersion string
	OSFeatures                           []string
	Author, Created                      string // "" for none; RFC 3339
}

// Annotations that image-spec's conversion.md names.
const (
	annotationImage      = "org.opencontainers.image."
	annotationStopSignal = annotationImage + "stopSignal"
	annotationPorts      = annotationImage + "exposedPorts"
)

// FromImage makes a configuration of an image's, by image-spec's rules
// (conversion.md), for a root file system in "rootfs" beside it whose owners
// are those of the maps. What the image does not say is as in Example for a
// caller without privileges, but for capabilities and for the root, which may be written to. volumes
// are the places for which mounts should be made. Notes say what was left out.
func FromImage(img ImageFacts, root RootReader, o ExampleOptions, uids, gids []specs.LinuxIDMapping) (s *specs.Spec, volumes, notes []string, err error) {
	o.Rootless = true
	s = Example(o)
	s.Root.Readonly = false
	s.Process.Terminal = false
	// An image's root expects to read and write what belongs to others; of these
	// docker's and podman's containers have all.
	caps := defaultCapabilities
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps(), Permitted: caps(), Effective: caps()}
	s.Process.NoNewPrivileges = false
	s.Linux.UIDMappings, s.Linux.GIDMappings = uids, gids
	if err := userOfImage(s.Process, img, root, uids, gids); err != nil {
		return nil, nil, nil, err
	}
	if groups := s.Process.User.AdditionalGids; o.UID != 0 && len(groups) > 0 {
		// runc ends with an error where it has them (libcontainer, setupUser).
		notes = append(notes, fmt.Sprintf("the supplementary groups %s of the image's user are left out: runc sets none for a caller without privileges", strings.Trim(fmt.Sprint(groups), "[]")))
		s.Process.User.AdditionalGids = nil
	}
	if args := append(slices.Clone(img.Entrypoint), img.Cmd...); len(args) > 0 {
		s.Process.Args = args
	}
	s.Process.Cwd = path.Join("/", img.WorkingDir)
	var env environment
	env.setAll(s.Process.Env[:1]) // a PATH, if the image has none
	env.setAll(img.Env)
	s.Process.Env = env
	notes = append(notes, annotationsOfImage(s, img)...)
	return s, slices.Sorted(maps.Keys(img.Volumes)), notes, nil
}

// userOfImage is conversion.md's "Config.User".
func userOfImage(p *specs.Process, img ImageFacts, root RootReader, uids, gids []specs.LinuxIDMapping) error {
	g := generator{in: &Input{Root: root}}
	passwd, err := g.rootFile("/etc/passwd")
	if err != nil {
		return err
	}
	group, err := g.rootFile("/etc/group")
	if err != nil {
		return err
	}
	u, err := resolveUser(img.User, passwd, group)
	if err != nil {
		return refused("the image's user", img.User, err)
	}
	if !mapped(uids, u.uid) || !mapped(gids, u.gid) {
		return refuse("the image's user", img.User, "%d:%d is not among the ids that are mapped", u.uid, u.gid).hint("coracle doctor shows the subordinate ids")
	}
	p.User = specs.User{UID: u.uid, GID: u.gid}
	for _, gid := range u.groups {
		if mapped(gids, gid) && len(gids) > 1 { // a map of the caller's own forbids setgroups(2)
			p.User.AdditionalGids = append(p.User.AdditionalGids, gid)
		}
	}
	return nil
}

// annotationsOfImage sets them: what the configuration says of itself, and its labels
// above that. Labels that are orders to a runtime (crun writes a file of the
// host's for run.oci.hooks.stdout, and sets systemd's properties) are left out.
func annotationsOfImage(s *specs.Spec, img ImageFacts) (notes []string) {
	a := map[string]string{}
	for key, value := range map[string]string{
		"os": img.OS, "architecture": img.Architecture, "variant": img.Variant, "os.version": img.OSVersion, "os.features": strings.Join(img.OSFeatures, ","),
		"author": img.Author, "created": img.Created, "stopSignal": img.StopSignal, "exposedPorts": strings.Join(slices.Sorted(maps.Keys(img.ExposedPorts)), ","),
	} {
		if value != "" {
			a[annotationImage+key] = value
		}
	}
	for _, key := range slices.Sorted(maps.Keys(img.Labels)) {
		if orders(key) {
			notes = append(notes, fmt.Sprintf("the label %q is no annotation of the bundle: it would be an order to the runtime", key))
			continue
		}
		a[key] = img.Labels[key]
	}
	if len(a) > 0 {
		s.Annotations = a
	}
	return notes
}

func orders(key string) bool {
	for _, p := range []string{"run.oci.", "org.systemd.property.", "io.kubernetes.cri", "io.katacontainers.", "dev.gvisor.", "module.wasm."} {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}

// ToImage is the way back: what a bundle's configuration says about how its image
// should be run. was is what FromImage would make of the image that the bundle
// came from: what is as there is left as it is in the image.
func ToImage(s, was *specs.Spec, img *ImageConfig) {
	if was == nil {
		was = &specs.Spec{Process: &specs.Process{Cwd: "/"}}
	}
	if p := s.Process; p != nil {
		if !slices.Equal(p.Args, was.Process.Args) {
			img.Entrypoint, img.Cmd = nil, p.Args
		}
		if !slices.Equal(p.Env, was.Process.Env) {
			img.Env = p.Env
		}
		if p.Cwd != was.Process.Cwd {
			img.WorkingDir = p.Cwd
		}
		if p.User.UID != was.Process.User.UID || p.User.GID != was.Process.User.GID {
			img.User = fmt.Sprintf("%d:%d", p.User.UID, p.User.GID)
		}
	}
	for key, value := range s.Annotations {
		if was.Annotations[key] == value {
			continue
		}
		name, own := strings.CutPrefix(key, annotationImage)
		switch {
		case key == annotationStopSignal:
			img.StopSignal = value
		case key == annotationPorts:
			img.ExposedPorts = map[string]struct{}{}
			for _, port := range strings.Split(value, ",") {
				img.ExposedPorts[port] = struct{}{}
			}
		case own && slices.Contains([]string{"os", "architecture", "variant", "os.version", "os.features", "author", "created"}, name):
		default:
			if img.Labels == nil {
				img.Labels = map[string]string{}
			}
			img.Labels[key] = value
		}
	}
	for key := range was.Annotations {
		if _, still := s.Annotations[key]; !still {
			delete(img.Labels, key)
		}
	}
}
