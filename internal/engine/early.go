package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"coracle/cgroupv2"
	"coracle/internal/begin"
	"coracle/spec"

	"golang.org/x/sys/unix"
)

// early is what a container has before all else: its cgroup, and running/ID, which
// names that for whoever clears up after a launcher that was killed.
type early struct {
	lock   *os.File // nil: somebody else gives it back
	note   begin.Note
	cgroup *spec.LimitedCgroup
}

// outline is what the container's start can begin with: its cgroup, that of one in
// the foreground where a limit needs it, and its first process in the namespaces
// that most have. The kernel takes as long over these as we over the
// configuration; if it turns out that others are wanted, the runtime makes another.
func (r *run) outline() (begin.Plan, error) {
	o, p := r.o, begin.Plan{ID: r.id, OnlyLimits: !r.o.Detached(), Lasting: r.o.Detached()}
	p.Auto = r.manager == "" || r.manager == managerAuto
	writable := slices.ContainsFunc(o.SecurityOpt, func(o string) bool { return strings.HasPrefix(o, "writable-cgroups") })
	none := o.Cgroups == "disabled" || r.manager == managerDisabled
	if !none && o.CgroupParent == "" && o.Systemd != "always" && !writable && r.manager != managerSystemd {
		p.Cgroup = true // else it comes later
		var err error
		if p.Asked, p.Implied, err = o.Limits.Resources(hostFacts{}); err != nil {
			return p, err
		}
	}
	usual := func(mode string) bool { return mode == "" || mode == "private" || mode == "none" }
	p.Namespaces = (p.Cgroup || none) && usual(o.PID) && usual(o.IPC) && usual(o.UTS) &&
		(usual(o.Network) || strings.HasPrefix(o.Network, "builtin") || named(o.Network)) && !strings.HasPrefix(o.Userns.Userns, ofContainer)
	return p, nil
}

// begin carries out the plan of a container in the foreground. Limits that cannot
// be had are an error at this moment, before anything has started.
func (r *run) begin(ctx context.Context) error {
	if r.o.DryRun {
		return nil
	}
	p, err := r.outline()
	if err != nil {
		return err
	}
	r.tried = p.Cgroup
	begun, err := p.Begin(ctx, r.noteCgroup)
	if begun.Cgroup == nil || begun.Cgroup.Path() == "" {
		r.leaveEarly()
	} else {
		r.early.cgroup = begun.Cgroup
	}
	r.newborn, r.unlimited = begun.Newborn, begun.Unlimited
	return explainLimit(r.o.Options, err)
}

// noteCgroup writes down where the cgroup will be.
func (r *run) noteCgroup(path string) error {
	e := r.early
	if e == nil {
		lock, err := r.e.claim(r.id, "")
		if err != nil {
			return fmt.Errorf("make the container: %w", err)
		}
		e = &early{lock: lock, note: begin.Note{Dir: r.e.ownRunDir(r.id), Launcher: begin.Self()}}
		r.early = e
	}
	e.note.Cgroup = path
	return e.note.Write(e.lock)
}

// newBox makes the container's box, with the lock that it has already.
func (r *run) newBox(ctx context.Context, c Container) (*box, error) {
	if r.early == nil {
		return r.e.newBox(ctx, c, r.o.Replace)
	}
	r.e.sweep(ctx)
	r.early.note.Image = c.ImageID.String()
	if err := r.early.note.Write(r.early.lock); err != nil {
		return nil, err
	}
	lock := r.early.lock
	r.early.lock = nil // the box gives it back
	return r.e.newHeldBox(ctx, c, lock, r.o.Replace)
}

// earlyCgroup hands the cgroup to the start.
func (r *run) earlyCgroup() *spec.LimitedCgroup {
	if r.early == nil {
		return nil
	}
	return r.early.cgroup
}

// leaveEarly gives back what is still there: all of it where no container came
// about, the cgroup of one that has ended.
func (r *run) leaveEarly() {
	e := r.early
	if e == nil {
		return
	}
	r.early = nil
	if err := dropCgroup(context.Background(), r.id, e.note.Cgroup); err != nil {
		r.e.warn(err.Error(), "the next start tries again")
		if e.lock != nil {
			e.lock.Close() // running/ID stays, and says where it is
		}
		return
	}
	if e.lock != nil {
		r.e.unclaim(r.id, e.lock)
	}
}

// dropCgroup removes the cgroup of a container that has ended, and what is left
// in there. One that is gone needs nothing.
func dropCgroup(ctx context.Context, id, path string) error {
	if path == "" || filepath.Base(path) != "coracle-"+id {
		return nil
	}
	if unix.Rmdir(path) == nil {
		return nil
	}
	cg, err := cgroupv2.Open(cgroupv2.Ref{Path: path, Made: 1})
	if errors.Is(err, cgroupv2.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer cg.Close()
	if err := cg.Kill(ctx); err != nil && !errors.Is(err, cgroupv2.ErrGone) {
		return err
	}
	return cg.Remove(ctx)
}
