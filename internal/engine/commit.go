package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"coracle/fuse"
	"coracle/images"
	"coracle/images/layer"
	"coracle/spec"

	"golang.org/x/sys/unix"
)

// CommitOptions are one `coracle commit`.
type CommitOptions struct {
	NewImage
	Pause bool // freeze the container meanwhile
}

// NewImage is what commit and pack are told of the image that they make.
type NewImage struct {
	Name    string // "" for none
	Author  string
	Message string
	Changes []string
	Squash  bool // one layer with everything

	Created *time.Time // of the image; nil for now
	Clamp   bool       // no file is younger than Created; else, with Created, all have that time
}

// options are those of the store, where by has made the layer.
func (n NewImage) options(by string, base *images.Image) images.CommitOptions {
	o := images.CommitOptions{Name: n.Name, Author: n.Author, Message: n.Message, Changes: n.Changes, Squash: n.Squash, By: by, Base: base, Time: time.Now()}
	if n.Created != nil {
		o.Time = *n.Created
	}
	return o
}

// makeImage stores the layer that w writes, and the image.
func (e *Engine) makeImage(ctx context.Context, store *images.Store, o images.CommitOptions, w *changes) (*images.Image, error) {
	o.Layer = w.write
	img, err := store.Commit(ctx, o)
	for _, n := range w.notes {
		e.warn(n, "")
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return img, err
}

// Commit makes an image of what a container has changed in its own.
func (e *Engine) Commit(ctx context.Context, name string, o CommitOptions) (*images.Image, error) {
	h, err := e.hold(ctx, name, o.Pause)
	if err != nil {
		return nil, err
	}
	defer h.release()
	p, err := e.readBlueprint(h.c.ID)
	if err != nil {
		if isNotFound(err) && h.c.Remove {
			err = &Error{Op: "commit container " + h.c.Name, Err: errors.New("it is removed when its command ends, and what it was made of is written down nowhere"), Help: "start it with --detach, or without --rm"}
		}
		return nil, err
	}
	if p.Root.Host {
		return nil, &Error{Op: "commit container " + h.c.Name, Err: errors.New("its root is the host's own"), Help: "start it from an image"}
	}
	store, err := e.store()
	if err != nil {
		return nil, err
	}
	co := o.options(strings.Join(h.c.Command, " "), nil)
	co.Platform = p.Options.Platform
	if p.Root.ImageID != "" {
		if co.Base, err = store.Lookup(p.Root.ImageID.String()); err != nil {
			return nil, err
		}
	}
	insp := inspector{e: e, c: h.c, p: p, s: p.Result.Spec, dir: e.containerDir(h.c.ID)}
	co.Edit = func(s *images.Settings) { bake(s, insp) }
	work, err := e.changesOf(ctx, h, p, o, co.Base == nil || o.Squash)
	if err != nil {
		return nil, fmt.Errorf("commit container %s: %w", h.c.Name, err)
	}
	defer work.close()
	img, err := e.makeImage(ctx, store, co, work)
	if err != nil {
		return nil, fmt.Errorf("commit container %s: %w", h.c.Name, err)
	}
	e.emit(h.c.event("commit"), imageEvent("commit", img.ID.Encoded(), o.Name))
	return img, nil
}

// held is a container that does not change its state while something is done to it.
type held struct {
	c    Container
	undo func() // nil: done
}

// release lets it go, once.
func (h *held) release() {
	if h.undo != nil {
		h.undo()
	}
	h.undo = nil
}

// hold keeps a container that does not run from being started. One that runs is
// frozen if that is wanted.
func (e *Engine) hold(ctx context.Context, name string, pause bool) (*held, error) {
	for try := 0; ; try++ {
		c, err := e.find(name)
		if err != nil {
			return nil, err
		}
		h := &held{c: c}
		switch {
		case c.Status == Running && pause:
			err = e.Pause(ctx, c.ID)
			h.undo = func() { _ = e.Unpause(c.ID) } // it may have been killed
		case c.Running():
		default:
			var lock *os.File
			lock, err = e.claim(c.ID, c.ImageID)
			h.undo = func() { e.unclaim(c.ID, lock) }
		}
		if err == nil {
			return h, nil
		}
		h.undo = nil
		busy := errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, spec.ErrNotExist) || errors.Is(err, spec.ErrNotRunning)
		if !busy || try == 100 || ctx.Err() != nil {
			return nil, err
		}
		time.Sleep(20 * time.Millisecond) // it is just starting or ending
	}
}

