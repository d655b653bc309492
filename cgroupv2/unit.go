package cgroupv2

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// pending is a scope that waits for its first process: systemd makes none
// without.
type pending struct {
	cfg   Config
	unit  unit
	files []File
}

// plan checks a request for a scope, as far as it can be before there is one.
func plan(tree Tree, cfg Config) (*Cgroup, error) {
	u, err := scopeOf(cfg.Path, cfg.ID, userManager(cfg.Rootless))
	if err != nil {
		return nil, err
	}
	files, err := Files(cfg.Resources, Facts{})
	if err != nil {
		return nil, err
	}
	if cfg.Resources != nil {
		if _, err := deviceRules(cfg.Resources.Devices); err != nil {
			return nil, err
		}
	}
	if _, err := annotated(cfg.Annotations); err != nil {
		return nil, err
	}
	if tree.Layout != Unified {
		// In a hybrid tree systemd puts limits into version 1.
		return nil, &FieldError{
			Field: pathField, Reason: "systemd's scopes are used with cgroup v2 alone: this machine's layout is " + string(tree.Layout),
			kind: ErrUnsupported, hint: tree.hint(currentHost(), &enableError{v1: true}),
		}
	}
	return &Cgroup{tree: tree, sys: realKernel{}, pending: &pending{cfg, u, files}, reason: "the scope " + u.name + " is made with its first process"}, nil
}

// Pending tells whether the cgroup will be made by AddProcess: a scope of
// systemd's needs a process. That one is then started in the caller's cgroup,
// and waits for AddProcess before it makes a cgroup namespace.
func (c *Cgroup) Pending() bool { return c.pending != nil }

// buses are the addresses of the manager.
func (c *Cgroup) buses(user bool) []busAddress {
	if c.bus != nil {
		return c.bus
	}
	return busAddresses(user, os.Geteuid(), os.Getenv)
}

// manager calls do with a connection to the unit's manager.
func (c *Cgroup) manager(ctx context.Context, user bool, do func(Systemd) error) error {
	ctx, cancel := context.WithTimeout(ctx, busPatience)
	defer cancel()
	s, err := dialSystemd(ctx, c.buses(user))
	if err != nil {
		return err
	}
	defer s.Close()
	return do(s)
}

// startUnit makes the scope with the process in it, and its limits true. After
// a failure the caller kills the process, and the scope ends with it (a stop by
// systemd would wait for a pid 1 that ignores SIGTERM).
func (c *Cgroup) startUnit(pid int) error {
	p := c.pending
	err := c.manager(context.Background(), p.unit.user, func(s Systemd) error {
		version, err := s.Version()
		if err != nil {
			return err
		}
		properties, err := scopeProperties(p.unit, p.cfg.ID, pid, p.files, p.cfg.Annotations, version)
		if err != nil {
			return err
		}
		if err := s.StartScope(p.unit.name, properties); err != nil {
			return err
		}
		return c.enterUnit(s)
	})
	if err == nil {
		c.pending, c.reason = nil, ""
		return nil
	}
	var field *FieldError
	if errors.As(err, &field) {
		return err
	}
	e := &FieldError{Field: pathField, Reason: "systemd makes no scope", Err: err, kind: ErrUnsupported}
	if p.unit.user {
		e.hint = "is the user's manager running? sudo loginctl enable-linger " + currentHost().name + ", and set XDG_RUNTIME_DIR; or do without --systemd-cgroup"
	}
	return e
}

// enterUnit opens the scope's cgroup and writes what its properties cannot
// say, or say less exactly.
func (c *Cgroup) enterUnit(s Systemd) error {
	p := c.pending
	group, err := s.ControlGroup(p.unit.name)
	if err != nil {
		return err
	}
	dir := c.tree.dirOf(group)
	if dir == "" || filepath.Base(dir) != p.unit.name {
		return fmt.Errorf("find the cgroup of %s: systemd says %q, which the tree at %s does not show", p.unit.name, group, c.tree.Mount)
	}
	opened, err := openDir(dir)
	if err != nil {
		return err
	}
	c.dir, c.ref = opened.dir, opened.ref
	c.ref.Unit, c.ref.User = p.unit.name, p.unit.user
	if err = c.unitLimits(p.files, p.cfg.Resources); err == nil {
		err = c.devices(p.cfg)
	}
	if err != nil {
		c.dir.Close()
		c.dir, c.ref = nil, Ref{}
	}
	return err
}

// unitLimits writes the files of a scope. Its controllers are systemd's to
// enable, so that a missing one is an error.
func (c *Cgroup) unitLimits(files []File, r *specs.LinuxResources) error {
	if err := c.lacks(files); err != nil {
		return err
	}
	files, err := Files(r, c.facts())
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := c.set(f); err != nil {
			return err
		}
	}
	return nil
}

// lacks names the first file whose controller the scope does not have.
func (c *Cgroup) lacks(files []File) error {
	s, err := c.read("cgroup.controllers")
	if err != nil {
		return err
	}
	missing := without(controllers(files), strings.Fields(s))
	if len(missing) == 0 {
		return nil
	}
	e := &enableError{dir: filepath.Dir(c.ref.Path), names: missing, err: unix.EACCES}
	c.tree.Offered = sortedFields(s)
	return &FieldError{Field: e.field(files), Reason: "cannot be enforced: " + e.Error(), kind: ErrUnsupported, hint: c.tree.hint(currentHost(), e)}
}

// applyUnit changes the limits of a scope: its properties, then the files. The
// properties are put back when a file is refused.
func (c *Cgroup) applyUnit(files []File, last func() error) error {
	if err := c.lacks(files); err != nil {
		return err
	}
	old := make([]File, 0, len(files))
	for _, f := range files {
		s, _ := readAt(c.dir, f.Name)
		if v, ok := before(f, s); ok {
			old = append(old, File{Name: f.Name, Value: v})
		}
	}
	return c.manager(context.Background(), c.ref.User, func(s Systemd) error {
		version, err := s.Version()
		if err != nil {
			return err
		}
		if err := s.Update(c.ref.Unit, limitProperties(files, version)); err != nil {
			return fmt.Errorf("change %s: %w", c.ref.Unit, err)
		}
		if err := c.setAll(files, last); err != nil {
			if e := s.Update(c.ref.Unit, limitProperties(old, version)); e != nil {
				err = both(err, fmt.Errorf("put the properties of %s back: %w", c.ref.Unit, e))
			}
			return err
		}
		return nil
	})
}

// attach moves a process into the cgroup by systemd's hand: from a login
// session, whose cgroup is not ours, the kernel does not let us.
func (c *Cgroup) attach(pid int) error {
	unit, below, user := c.ref.Unit, "/", c.ref.User
	if unit == "" {
		unit, user = c.ref.Scope, true
		_, rel, ok := strings.Cut(c.ref.Path+"/", "/"+unit+"/")
		if !ok {
			return fmt.Errorf("attach process %d: %s is not below %s", pid, c.ref.Path, unit)
		}
		below += strings.TrimSuffix(rel, "/")
	}
	return c.manager(context.Background(), user, func(s Systemd) error {
		if err := s.Attach(unit, below, pid); err != nil {
			return fmt.Errorf("attach process %d to %s: %w", pid, unit, err)
		}
		return nil
	})
}

// stopUnit forgets the scope. One that is empty has mostly gone by itself, and
// without systemd there is nothing to tell.
func (c *Cgroup) stopUnit(ctx context.Context) {
	_ = c.manager(ctx, c.ref.User, func(s Systemd) error { return s.Stop(c.ref.Unit) })
}
