package engine

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// takeName makes names/NAME point to the container. The link is the name: it
// is made in one step, so two containers cannot have it. A container that is
// removed when it ends, and that nobody named, gets a name without a link, which
// a part of its id keeps from being another's.
func (e *Engine) takeName(ctx context.Context, b *box, replace bool) error {
	given := b.Name != ""
	if !given && b.Remove {
		b.Name = randomName(0) + "_" + b.ID[:6]
		return nil
	}
	if given {
		return e.linkName(ctx, b.ID, b.Name, replace)
	}
	for try := range 50 {
		b.Name = randomName(try)
		if err := e.link(b.ID, b.Name); !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return errNameTaken("")
}

// linkName makes a name that was asked for point to a container.
func (e *Engine) linkName(ctx context.Context, id, name string, replace bool) error {
	for range 50 {
		if err := e.link(id, name); !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := e.freeName(ctx, name, replace); err != nil {
			return err
		}
	}
	return errNameTaken(" " + name)
}

func (e *Engine) link(id, name string) error {
	path := filepath.Join(e.root, "names", name)
	err := unix.Symlink(id, path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			err = unix.Symlink(id, path)
		}
	}
	if err != nil {
		return fmt.Errorf("name the container %s: %w", name, err)
	}
	return nil
}

func errNameTaken(name string) error {
	return &Error{Op: "name the container" + name, Err: errors.New("others take the name again and again"), Help: "choose another name"}
}

// freeName frees a name whose container is gone, or that is to be replaced.
func (e *Engine) freeName(ctx context.Context, name string, replace bool) error {
	id, err := os.Readlink(filepath.Join(e.root, "names", name))
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("name the container %s: %w", name, err)
	}
	if _, err := os.Lstat(e.containerDir(id)); isNotFound(err) {
		e.dropName(name, id)
		return nil
	}
	if !replace && e.letsGo(ctx, id) {
		return nil
	}
	if !replace {
		return &Error{Op: "name the container " + name, Err: fmt.Errorf("the name is in use by container %.12s", id),
			Help: "choose another name, add --replace, or type: coracle rm " + name}
	}
	c, err := e.load(id)
	if err != nil && !isNotFound(err) {
		return err
	}
	return e.removeFound(ctx, c.orYoung(id, name), true, false)
}

// letsGo says whether who holds the container lets go of it in a moment, as one
// whose launcher was just killed does: what the launcher has forked has its
// lock as well, and ends a little later.
func (e *Engine) letsGo(ctx context.Context, id string) bool {
	for range 20 {
		if unix.Access(e.runningFile(id), unix.F_OK) != nil {
			return false // it has ended as it should, and is kept
		}
		if !e.alive(id) {
			return e.sweepOne(ctx, id) == nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// dropName removes the name if it still is this container's. Names go only
// under this lock, so between the look and the removal it stays the same link.
func (e *Engine) dropName(name, id string) {
	dir := filepath.Join(e.root, "names")
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	defer lock.Close()
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX) != nil {
		return
	}
	link := filepath.Join(dir, name)
	if to, err := os.Readlink(link); err == nil && to == id {
		os.Remove(link)
	}
}

// dropNamesOf removes the names of a container that left no record of them.
func (e *Engine) dropNamesOf(id string) {
	links, err := os.ReadDir(filepath.Join(e.root, "names"))
	if err != nil {
		return
	}
	for _, l := range links {
		if to, err := os.Readlink(filepath.Join(e.root, "names", l.Name())); err == nil && to == id {
			e.dropName(l.Name(), id)
		}
	}
}

func sortNewest(all []Container) {
	order := make([]*Container, len(all)) // a record is large to move about
	for i := range all {
		order[i] = &all[i]
	}
	slices.SortFunc(order, func(a, b *Container) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	})
	sorted := make([]Container, len(all))
	for i, c := range order {
		sorted[i] = *c
	}
	copy(all, sorted)
}

// checkName accepts what docker and podman accept: [a-zA-Z0-9][a-zA-Z0-9_.-]*.
func checkName(name string) error {
	for i, r := range name {
		ok := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || i > 0 && strings.ContainsRune("_.-", r)
		if !ok {
			return &Error{Op: fmt.Sprintf("name the container %q", name), Err: errors.New("a name starts with a letter or digit, and has letters, digits, _ . - after it")}
		}
	}
	if len(name) > 200 {
		return &Error{Op: "name the container", Err: fmt.Errorf("a name of %d bytes is too long: 200 are allowed", len(name))}
	}
	return nil
}

// Small boats and how they may be.
const (
	boats = "barge bark brig canoe caravel catboat clipper cog coble currach cutter dhow dinghy dory felucca ferry gig gondola hoy jangada jolly junk kayak keelboat ketch knarr launch lugger packet pinnace pirogue pram proa punt raft sampan scow scull shallop skiff sloop smack snow tartane tender trawler trow umiak whaler wherry xebec yacht yawl"
	moods = "able agile amber bold brave brisk bright calm clear clever cool crisp deft eager early fair fast fine fleet fond free fresh gentle glad good grand happy hardy jolly keen kind lively loyal lucky merry mild neat noble plain proud quick quiet rapid ready sharp shiny silent smart snug solid stout sunny swift tidy trim true warm wise witty young"
)

// randomName is two words, and a number once those were taken.
func randomName(try int) string {
	name := pick(moods) + "_" + pick(boats)
	if try > 2 {
		name += fmt.Sprint(randomInt(1000))
	}
	return name
}

func pick(words string) string {
	list := strings.Fields(words)
	return list[randomInt(len(list))]
}

func randomInt(n int) int {
	v, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		return 0 // never: crypto/rand ends the process instead
	}
	return int(v.Int64())
}

// Rename gives a container another name.
func (e *Engine) Rename(ctx context.Context, name, to string) error {
	c, err := e.find(name)
	if err != nil {
		return err
	}
	if to == "" {
		return &Error{Op: "rename container " + c.Name, Err: errors.New("the new name is empty")}
	}
	if err := checkName(to); err != nil {
		return err
	}
	if to == c.Name {
		return &Error{Op: "rename container " + c.Name, Err: errors.New("that is its name already")}
	}
	if err := e.linkName(ctx, c.ID, to, false); err != nil {
		return err
	}
	was := ""
	now, err := e.change(c.ID, func(now *Container) { was, now.Name = now.Name, to })
	if err != nil {
		e.dropName(to, c.ID)
		if isNotFound(err) {
			return errNotFound(name)
		}
		return fmt.Errorf("rename container %s: %w", c.Name, err)
	}
	if was != to {
		e.dropName(was, c.ID)
	}
	e.emit(now.event("rename"))
	return nil
}
