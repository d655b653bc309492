package review

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ApplyOptions say what is brought over, and how.
type ApplyOptions struct {
	Paths     []string // of the host, absolute: these, and what is in them; none: all
	Force     bool     // also where the host has changed the file since
	KeepSetID bool     // setuid and setgid bits of files
	// Pick asks about each change; nil takes all. With done nothing further is asked, nor taken.
	Pick func(Change) (take, done bool, err error)
	// Each is told of every change that has been brought over; may be nil.
	Each func(Change)
	// Note is told what could not be kept of a file; may be nil.
	Note func(string)
}

// Applied is what an apply has done.
type Applied struct {
	Done    []Change
	Refused []Change // special files and the like, which never are
	Left    int      // changes that were not chosen
}

// All is all that was chosen, in the order of the paths.
func (a Applied) All() []Change {
	all := slices.Concat(a.Done, a.Refused)
	slices.SortStableFunc(all, func(x, y Change) int {
		return cmp.Or(x.overlay-y.overlay, slices.Compare(strings.Split(x.Path, "/"), strings.Split(y.Path, "/")))
	})
	return all
}

// ConflictError refuses an apply before anything has been brought over.
type ConflictError struct{ Changes []Change }

func (e *ConflictError) Error() string {
	if len(e.Changes) == 1 {
		return fmt.Sprintf("%s: %s", quote(e.Changes[0].Path), e.Changes[0].Conflict)
	}
	return fmt.Sprintf("%d of the changes are to files that the host has changed since", len(e.Changes))
}

// Choose gives the changes that an apply with these options would bring over, those
// that it never does, and how many are left.
func (s *Sandbox) Choose(ctx context.Context, o ApplyOptions) (Applied, error) {
	all, _, err := s.scan(ctx)
	if err != nil {
		return Applied{}, err
	}
	return s.choose(all, o)
}

func (s *Sandbox) choose(all []Change, o ApplyOptions) (Applied, error) {
	take := make([]bool, len(all))
	if err := s.takePaths(all, take, o.Paths); err != nil {
		return Applied{}, err
	}
	if o.Pick != nil {
		if err := pick(all, take, o.Pick); err != nil {
			return Applied{}, err
		}
	}
	takeParents(all, take)
	var a Applied
	for i, ch := range all {
		switch {
		case !take[i]:
			a.Left++
		case ch.Refused != "":
			a.Refused = append(a.Refused, ch)
		default:
			a.Done = append(a.Done, ch)
		}
	}
	return a, nil
}

// takePaths marks what is at and below the paths.
func (s *Sandbox) takePaths(all []Change, take []bool, paths []string) error {
	if len(paths) == 0 {
		for i := range take {
			take[i] = true
		}
		return nil
	}
	for _, p := range paths {
		found := false
		for i, ch := range all {
			if within(filepath.Join(ch.Root, ch.Path), p) {
				take[i], found = true, true
			}
		}
		if !found {
			return fmt.Errorf("%s: the sandbox has changed nothing there", quote(p))
		}
	}
	return nil
}

func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// pick asks about all that is marked, but for new directories with something in them:
// they come along with it.
func pick(all []Change, take []bool, ask func(Change) (bool, bool, error)) error {
	ended := false
	for i, ch := range all {
		if !take[i] {
			continue
		}
		holds := i+1 < len(all) && all[i+1].overlay == ch.overlay && strings.HasPrefix(all[i+1].Path, ch.Path+"/")
		if ended || holds && ch.Kind == Created {
			take[i] = false
			continue
		}
		var err error
		if take[i], ended, err = ask(ch); err != nil {
			return err
		}
	}
	return nil
}

// takeParents marks the directories that have to be made for what is marked.
func takeParents(all []Change, take []bool) {
	type place struct {
		overlay int
		path    string
	}
	made := map[place]int{}
	for i, ch := range all {
		if ch.Now != nil && ch.Now.Type == Directory && (ch.Was == nil || ch.Was.Type != Directory) {
			made[place{ch.overlay, ch.Path}] = i
		}
	}
	for i, ch := range all {
		for dir := ch.Path; take[i] && dir != "."; {
			dir, _ = split(dir)
			if n, ok := made[place{ch.overlay, dir}]; ok {
				take[n] = true
			}
		}
	}
}

