package spec

import (
	"path"

	"coracle/internal/plainjson"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func (v *validator) mounts() error {
	if err := notOver("mounts", len(v.s.Mounts), maxMounts); err != nil {
		return err
	}
	for i := range v.s.Mounts {
		if err := v.mount(at("mounts", i), &v.s.Mounts[i]); err != nil {
			return err
		}
	}
	return nil
}

func (v *validator) mount(field string, m *specs.Mount) error {
	if m.Destination == "" {
		return wrong(field+".destination", "missing")
	}
	if !path.IsAbs(m.Destination) {
		v.warn(field+".destination", "%s is taken from /: relative paths are deprecated", plainjson.Quote(m.Destination))
	}
	for _, t := range []struct{ name, text string }{{"destination", m.Destination}, {"type", m.Type}, {"source", m.Source}} {
		if err := noNul(field+"."+t.name, t.text); err != nil {
			return err
		}
	}
	if err := noNulIn(field+".options", m.Options); err != nil {
		return err
	}
	o := parseMountOpts(m.Options)
	bind := isBind(m, &o)
	switch {
	case o.remount: // source and type are those that are there
	case path.Clean("/"+m.Destination) == "/":
		return wrong(field+".destination", "%s is the root itself", plainjson.Quote(m.Destination))
	case bind && m.Source == "":
		return wrong(field+".source", "missing, and it is a bind mount")
	case !bind && m.Type == "":
		return wrong(field+".type", "missing, and it is no bind mount")
	}
	if bind && len(o.data) > 0 {
		v.warn(field+".options", "%s is an option of a file system, and a bind mount cannot change its source's", plainjson.Quote(o.data[0].Key))
	}
	if err := o.check(bind, m.Type); err != nil {
		return wrong(field+".options", "%s", err)
	}
	return v.mountMap(field, m, o, bind)
}

// mountMap checks the id map of a mount (config.md#posix-platform-mounts).
func (v *validator) mountMap(field string, m *specs.Mount, o mountOpts, bind bool) error {
	uids, gids := len(m.UIDMappings) > 0, len(m.GIDMappings) > 0
	if !uids && !gids && !o.idmap && !o.ridmap {
		return nil
	}
	switch {
	case uids && !gids:
		return wrong(field+".gidMappings", "missing: uidMappings and gidMappings go together")
	case gids && !uids:
		return wrong(field+".uidMappings", "missing: uidMappings and gidMappings go together")
	case !uids && !v.inUserNamespace():
		return wrong(field+".uidMappings", "missing: idmap takes the container's own map, and it has no user namespace")
	case !bind:
		return wrong(field+".options", "idmap needs a bind mount")
	case !v.h.IDMappedMounts:
		return wrong(field, "an idmapped mount needs CAP_SYS_ADMIN where its file system was mounted, outside the user namespace (and Linux 5.12)")
	}
	if err := checkIDMap(field+".uidMappings", m.UIDMappings); err != nil {
		return err
	}
	return checkIDMap(field+".gidMappings", m.GIDMappings)
}
