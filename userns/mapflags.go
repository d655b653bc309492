package userns

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

type mapKind int

const (
	mapDefault mapKind = iota
	mapKeepID
	mapNoMap
	mapAuto
	mapExplicit
	mapSubName // --subuidname: container 0 is the first id of the named ranges
)

// wanted is a Request, parsed.
type wanted struct {
	kind       mapKind
	uid, gid   *uint32 // keep-id: the caller's ids inside
	size       uint64  // keep-id, auto: how many ids, 0 when not given
	uids, gids []mapFlag
	names      [2]string // --subuidname, --subgidname
}

// mapFlag is one --uidmap or --gidmap value.
type mapFlag struct {
	text            string
	container, from uint32
	count           uint32
	host            bool // @: from is an id of the host, else of the default map
	extend          bool // +: changes what was there before
}

// parseRequest reads the flags. Its errors unwrap to ErrBadMap.
func parseRequest(req Request) (wanted, error) {
	if len(req.UIDMaps)+len(req.GIDMaps) > 0 {
		if req.Userns != "" && req.Userns != "private" {
			return wanted{}, fmt.Errorf("%w: --userns %s and --uidmap/--gidmap exclude each other", ErrBadMap, req.Userns)
		}
		if req.SubUIDName+req.SubGIDName != "" {
			return wanted{}, fmt.Errorf("%w: --subuidname/--subgidname and --uidmap/--gidmap exclude each other", ErrBadMap)
		}
		return parseMapFlags(req.UIDMaps, req.GIDMaps)
	}
	mode, options, _ := strings.Cut(req.Userns, ":")
	if req.SubUIDName+req.SubGIDName != "" {
		if mode != "" && mode != "private" {
			return wanted{}, fmt.Errorf("%w: --userns %s and --subuidname/--subgidname exclude each other", ErrBadMap, req.Userns)
		}
		return wanted{kind: mapSubName, names: subNames(req)}, nil
	}
	switch mode {
	case "", "host":
		return wanted{}, noOptions(req.Userns, options)
	case "nomap":
		return wanted{kind: mapNoMap}, noOptions(req.Userns, options)
	case "keep-id":
		return parseUsernsOptions(wanted{kind: mapKeepID}, req.Userns, options)
	case "auto":
		return parseUsernsOptions(wanted{kind: mapAuto}, req.Userns, options)
	case "private":
		return wanted{}, fmt.Errorf("%w: --userns private needs --uidmap, --gidmap, --subuidname or --subgidname", ErrBadMap)
	}
	return wanted{}, fmt.Errorf("%w: --userns %q: known are keep-id[:uid=,gid=,size=], nomap, auto[:size=] and host", ErrBadMap, req.Userns)
}

// subNames completes the pair: one name serves for both.
func subNames(req Request) [2]string {
	u, g := req.SubUIDName, req.SubGIDName
	if u == "" {
		u = g
	}
	if g == "" {
		g = u
	}
	return [2]string{u, g}
}

func noOptions(flag, options string) error {
	if options != "" {
		return fmt.Errorf("%w: --userns %s takes no options", ErrBadMap, flag)
	}
	return nil
}

func parseUsernsOptions(w wanted, flag, options string) (wanted, error) {
	if options == "" {
		return w, nil
	}
	for o := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(o, "=")
		n, err := parseID(value)
		if err != nil {
			return wanted{}, fmt.Errorf("%w: --userns %s: %s: %w", ErrBadMap, flag, key, err)
		}
		switch {
		case key == "uid" && w.kind == mapKeepID:
			w.uid = &n
		case key == "gid" && w.kind == mapKeepID:
			w.gid = &n
		case key == "size" && n > 0:
			w.size = uint64(n)
		default:
			return wanted{}, fmt.Errorf("%w: --userns %s: unknown option %q", ErrBadMap, flag, o)
		}
	}
	return w, nil
}

// parseMapFlags reads --uidmap and --gidmap. Where only one of the two is
// given the other takes the same, as in podman, except for what is flagged
// to hold for one kind.
func parseMapFlags(uidmaps, gidmaps []string) (wanted, error) {
	w := wanted{kind: mapExplicit}
	var forUIDs, forGIDs []mapFlag
	for _, l := range []struct {
		name  string
		texts []string
		group bool
	}{{"--uidmap", uidmaps, false}, {"--gidmap", gidmaps, true}} {
		for _, text := range l.texts {
			f, only, err := parseMapFlag(text)
			if err != nil {
				return wanted{}, fmt.Errorf("%w: %s %q: %w", ErrBadMap, l.name, text, err)
			}
			toUIDs, toGIDs := !l.group || len(uidmaps) == 0, l.group || len(gidmaps) == 0
			if only != "" {
				toUIDs, toGIDs = strings.Contains(only, "u"), strings.Contains(only, "g")
			}
			if toUIDs {
				forUIDs = append(forUIDs, f)
			}
			if toGIDs {
				forGIDs = append(forGIDs, f)
			}
		}
	}
	w.uids, w.gids = forUIDs, forGIDs
	return w, nil
}

