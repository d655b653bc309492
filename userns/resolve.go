package userns

import (
	"context"
	"fmt"
	"io"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Resolved is the id map of one container.
type Resolved struct {
	Map Map
	// Base is the default map: container 0 is the caller, 1 and on are its
	// subordinate ids. Layers are unpacked with it, and ids of the host in
	// Map are always ids of Base too.
	Base     Map
	UID, GID uint32 // the caller's ids inside; OverflowID where they are not mapped
	KeepID   bool   // the payload runs as UID:GID unless -u says otherwise
	Single   bool   // only one id is mapped
	// Notice is one line to say once, Hint what to type about it; both ""
	// when there is nothing to say.
	Notice, Hint string
	// Reservation keeps other launchers of this user from taking the same
	// ids while it is open; nil unless --userns auto. Ids that are in use are
	// also seen in /proc, so it may be closed once the map is written.
	Reservation io.Closer
}

// BaseUID is the id that user container of Map has in Base.
func (r Resolved) BaseUID(container uint32) (uint32, bool) {
	host, ok := r.Map.HostUID(container)
	if !ok {
		return 0, false
	}
	return r.Base.ContainerUID(host)
}

// BaseGID is BaseUID for groups.
func (r Resolved) BaseGID(container uint32) (uint32, bool) {
	host, ok := r.Map.HostGID(container)
	if !ok {
		return 0, false
	}
	return r.Base.ContainerGID(host)
}

// Resolve computes the id map for a request. What was not asked for and
// cannot be had falls back to the caller's own id with a Notice; what was
// asked for and cannot be had is an error.
func Resolve(ctx context.Context, id Identity, req Request) (Resolved, error) {
	return realSystem().resolve(ctx, id, req)
}

func (s system) resolve(ctx context.Context, id Identity, req Request) (Resolved, error) {
	want, err := parseRequest(req)
	if err != nil {
		return Resolved{}, err
	}
	src, err := s.sources(ctx, id, want, req)
	if err != nil {
		return Resolved{}, err
	}
	return decide(id, want, src)
}

// sources are the facts that a map is computed from.
type sources struct {
	own    Map       // of our own user namespace: container side is what we see
	root   bool      // real root, or root of a namespace: no helpers needed
	sub    subLookup // of the caller
	named  subLookup // of --subuidname, --subgidname, or of root's auto ranges
	helper helperFacts
	distro string // content of os-release
	others []Range
	need   uint64
	pick   func(kind string, space []Range, size uint64) (uint64, io.Closer, error)
}

func (s system) sources(ctx context.Context, id Identity, want wanted, req Request) (src sources, err error) {
	for _, f := range []struct {
		name string
		to   *[]specs.LinuxIDMapping
	}{{"/proc/self/uid_map", &src.own.UIDs}, {"/proc/self/gid_map", &src.own.GIDs}} {
		text, err := s.read(f.name)
		if err != nil {
			return src, fmt.Errorf("read the ids of this user namespace: %w", err)
		}
		if *f.to, err = parseProcMap(string(text)); err != nil {
			return src, fmt.Errorf("read %s: %w", f.name, err)
		}
	}
	src.root = id.UID == 0 && id.SetID
	src.need = max(uint64(req.AutoSize), defaultAutoSize)
	src.pick = func(kind string, space []Range, size uint64) (uint64, io.Closer, error) {
		return s.pickAuto(id.UID, req.RunRoot, kind, space, size)
	}
	if want.kind == mapSubName {
		if src.named, err = s.subIDs(ctx, id, want.names); err != nil {
			return src, err
		}
	}
	if src.root {
		if want.kind == mapAuto {
			// The name that podman's root takes its auto ranges from.
			src.named, err = s.subIDs(ctx, id, [2]string{"containers", "containers"})
		}
		return src, err
	}
	if src.sub, err = s.subIDs(ctx, id, [2]string{}); err != nil {
		return src, err
	}
	src.helper = s.helperFacts(id)
	if why, _ := src.shortage(id); why != "" {
		// Only for the words of the hint.
		etc, _ := s.read("/etc/os-release")
		src.distro = string(etc)
		src.others = s.allSubIDs()
	}
	return src, nil
}

// decide is the pure part of Resolve.
func decide(id Identity, want wanted, src sources) (Resolved, error) {
	base, notice, hint := baseMap(id, src)
	r := Resolved{Base: base, Notice: notice, Hint: hint}
	var err error
	switch want.kind {
	case mapDefault:
		r.Map = base
	case mapKeepID:
		r.KeepID = true
		r.Map, err = keepID(id, want, base)
	case mapNoMap:
		r.Map, err = noMap(src.root, base)
	case mapExplicit:
		r.Map, err = explicit(want, base)
	case mapSubName:
		r.Map, err = namedRanges(id, want.names, src)
		if src.root {
			r.Base = r.Map
		}
	case mapAuto:
		r.Map, r.Reservation, err = auto(want, src, base)
	}
	if err == nil {
		err = r.Map.Validate()
	}
	if err != nil {
		closeReservation(r.Reservation)
		if notice != "" {
			return Resolved{}, &hintError{fmt.Errorf("%w (%s)", err, notice), hint}
		}
		return Resolved{}, err
	}
	r.Single = r.Map.Single()
	r.UID, r.GID = OverflowID, OverflowID
	if n, ok := r.Map.ContainerUID(id.UID); ok {
		r.UID = n
	}
	if n, ok := r.Map.ContainerGID(r.Base.callerGID(id)); ok {
		r.GID = n
	}
	return r, nil
}

func closeReservation(c io.Closer) {
	if c != nil {
		_ = c.Close() // a lock file: nothing was written
	}
}

// callerGID is the group that stands for the caller in a default map: not
// its own one after newgrp, when newgidmap had to map that of the login.
func (m Map) callerGID(id Identity) uint32 {
	if _, ok := m.ContainerGID(id.GID); ok {
		return id.GID
	}
	return id.mapGID()
}

// baseMap is the default map, or the single-id map and the reason for it.
func baseMap(id Identity, src sources) (m Map, notice, hint string) {
	if src.root {
		m := Map{identity(src.own.UIDs), identity(src.own.GIDs)}
		if m.Single() {
			return m, "only one id is mapped: the user namespace around us has no more", ""
		}
		return m, "", ""
	}
	if why, hint := src.shortage(id); why != "" {
		return SingleMap(id.UID, id.GID), "only your own id is mapped: " + why, hint
	}
	gid := id.mapGID()
	uids, _ := usable(src.sub.UIDs, src.own.UIDs, id.UID)
	gids, _ := usable(src.sub.GIDs, src.own.GIDs, gid)
	return Map{append(ownID(id.UID), stack(1, uids)...), append(ownID(gid), stack(1, gids)...)}, "", ""
}

func ownID(id uint32) []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{ContainerID: 0, HostID: id, Size: 1}}
}

