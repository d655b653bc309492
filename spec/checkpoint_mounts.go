package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// CRIU makes the container's own file systems again, with what is in a tmpfs.
// Others come from outside: it knows those by their places, and has to be told
// at the restore where they are now.

// mountLine is a line of proc_pid_mountinfo(5).
type mountLine struct{ device, point string }

func readMounts(pid string) ([]mountLine, error) {
	data, err := os.ReadFile("/proc/" + pid + "/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list the mounts: %w", err)
	}
	return parseMounts(string(data)), nil
}

func parseMounts(mountinfo string) (out []mountLine) {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(mountinfo) {
		if f := strings.Fields(line); len(f) > 4 {
			out = append(out, mountLine{f[2], unescape.Replace(f[4])})
		}
	}
	return out
}

// outside is where a mount of the configuration comes from, if that is the host.
type outside struct {
	place, source string
	below         bool // with what is mounted below it there
}

// outsideMounts are all that the container may have from the host; inside
// resolves links of its root. cgroup is the container's own directory.
func outsideMounts(s *specs.Spec, bundle, cgroup string, inside func(string) string) (out []outside) {
	for i := range s.Mounts {
		m := &s.Mounts[i]
		o := parseMountOpts(m.Options)
		at := outside{place: inside(m.Destination), below: true}
		switch {
		case o.remount:
			continue
		case isBind(m, &o):
			if at.source, at.below = m.Source, !o.bind || o.rbind; !filepath.IsAbs(at.source) {
				at.source = filepath.Join(bundle, at.source)
			}
		case m.Type == "proc", m.Type == "sysfs": // of a namespace that is the host's
			at.source = map[string]string{"proc": "/proc", "sysfs": "/sys"}[m.Type]
		case m.Type == "cgroup" && cgroup != "", m.Type == "cgroup2" && cgroup != "":
			at.source, at.below = cgroup, false
		default:
			continue
		}
		out = append(out, at)
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} { // in a user namespace
		out = append(out, outside{place: "/dev/" + name, source: "/dev/" + name})
	}
	for _, d := range s.Linux.Devices {
		out = append(out, outside{place: inside(d.Path), source: d.Path})
	}
	for _, p := range s.Linux.MaskedPaths { // a file's mask; a directory's is a tmpfs
		out = append(out, outside{place: inside(p), source: "/dev/null"})
	}
	return out
}

// externalPlaces are those of the container's mounts that come from outside:
// what the configuration binds, and the rest where the host has the same file
// system mounted too.
func externalPlaces(from []outside, box, host []mountLine) (out []string) {
	shared := map[string]bool{}
	for _, m := range host {
		shared[m.device] = true
	}
	for _, m := range box {
		ours := slices.ContainsFunc(from, func(o outside) bool {
			return m.point == o.place || o.below && strings.HasPrefix(m.point, strings.TrimSuffix(o.place, "/")+"/")
		})
		if ours && m.point != "/" && shared[m.device] && !slices.Contains(out, m.point) {
			out = append(out, m.point)
		}
	}
	return out
}

// dumpedMounts are the external ones of a running container.
func (c *Container) dumpedMounts(s *specs.Spec) (out []*rpc.ExtMountMap, err error) {
	box, err := readMounts(fmt.Sprint(c.Pid))
	if err != nil {
		return nil, err
	}
	host, err := readMounts("self")
	if err != nil {
		return nil, err
	}
	from := outsideMounts(s, c.Bundle, c.Cgroup.Path, insideOf(c.Rootfs))
	for _, place := range externalPlaces(from, box, host) {
		out = append(out, &rpc.ExtMountMap{Key: &place, Val: &place})
	}
	return out, nil
}

// restoredMounts say where the external ones are now: more than there may be,
// for the images name those that there are.
func restoredMounts(from []outside, host []mountLine) (out []*rpc.ExtMountMap) {
	add := func(place, source string) {
		out = slices.DeleteFunc(out, func(m *rpc.ExtMountMap) bool { return *m.Key == place })
		out = append(out, &rpc.ExtMountMap{Key: &place, Val: &source})
	}
	for _, o := range from {
		add(o.place, o.source)
		for _, m := range host {
			if rest, ok := strings.CutPrefix(m.point, strings.TrimSuffix(o.source, "/")+"/"); ok && o.below {
				add(path.Join(o.place, rest), m.point)
			}
		}
	}
	return out
}

// mountPlaces makes what the root lacks of the places of mounts, as at the
// container's creation: a root may be another than at the checkpoint. What is
// inside of a tmpfs CRIU brings.
func (m *making) mountPlaces() error {
	inside := insideOf(m.c.Rootfs)
	above := map[string]string{"/": m.c.Rootfs} // "": CRIU's
	for i := range m.s.Mounts {
		mount := &m.s.Mounts[i]
		o := parseMountOpts(mount.Options)
		place, source := inside(mount.Destination), ""
		if o.remount {
			continue
		}
		dir := true
		if isBind(mount, &o) {
			if source = mount.Source; !filepath.IsAbs(source) {
				source = filepath.Join(m.o.Bundle, source)
			}
			st, err := os.Stat(source)
			if err != nil {
				return fmt.Errorf("mounts[%d].source: %w", i, err)
			}
			dir = st.IsDir()
		}
		under := nearest(above, place)
		if above[under] != "" {
			rel, _ := filepath.Rel(under, place) // both absolute, one below the other
			if err := m.makePlace(above[under], rel, dir); err != nil {
				return fmt.Errorf("mounts[%d].destination: make %s: %w", i, mount.Destination, err)
			}
		}
		above[place] = source
	}
	return nil
}

// nearest is the longest of the places that has p at it or below.
func nearest(places map[string]string, p string) string {
	for {
		if _, ok := places[p]; ok || p == "/" {
			return p
		}
		p = path.Dir(p)
	}
}

// makePlace makes a directory or an empty file below base, whose links lead
// nowhere else, for the container's root.
func (m *making) makePlace(base, rel string, dir bool) error {
	root, err := os.OpenRoot(base)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	todo := []string{rel}
	for p := path.Dir(rel); p != "."; p = path.Dir(p) {
		todo = append(todo, p)
	}
	for _, p := range slices.Backward(todo) {
		if dir || p != rel {
			err = root.Mkdir(p, 0o755)
		} else {
			var f *os.File
			if f, err = root.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644); err == nil {
				err = f.Close()
			}
		}
		switch {
		case errors.Is(err, fs.ErrExist):
			continue
		case err == nil && len(m.s.Linux.UIDMappings) > 0:
			err = root.Lchown(p, int(hostID(m.s.Linux.UIDMappings)), int(hostID(m.s.Linux.GIDMappings)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hostID is what the container's root is outside, and nobody where it is no one.
func hostID(ids []specs.LinuxIDMapping) uint32 {
	for _, m := range ids {
		if m.ContainerID == 0 && m.Size > 0 {
			return m.HostID
		}
	}
	return 65534
}
