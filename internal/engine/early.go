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
	"coracle/spec"

	"golang.org/x/sys/unix"
)

// early is what a container in the foreground has before all else: a cgroup that
// its first process is born in, and running/ID, which names that cgroup for
// whoever clears up after a launcher that was killed.
type early struct {
	lock   *os.File
	note   note
	cgroup *spec.LimitedCgroup
}

// beginCgroup makes the cgroup of a container in the foreground, where a limit
// needs one. Limits that cannot be had are an error at this moment, before
// anything has started.
func (r *run) beginCgroup() (*cgroupv2.Cgroup, error) {
	writable := slices.ContainsFunc(r.o.SecurityOpt, func(o string) bool { return strings.HasPrefix(o, "writable-cgroups") })
	if r.o.Cgroups == "disabled" || r.o.CgroupParent != "" || r.o.Systemd == "always" || writable || r.manager == managerSystemd || r.manager == managerDisabled {
		return nil, nil // later, or none
	}
	asked, implied, err := r.o.Limits.Resources(hostFacts{})
	if err != nil {
		return nil, err
	}
	r.tried = true
	if asked == nil && implied == nil {
		return nil, nil
	}
	rt := r.e.runtime(r.e.ownRunDir(r.id))
	rt.NoCgroup = false
	r.cgroupsBy(rt)
	cg, err := rt.NewCgroup(r.id, asked, implied, r.noteCgroup)
	if err != nil {
		r.leaveEarly()
		return nil, explainLimit(r.o.Options, err)
	}
	r.unlimited = cg.Unlimited
	if cg.Cgroup == nil || cg.Path() == "" {
		r.leaveEarly()
		return nil, nil
	}
	r.early.cgroup = cg
	return cg.Cgroup, nil
}

// noteCgroup writes down where the cgroup will be.
func (r *run) noteCgroup(path string) error {
	e := r.early
	if e == nil {
		lock, err := r.e.claim(r.id, "")
		if err != nil {
			return fmt.Errorf("make the container: %w", err)
		}
		e = &early{lock: lock, note: note{dir: r.e.ownRunDir(r.id), launcher: self()}}
		r.early = e
	}
	e.note.cgroup = path
	return e.write()
}

func (e *early) write() error {
	text := e.note.String()
	err := e.lock.Truncate(int64(len(text)))
	if err == nil {
		_, err = e.lock.WriteAt([]byte(text), 0)
	}
	if err != nil {
		return fmt.Errorf("make the container: %w", err)
	}
	return nil
}

// newBox makes the container's box, with the lock that it has already.
func (r *run) newBox(ctx context.Context, c Container) (*box, error) {
	if r.early == nil {
		return r.e.newBox(ctx, c, r.o.Replace)
	}
	r.e.sweep(ctx)
	r.early.note.image = c.ImageID.String()
	if err := r.early.write(); err != nil {
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
	if err := dropCgroup(context.Background(), r.id, e.note.cgroup); err != nil {
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