// bake makes what a container was started with the image's own, as docker and
// podman do. What this program adds to every environment is none of it.
func bake(s *images.Settings, in inspector) {
	o, c := in.p.Options, in.config()
	s.Cmd, s.Entrypoint = c.Cmd, c.Entrypoint
	if o.User != "" {
		s.User = o.User
	}
	if o.Workdir != "" {
		s.WorkingDir = o.Workdir
	}
	if o.StopSignal != "" {
		s.StopSignal = c.StopSignal
	}
	for _, word := range o.Env {
		name, _, given := strings.Cut(word, "=")
		for _, have := range c.Env {
			if k, v, _ := strings.Cut(have, "="); k == name {
				s.SetEnv(name, v)
				given = false
			}
		}
		if _, v, _ := strings.Cut(word, "="); given {
			s.SetEnv(name, v)
		}
	}
	if len(in.c.Labels) > 0 {
		s.Labels = in.c.Labels
	}
	for _, port := range in.p.Result.Ports {
		s.Expose(port)
	}
	if h := in.p.Health; h != nil && o.Health.asked() {
		s.Healthcheck = h.ofImage()
	}
}

// changes is the writing of a layer, by a process with the container's ids.
type changes struct {
	req   changesRequest
	call  func(filesRequest, ...*os.File) (filesReply, error)
	close func()
	notes []string
}

func (w *changes) write(to *os.File) (int64, error) {
	reply, err := w.call(filesRequest{Op: "changes", Changes: w.req}, to)
	w.notes = reply.Notes
	return reply.Count, err
}

// changesOf prepares the layer of a container; whole is one of all its files.
func (e *Engine) changesOf(ctx context.Context, h *held, p blueprint, o CommitOptions, whole bool) (*changes, error) {
	w := &changes{req: changesRequest{Leave: leaveOurs(p), Time: o.Created, Clamp: o.Clamp, Record: p.IDs.Base.Single(), Whole: whole}}
	if whole {
		if err := e.keepImages(&w.req.Leave, h.c, p); err != nil {
			return nil, err
		}
	}
	if whole && p.Root.Meta != "" { // the data is not where the names are: as it is mounted
		if !h.c.Running() {
			h.release() // who opens the files holds it
		}
		v, err := e.openFiles(ctx, h.c.ID, true)
		if err != nil {
			return nil, err
		}
		w.req.Root, w.call, w.close = true, v.call, v.close
		return w, nil
	}
	dirs, err := e.ownLayers(ctx, h.c, p)
	if err != nil {
		return nil, err
	}
	w.req.Marked = dirs.marked
	w.req.Is, w.req.From, w.req.Was = len(dirs.is), dirs.from, len(dirs.all)-dirs.from
	if whole {
		w.req.Was = 0
	}
	client, err := startFiles(ctx, p.IDs.Map, dirs.all...)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = client.child.Kill() })
	w.call, w.close = client.call, func() { stop(); client.close() }
	return w, nil
}

// ownLayers are the directories that a container's root is made of.
type ownLayers struct {
	all    []string
	is     []string // the root
	from   int      // where in all the image's begin
	marked bool
}

func (e *Engine) ownLayers(ctx context.Context, c Container, p blueprint) (ownLayers, error) {
	var out ownLayers
	dir := e.containerDir(c.ID)
	root, err := e.rebuild(&box{Container: c, e: e, dir: dir}, p).root.choose(ctx, dir, false)
	if err != nil {
		return out, err
	}
	lowers := p.Root.Lowers
	if p.Root.Meta != "" {
		lowers = []string{p.Root.Meta} // which has all names
	}
	own := filepath.Join(dir, "upper")
	if root.Kind == fuse.Copy {
		own = root.Source
	}
	if _, err := os.Lstat(own); isNotFound(err) || p.Root.Direct != "" { // it never ran
		out.all, out.is = lowers, lowers
		return out, nil
	}
	out.all, out.from = append([]string{own}, lowers...), 1
	out.is, out.marked = out.all, root.Driver == fuse.DriverFuse
	if root.Kind == fuse.Copy {
		out.is = out.all[:1]
	}
	return out, nil
}

// leaveOurs are the paths that a start makes: see withoutOurs.
func leaveOurs(p blueprint) layer.Leave {
	l := layer.Leave{Alone: slices.Clone(ourPaths[:])}
	for _, m := range p.Result.Spec.Mounts {
		if dest := path.Clean("/" + m.Destination); dest != "/" {
			l.Trees = append(l.Trees, dest)
		}
	}
	return l
}

// keepImages takes out of l what the image has itself: an image without /proc
// cannot be run by everybody.
func (e *Engine) keepImages(l *layer.Leave, c Container, p blueprint) error {
	src := e.rebuild(&box{Container: c, e: e, dir: e.containerDir(c.ID)}, p).root
	if src.direct != "" {
		src.lowers = []string{src.direct}
	}
	if err := src.open(); err != nil {
		return err
	}
	defer src.close()
	has := func(name string) bool {
		_, err := src.reader.Stat(name)
		return err == nil
	}
	l.Alone = slices.DeleteFunc(l.Alone, has)
	l.Trees = slices.DeleteFunc(l.Trees, has)
	return nil
}

// Timestamp is SOURCE_DATE_EPOCH or --timestamp as a time.
func Timestamp(seconds int64) *time.Time {
	t := time.Unix(seconds, 0).UTC()
	return &t
}
