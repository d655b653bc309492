package engine

import (
	"errors"
	"fmt"
	"path/filepath"

	"coracle/cgroupv2"
	"coracle/spec"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// limited says whether the container needs a cgroup for what was asked for.
func (r *run) limited() bool {
	l := r.result.Spec.Linux
	return l.Resources != nil || l.CgroupsPath != ""
}

// typedLimits are limits for the record; nil where nothing was typed.
func typedLimits(l spec.Limits) *spec.Limits {
	if !l.Given() {
		return nil
	}
	return &l
}

// limitsOf are those that a container has now.
func (c Container) limitsOf() spec.Limits { return deref(c.Limits) }

// updateLimits changes the limits of a container whose record is locked: those in
// force, if it runs, then what the next start reads. When that cannot be written
// those in force get their old values back.
func (e *Engine) updateLimits(c *Container, typed spec.Limits) error {
	old := c.limitsOf()
	now := old.Update(typed)
	asked, _, err := now.Resources(hostFacts{})
	if err != nil {
		return err
	}
	rt := e.runtimeOf(c.ID)
	rt.FlagOf = now.Flag
	st, err := rt.Load(c.ID)
	switch {
	case errors.Is(err, spec.ErrNotExist):
		st, err = nil, nil
	case err != nil:
		return err
	default:
		if err = st.ChangeLimits(old, now, hostFacts{}); errors.Is(err, spec.ErrNotRunning) {
			st, err = nil, nil
		}
	}
	if err != nil {
		return err
	}
	if err := e.writeLimits(c.ID, asked); err != nil {
		if st != nil {
			err = errors.Join(err, st.ChangeLimits(now, old, hostFacts{}))
		}
		return err
	}
	c.Limits = &now
	return nil
}

// writeLimits puts limits into a container's config.json.
func (e *Engine) writeLimits(id string, r *specs.LinuxResources) error {
	path := filepath.Join(e.containerDir(id), "config.json")
	s, err := spec.LoadBundle(filepath.Dir(path))
	if err == nil && s.Linux == nil {
		err = errors.New("it has no linux section")
	}
	if err != nil {
		return fmt.Errorf("change %s: %w", path, err)
	}
	s.Linux.Resources = r
	data, err := spec.EncodeConfig(s)
	if err != nil {
		return fmt.Errorf("change %s: %w", path, err)
	}
	return replaceFile(path, data, 0o644, true)
}

// currentLimits takes over what update has changed since the container was made.
func (r *run) currentLimits() error {
	c, err := readRecord(r.box.dir)
	if err != nil || c.Limits == nil {
		return err
	}
	r.o.Limits = *c.Limits
	l := r.result.Spec.Linux
	l.Resources, r.result.Implied, err = c.Limits.Resources(hostFacts{})
	if r.result.NoCgroup {
		r.result.Implied = nil
	}
	return err
}

// explainUpdate names the flag that asked for what cannot be had.
func explainUpdate(op string, l spec.Limits, err error) error {
	var field *cgroupv2.FieldError
	if errors.As(err, &field) {
		return explainLimit(spec.Options{Limits: l}, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}

// limits are those in force, of a container that runs, and else those of its next
// start; and the default ones that it could not have, with the reason.
func (in inspector) limits() (had *specs.LinuxResources, unlimited []string) {
	asked, implied, err := in.c.limitsOf().Resources(hostFacts{})
	if err != nil { // a disk that is gone
		asked = in.s.Linux.Resources
	}
	if in.p.Result.NoCgroup {
		implied = nil
	}
	if !in.c.Running() {
		return spec.WithImplied(asked, implied), nil
	}
	st, err := in.e.runtimeOf(in.c.ID).Load(in.c.ID)
	if err != nil {
		return asked, nil
	}
	if st.Cgroup.Path == "" {
		return asked, st.Unlimited
	}
	return spec.WithImplied(asked, st.Had(implied)), st.Unlimited
}

// defaultLimits foresees what a container in the background gets of the limits that
// nobody asks for: the reasons why it would not.
func (e *Engine) defaultLimits() (unlimited []string, err error) {
	_, implied, err := spec.Limits{}.Resources(hostFacts{})
	if err != nil {
		return nil, err
	}
	rt := &spec.Runtime{AutoCgroup: e.manager == "" || e.manager == managerAuto, Systemd: e.manager == managerSystemd, Lasting: true, NoCgroup: e.manager == managerDisabled}
	seen, err := rt.ForeseeCgroup("check", "", nil, implied, false)
	if err == nil && seen.None != "" && len(seen.Unlimited) == 0 {
		seen.Unlimited = []string{seen.None}
	}
	return seen.Unlimited, err
}