// parseMapFlag reads [+ug]CONTAINER:[@]FROM[:SIZE].
func parseMapFlag(text string) (f mapFlag, only string, err error) {
	f.text, f.count = text, 1
	rest := strings.TrimLeft(text, "+ug")
	flags := text[:len(text)-len(rest)]
	f.extend = strings.Contains(flags, "+")
	only = strings.ReplaceAll(flags, "+", "")
	parts := strings.Split(rest, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return f, "", fmt.Errorf("the form is CONTAINER:FROM[:SIZE]")
	}
	if f.container, err = parseID(parts[0]); err != nil {
		return f, "", err
	}
	from, isHost := strings.CutPrefix(parts[1], "@")
	f.host = isHost
	if f.from, err = parseID(from); err != nil {
		return f, "", err
	}
	if len(parts) == 3 {
		if f.count, err = parseID(parts[2]); err != nil {
			return f, "", err
		}
	}
	if f.count == 0 || uint64(f.container)+uint64(f.count) > 1<<32-1 || uint64(f.from)+uint64(f.count) > 1<<32-1 {
		return f, "", fmt.Errorf("%s ids from there on are empty or go past the last id", strconv.FormatUint(uint64(f.count), 10))
	}
	return f, only, nil
}

// relMapping maps Size ids of the container from Container on to ids of the
// default map from Base on (0 is the caller, 1 the first subordinate id).
type relMapping struct{ Container, Base, Size uint64 }

// relative turns flags into mappings onto the default map. Flags with +
// change the default map, or the flags before them.
func relative(kind string, flags []mapFlag, base []specs.LinuxIDMapping) ([]relMapping, error) {
	var rel []relMapping
	extends := func(f mapFlag) bool { return f.extend }
	if !slices.ContainsFunc(flags, func(f mapFlag) bool { return !extends(f) }) {
		rel = []relMapping{{0, 0, baseSize(base)}}
	}
	for _, f := range flags {
		parts := []relMapping{{uint64(f.container), uint64(f.from), uint64(f.count)}}
		if f.host {
			var err error
			if parts, err = fromHost(kind, f, base); err != nil {
				return nil, err
			}
		}
		for _, p := range parts {
			if f.extend {
				rel = carve(rel, p)
			}
			rel = append(rel, p)
		}
	}
	return rel, nil
}

// fromHost finds the ids of the host in the default map.
func fromHost(kind string, f mapFlag, base []specs.LinuxIDMapping) ([]relMapping, error) {
	var parts []relMapping
	for done := uint64(0); done < uint64(f.count); {
		id := uint64(f.from) + done
		i := slices.IndexFunc(base, func(e specs.LinuxIDMapping) bool {
			return id >= uint64(e.HostID) && id < uint64(e.HostID)+uint64(e.Size)
		})
		if i < 0 {
			return nil, fmt.Errorf("%w: %q: %s id %d of the host is not yours to map; yours are %s", ErrTooFewIDs, f.text, kind, id, hostText(base))
		}
		e := base[i]
		n := min(uint64(f.count)-done, uint64(e.HostID)+uint64(e.Size)-id)
		parts = append(parts, relMapping{uint64(f.container) + done, uint64(e.ContainerID) + id - uint64(e.HostID), n})
		done += n
	}
	return parts, nil
}

// carve removes from rel whatever overlaps p on either side.
func carve(rel []relMapping, p relMapping) []relMapping {
	var out []relMapping
	for _, r := range rel {
		for _, q := range cut(r, p.Container-r.Container, p.Size) {
			out = append(out, cut(q, p.Base-q.Base, p.Size)...)
		}
	}
	return out
}

// cut takes size ids at offset out of r; the offset is modulo 2^64, so that
// one below r is a huge one whose end wraps around.
func cut(r relMapping, offset, size uint64) []relMapping {
	lo, hi := int64(offset), int64(offset)+int64(size)
	if hi <= 0 || lo >= int64(r.Size) {
		return []relMapping{r}
	}
	var out []relMapping
	if lo > 0 {
		out = append(out, relMapping{r.Container, r.Base, uint64(lo)})
	}
	if hi < int64(r.Size) {
		out = append(out, relMapping{r.Container + uint64(hi), r.Base + uint64(hi), r.Size - uint64(hi)})
	}
	return out
}

// compose looks the right-hand sides of rel up in the default map.
func compose(kind string, rel []relMapping, base []specs.LinuxIDMapping) ([]specs.LinuxIDMapping, error) {
	var out []specs.LinuxIDMapping
	for _, r := range rel {
		for done := uint64(0); done < r.Size; {
			id := r.Base + done
			i := slices.IndexFunc(base, func(e specs.LinuxIDMapping) bool {
				return id >= uint64(e.ContainerID) && id < uint64(e.ContainerID)+uint64(e.Size)
			})
			if i < 0 {
				return nil, fmt.Errorf("%w: %s id %d of the default map is asked for, which has only %s (0 is you, 1 your first subordinate id)", ErrTooFewIDs, kind, id, insideText(base))
			}
			e := base[i]
			n := min(r.Size-done, uint64(e.ContainerID)+uint64(e.Size)-id)
			out = append(out, specs.LinuxIDMapping{
				ContainerID: uint32(r.Container + done),
				HostID:      uint32(uint64(e.HostID) + id - uint64(e.ContainerID)),
				Size:        uint32(n),
			})
			done += n
		}
	}
	// Neighbours stay apart: a range of a nested namespace must lie in one
	// range of its parent.
	slices.SortFunc(out, func(a, b specs.LinuxIDMapping) int { return cmp.Compare(a.ContainerID, b.ContainerID) })
	return out, nil
}

func baseSize(base []specs.LinuxIDMapping) uint64 {
	var n uint64
	for _, e := range base {
		n += uint64(e.Size)
	}
	return n
}

// hostText names the host ids of a map.
func hostText(extents []specs.LinuxIDMapping) string {
	ranges := make([]Range, 0, len(extents))
	for _, e := range extents {
		ranges = append(ranges, Range{e.HostID, e.Size})
	}
	return rangesText(joinRanges(ranges))
}
