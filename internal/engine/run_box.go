package engine

import (
	"context"
	"time"

	"coracle/internal/foreground"
	"coracle/internal/hire"
)

// makeBox makes the container with its directory; where that fails nothing is left.
func (r *run) makeBox(ctx context.Context) (err error) {
	c := r.container(r.id)
	if r.box, err = r.newBox(ctx, c); err != nil {
		return err
	}
	if err := r.root.stillThere(); err != nil {
		r.box.remove(ctx)
		return err
	}
	if !r.o.Detached() {
		r.streams, err = foreground.New(Stdio{Stdin: r.o.Stdin, Stdout: r.o.Stdout, Stderr: r.o.Stderr}, r.o.TTY, r.o.Interactive)
	}
	if r.ahead {
		err = r.hire()
	}
	if err == nil {
		err = r.configure(r.box.Name)
	}
	if err == nil {
		err = r.write()
	}
	if err == nil {
		err = r.markShared()
	}
	if err == nil {
		err = r.makeVolumes(ctx)
	}
	if err != nil {
		r.monitor.dismiss()
		r.box.remove(ctx)
	}
	return err
}

// hire has a monitor get ready while the container is made.
func (r *run) hire() (err error) {
	if r.monitor, err = r.box.hire(); err != nil || len(r.owners) > 0 {
		return err
	}
	p, err := r.outline()
	if err != nil || !p.Cgroup && !p.Namespaces {
		return err
	}
	p.Map = &r.ids.Map
	return r.monitor.tell(hire.Order{Plan: &p})
}

func (r *run) container(id string) Container {
	return Container{
		ID: id, Name: r.o.Name, Image: r.o.Image, ImageID: r.root.imageID,
		Created: time.Now().UTC(), Remove: r.o.Remove, Map: r.ids.Base, Status: Running,
		Detached: r.o.Detached(), Restart: r.o.Restart, Network: r.o.Network, Owners: r.owners, Limits: typedLimits(r.o.Limits),
	}
}