// Apply brings changes over to the host. The sandbox must be locked. If nothing is left
// then, the sandbox is gone; otherwise what was brought over is no change any more.
// After an error, or a kill, the next apply goes on.
func (s *Sandbox) Apply(ctx context.Context, o ApplyOptions) (Applied, error) {
	if s.lock == nil {
		return Applied{}, ErrRunning
	}
	if err := s.clean(); err != nil {
		return Applied{}, err
	}
	all, index, err := s.scan(ctx)
	if err != nil {
		return Applied{}, err
	}
	plan, err := s.choose(all, o)
	if err != nil {
		return Applied{}, err
	}
	if conflicts := conflicting(plan.Done); len(conflicts) > 0 && !o.Force {
		return Applied{}, &ConflictError{conflicts}
	}
	if len(plan.Done)+len(plan.Refused) == 0 && len(all) > 0 {
		return plan, nil
	}
	j, err := s.begin(plan.Done, o.KeepSetID)
	if err != nil {
		return Applied{}, err
	}
	a := &applier{s: s, o: o, temp: j.Temp, since: s.Created.UnixNano(), roots: make([]pair, len(s.Overlays))}
	defer a.close()
	done, err := a.run(ctx, plan.Done)
	if err != nil {
		return Applied{Done: done, Refused: plan.Refused, Left: plan.Left + len(plan.Done) - len(done)}, err
	}
	return plan, s.finish(ctx, plan, index)
}

func conflicting(all []Change) []Change {
	return slices.DeleteFunc(slices.Clone(all), func(c Change) bool { return c.Conflict == "" })
}

// finish writes down what has been brought over, or removes the layer.
func (s *Sandbox) finish(ctx context.Context, plan Applied, index *Index) error {
	if plan.Left == 0 {
		return s.Discard()
	}
	old, err := s.readIndex()
	if err != nil {
		return err
	}
	if old != nil {
		index = old
	}
	for _, ch := range slices.Concat(plan.Done, plan.Refused) {
		x := &index.Overlays[ch.overlay]
		if x.Done == nil {
			x.Done = map[string]bool{}
		}
		x.Done[key(ch.Path)] = true
	}
	if err := s.writeIndex(index, true); err != nil {
		return err
	}
	if err := os.Remove(s.journalPath()); err != nil {
		return err
	}
	// What was left may be all that other choices made void.
	all, _, err := s.scan(ctx)
	if err == nil && len(all) == 0 {
		return s.Discard()
	}
	return err
}

// pair is the two roots of an overlay.
type pair struct {
	open        bool
	upper, host int
	mount       uint64
}

// applier carries one apply out.
type applier struct {
	s     *Sandbox
	o     ApplyOptions
	temp  string
	since int64
	roots []pair
	last  []lateDir
	fewer map[inode]bool // they have lost a name by this apply
}

func (a *applier) close() {
	for _, r := range a.roots {
		if r.open {
			unix.Close(r.upper)
			unix.Close(r.host)
		}
	}
}

// root opens the directories of an overlay.
func (a *applier) root(i int) (pair, error) {
	if a.roots[i].open {
		return a.roots[i], nil
	}
	o := a.s.Overlays[i]
	up, err := openat(unix.AT_FDCWD, a.s.UpperDir(i), listable)
	if err != nil {
		return pair{}, err
	}
	host, err := openat(unix.AT_FDCWD, o.Path, listable)
	if err != nil {
		unix.Close(up)
		return pair{}, err
	}
	f, err := look(host, "")
	if err == nil && o.Inode != 0 && f.st.Ino != o.Inode {
		err = errors.New("it is another directory than the sandbox saw")
	}
	if err != nil {
		unix.Close(up)
		unix.Close(host)
		return pair{}, err
	}
	a.roots[i] = pair{true, up, host, f.mount}
	return a.roots[i], nil
}

// run brings over one change after the other, parents first, and gives directories
// their permissions and times at the end, the innermost first.
func (a *applier) run(ctx context.Context, all []Change) ([]Change, error) {
	for i, ch := range all {
		if err := ctx.Err(); err != nil {
			return all[:i], errors.Join(err, a.lateDirs())
		}
		if err := a.apply(ctx, ch); err != nil {
			return all[:i], errors.Join(fmt.Errorf("apply %s: %w", quote(filepath.Join(ch.Root, ch.Path)), err), a.lateDirs())
		}
		if a.o.Each != nil {
			a.o.Each(ch)
		}
	}
	if err := a.lateDirs(); err != nil {
		return all, err
	}
	// The layer goes next: what it had must be on the disk before.
	for _, r := range a.roots {
		if r.open {
			if err := unix.Syncfs(r.host); err != nil {
				return all, fmt.Errorf("sync: %w", err)
			}
		}
	}
	return all, nil
}

func (a *applier) note(format string, words ...any) {
	if a.o.Note != nil {
		a.o.Note(fmt.Sprintf(format, words...))
	}
}