// identity maps all ids that a user namespace has to themselves, range by
// range: the kernel wants each range inside one of the parent's.
func identity(own []specs.LinuxIDMapping) []specs.LinuxIDMapping {
	out := make([]specs.LinuxIDMapping, 0, len(own))
	for _, e := range own {
		out = append(out, specs.LinuxIDMapping{ContainerID: e.ContainerID, HostID: e.ContainerID, Size: e.Size})
	}
	return out
}

// stack maps ranges one after another, from container id first on.
func stack(first uint32, ranges []Range) []specs.LinuxIDMapping {
	var out []specs.LinuxIDMapping
	next := uint64(first)
	for _, r := range ranges {
		n := min(uint64(r.Count), 1<<32-1-next)
		if n == 0 {
			break
		}
		out = append(out, specs.LinuxIDMapping{ContainerID: uint32(next), HostID: r.Start, Size: uint32(n)})
		next += n
	}
	return out
}

// usable keeps of the ranges what our own user namespace has and is not the
// caller's own id, cut where the namespace's ranges end. The rest is outside.
func usable(ranges []Range, own []specs.LinuxIDMapping, caller uint32) (in, out []Range) {
	for _, r := range subtract(ranges, []Range{{caller, 1}}) {
		rest := []Range{r}
		for _, e := range own {
			lo := max(uint64(r.Start), uint64(e.ContainerID))
			hi := min(r.end(), uint64(e.ContainerID)+uint64(e.Size))
			if lo < hi {
				part := Range{uint32(lo), uint32(hi - lo)}
				in = append(in, part)
				rest = subtract(rest, []Range{part})
			}
		}
		out = append(out, rest...)
	}
	return in, out
}

