package fuse

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits of the kernel. A file system sees at most a page of mount(2) data;
// fsconfig(2) copies a string value of up to 255 bytes (fs/fsopen.c).
const (
	mountDataMax = 4095
	fsconfigMax  = 255
)

// EscapeLower makes a path one name of a lowerdir= list in mount(2) data: the
// overlay splits at ':' and the option parser at ','.
func EscapeLower(path string) string {
	return backslash(path, `\:,`)
}

// escapeDir makes a path the value of upperdir= or workdir=, from which the
// kernel takes backslashes out, in mount(2) data as well as by fsconfig.
func escapeDir(path string, data bool) string {
	if data {
		return backslash(path, `\,`)
	}
	return backslash(path, `\`)
}

// backslash puts one before each of chars. Hardly a path has any, and a
// strings.Replacer costs more to make than all else here.
func backslash(path, chars string) string {
	if !strings.ContainsAny(path, chars) {
		return path
	}
	var b strings.Builder
	for i := range len(path) {
		if strings.IndexByte(chars, path[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// stack is what an overlay is made of, before it is known how it is mounted.
type stack struct {
	lowers, datas []string // topmost first
	upper, work   string
	flags         []Param // userxattr and what else was found to hold
}

// params are the fsconfig calls of a stack.
func (s stack) params() []Param {
	p := make([]Param, 0, len(s.flags)+len(s.lowers)+len(s.datas)+2)
	p = append(p, s.flags...)
	for _, l := range s.lowers {
		p = append(p, Param{Key: "lowerdir+", Value: l})
	}
	for _, d := range s.datas {
		p = append(p, Param{Key: "datadir+", Value: d})
	}
	if s.upper != "" {
		p = append(p,
			Param{Key: "upperdir", Value: escapeDir(s.upper, false)},
			Param{Key: "workdir", Value: escapeDir(s.work, false)})
	}
	return p
}

// data is the page of mount(2) for a stack.
func (s stack) data() string {
	var opts []string
	for _, f := range s.flags {
		if f.Flag {
			opts = append(opts, f.Key)
		} else {
			opts = append(opts, f.Key+"="+f.Value)
		}
	}
	var names strings.Builder
	for i, l := range s.lowers {
		if i > 0 {
			names.WriteByte(':')
		}
		names.WriteString(EscapeLower(l))
	}
	for _, d := range s.datas {
		names.WriteString("::" + EscapeLower(d))
	}
	opts = append(opts, "lowerdir="+names.String())
	if s.upper != "" {
		opts = append(opts, "upperdir="+escapeDir(s.upper, true), "workdir="+escapeDir(s.work, true))
	}
	return strings.Join(opts, ",")
}

// longest is the longest value that fsconfig would be given.
func (s stack) longest() int {
	n := 0
	for _, p := range s.params() {
		n = max(n, len(p.Value))
	}
	return n
}

// relativeTo shortens lowers that are below dir to names relative to it. Names
// outside it stay absolute.
func (s stack) relativeTo(dir string) stack {
	short := func(paths []string) []string {
		out := make([]string, len(paths))
		for i, p := range paths {
			out[i] = p
			if rest, ok := strings.CutPrefix(p, strings.TrimSuffix(dir, "/")+"/"); ok && rest != "" {
				out[i] = rest
			}
		}
		return out
	}
	s.lowers, s.datas = short(s.lowers), short(s.datas)
	return s
}

// linked replaces every path by a short link in dir, whose name is its own
// digest, so that a page holds more than 200 of them (a layer's directory is
// named by 64 hex digits and its map class, which is 46 to a page). The links
// are made here and stay until the runtime directory goes.
func (s stack) linked(dir string) (stack, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return s, fmt.Errorf("make short names for layers: %w", err)
	}
	var failed error
	link := func(path string) string {
		name, err := shortLink(dir, path)
		if err != nil && failed == nil {
			failed = err
		}
		return name
	}
	all := func(paths []string) []string {
		out := make([]string, len(paths))
		for i, p := range paths {
			out[i] = link(p)
		}
		return out
	}
	s.lowers, s.datas = all(s.lowers), all(s.datas)
	if s.upper != "" {
		s.upper, s.work = link(s.upper), link(s.work)
	}
	return s, failed
}

func shortLink(dir, path string) (string, error) {
	sum := sha256.Sum256([]byte(path))
	for n := 5; n <= len(sum); n += 5 { // a longer name where another path has taken this one
		name := hex.EncodeToString(sum[:n])
		link := filepath.Join(dir, name)
		err := os.Symlink(path, link)
		if err == nil {
			return name, nil
		}
		if !os.IsExist(err) {
			return "", fmt.Errorf("make a short name for %s: %w", path, err)
		}
		if have, err := os.Readlink(link); err == nil && have == path {
			return name, nil
		}
	}
	return "", fmt.Errorf("make a short name for %s in %s: all are taken", path, dir)
}

// overlayRootfs chooses between fsconfig and mount(2), and between long and
// short names.
func overlayRootfs(s stack, f Facts, req Request) (Rootfs, error) {
	n := len(s.lowers) + len(s.datas)
	if f.MaxLayers > 0 && n > f.MaxLayers {
		return Rootfs{}, &TooManyLayersError{Layers: n, Limit: f.MaxLayers}
	}
	r := Rootfs{Driver: DriverOverlay, FSType: "overlay", Upper: s.upper, ReadOnly: s.upper == ""}
	links := filepath.Join(req.Cache, "l")
	if f.LowerPlus {
		r.Kind = OverlayFS
		r.Attrs = 0
		if s.longest() > fsconfigMax {
			short, err := s.shorten(links, req.Cache)
			if err != nil {
				return Rootfs{}, err
			}
			s, r.Dir = short, links
		}
		r.Params = s.params()
		return r, nil
	}
	r.Kind = OverlayMount
	rel := s.relativeTo(req.LayersDir)
	r.Dir, r.Data = req.LayersDir, rel.data()
	if len(r.Data) <= mountDataMax {
		return r, nil
	}
	short, err := s.shorten(links, req.Cache)
	if err != nil {
		return Rootfs{}, err
	}
	r.Dir, r.Data = links, short.data()
	if len(r.Data) > mountDataMax {
		return Rootfs{}, &TooManyLayersError{Layers: n, Limit: (mountDataMax - 200) / 11}
	}
	return r, nil
}

func (s stack) shorten(links, cache string) (stack, error) {
	if cache == "" {
		return s, fmt.Errorf("%w: names of %d layers are too long and there is no runtime directory for shorter ones",
			ErrBadRequest, len(s.lowers)+len(s.datas))
	}
	return s.linked(links)
}

// upperPerm are the permission bits that the upper must have for the merged
// root to look like its topmost layer.
func upperPerm(lower string) uint32 {
	var st unix.Stat_t
	if err := unix.Stat(lower, &st); err != nil {
		return 0o755
	}
	return st.Mode & 0o7777
}