// keepID puts the caller at its own ids, or those asked for, and the others
// around it as podman does.
func keepID(id Identity, want wanted, base Map) (Map, error) {
	uid, gid := id.UID, base.callerGID(id)
	if want.uid != nil {
		uid = *want.uid
	}
	if want.gid != nil {
		gid = *want.gid
	}
	uids, err := keep("user", uid, want.size, base.UIDs)
	if err != nil {
		return Map{}, err
	}
	gids, err := keep("group", gid, want.size, base.GIDs)
	return Map{uids, gids}, err
}

func keep(kind string, id uint32, size uint64, base []specs.LinuxIDMapping) ([]specs.LinuxIDMapping, error) {
	others := baseSize(base) - 1
	if size > 0 {
		if size-1 > others {
			return nil, fmt.Errorf("%w: --userns keep-id with size=%d, and there are %d %s ids", ErrTooFewIDs, size, others+1, kind)
		}
		others = size - 1
	}
	at := uint64(id)
	below := min(at, others)
	rel := []relMapping{{0, 1, below}, {at, 0, 1}, {at + 1, below + 1, others - below}}
	return compose(kind, rel, base)
}

// noMap leaves the caller out: container 0 is its first subordinate id.
func noMap(root bool, base Map) (Map, error) {
	if root {
		return Map{}, fmt.Errorf("%w: --userns nomap is for callers other than root", ErrBadMap)
	}
	if len(base.UIDs) < 2 || len(base.GIDs) < 2 {
		return Map{}, fmt.Errorf("%w: --userns nomap needs subordinate ids", ErrTooFewIDs)
	}
	uids, err := compose("user", []relMapping{{0, 1, baseSize(base.UIDs) - 1}}, base.UIDs)
	if err != nil {
		return Map{}, err
	}
	gids, err := compose("group", []relMapping{{0, 1, baseSize(base.GIDs) - 1}}, base.GIDs)
	return Map{uids, gids}, err
}

// explicit is --uidmap and --gidmap. A kind that no flag is about keeps the
// default map.
func explicit(want wanted, base Map) (Map, error) {
	m := base
	for _, k := range []struct {
		kind  string
		flags []mapFlag
		base  []specs.LinuxIDMapping
		to    *[]specs.LinuxIDMapping
	}{{"user", want.uids, base.UIDs, &m.UIDs}, {"group", want.gids, base.GIDs, &m.GIDs}} {
		if len(k.flags) == 0 {
			continue
		}
		rel, err := relative(k.kind, k.flags, k.base)
		if err != nil {
			return Map{}, err
		}
		if *k.to, err = compose(k.kind, rel, k.base); err != nil {
			return Map{}, err
		}
	}
	return m, nil
}

// namedRanges is --subuidname and --subgidname.
func namedRanges(id Identity, names [2]string, src sources) (Map, error) {
	var m Map
	for i, k := range []struct {
		file   string
		ranges []Range
		mine   []Range
		own    []specs.LinuxIDMapping
		to     *[]specs.LinuxIDMapping
	}{
		{"/etc/subuid", src.named.UIDs, src.sub.UIDs, src.own.UIDs, &m.UIDs},
		{"/etc/subgid", src.named.GIDs, src.sub.GIDs, src.own.GIDs, &m.GIDs},
	} {
		if len(k.ranges) == 0 {
			return Map{}, fmt.Errorf("%w: no subordinate ids for %q in %s", ErrTooFewIDs, names[i], k.file)
		}
		if foreign := subtract(k.ranges, k.mine); len(foreign) > 0 && !src.root {
			return Map{}, fmt.Errorf("%w: ids %s in %s are not %s's, and only root can map them", ErrTooFewIDs, rangesText(foreign), k.file, id.Display())
		}
		in, out := usable(k.ranges, k.own, OverflowID)
		if len(out) > 0 {
			return Map{}, outsideError(k.file, out, k.own)
		}
		*k.to = stack(0, in)
	}
	return m, nil
}

func outsideError(file string, out []Range, own []specs.LinuxIDMapping) error {
	return fmt.Errorf("%w: ids %s of %s do not exist in this user namespace, which has %s", ErrTooFewIDs, rangesText(out), file, insideText(own))
}
