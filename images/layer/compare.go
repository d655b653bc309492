package layer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree is a root file system in layers, topmost first, as open directories
// (O_PATH will do). Without any it is empty.
type Tree struct {
	Layers []int
	// Marked: the topmost is the upper directory of fuse-overlayfs.
	Marked bool
	// Record: owners and devices are those that were recorded where only one id
	// is mapped (Stat).
	Record bool
}

// Kind says how a path of one tree relates to another.
type Kind byte

// Same is only told of files that belong to what has changed: directories on
// the way to it, and further names of a file that has one that is new.
const (
	Added   Kind = 'A'
	Changed Kind = 'C'
	Deleted Kind = 'D'
	Same    Kind = '='
)

// Leave says what a comparison does not look at. Paths are relative.
type Leave struct {
	Trees []string // with all that is below
	Alone []string // the path itself, but not what is in it
}

// Change is a path that differs.
type Change struct {
	Kind Kind
	Path string // relative, "." for the root
	file node   // what the new tree has; not for Deleted
}

// IsDir says whether the new tree has a directory there.
func (c Change) IsDir() bool { return c.Kind != Deleted && c.file.isDir() }

// Compare walks through two trees and tells what was different in the second,
// sorted by path. What both have from the same layers is not looked at, so a few
// changes over a large image are found in the time that they take.
//
// Files are the same when their type, mode, owner, attributes, links, size, time and
// content are. Content is only read where all the others are the same.
func Compare(ctx context.Context, was, is Tree, leave Leave, each func(Change) error) error {
	c := &comparer{ctx: ctx, leave: leave, each: each}
	return c.run(was, is)
}

// comparer is one comparison.
type comparer struct {
	ctx   context.Context // of one comparison: the walk is recursive
	leave Leave
	each  func(Change) error
	was,  // nil: an empty tree
	is *side
	quiet  []Change           // directories on the way that are as they were, unless something in them is not
	links  map[[2]uint64]bool // nil: nobody asks; files with several names: has one of them changed?
	survey bool               // only fill links
}

// side is one of the two trees.
type side struct {
	merged
	record []map[string]Stat // by layer; nil where nothing is recorded
}

func openSide(t Tree) (*side, error) {
	s := &side{merged: merged{lowers: t.Layers, strict: true, marked: t.Marked}}
	if !t.Record {
		return s, nil
	}
	for _, fd := range t.Layers {
		r, err := readStats(fd)
		if err != nil {
			return nil, err
		}
		s.record = append(s.record, r)
	}
	return s, nil
}

func (c *comparer) run(was, is Tree) error {
	var err error
	if c.was, err = openSide(was); err != nil {
		return err
	}
	if c.is, err = openSide(is); err != nil {
		return err
	}
	o, err := c.was.root()
	if err != nil {
		return fmt.Errorf("open the root: %w", err)
	}
	defer o.close()
	n, err := c.is.root()
	if err != nil {
		return fmt.Errorf("open the root: %w", err)
	}
	defer n.close()
	return c.dir(o, n)
}

// dir compares two directories; was is nil where there was none.
func (c *comparer) dir(was, is *mergedDir) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	names, err := c.names(was, is)
	if err != nil {
		return fmt.Errorf("list /%s: %w", is.name, err)
	}
	for _, name := range names {
		if err := c.entry(was, is, name); err != nil {
			return err
		}
	}
	return nil
}

// names are those that may differ: of the layers that only one of the two has.
// The common ones are the lowest.
func (c *comparer) names(was, is *mergedDir) ([]string, error) {
	var common int
	var olds []int
	if was != nil {
		olds = was.fds
		for common < min(len(olds), len(is.fds)) && sameInode(olds[len(olds)-1-common], is.fds[len(is.fds)-1-common]) {
			common++
		}
	}
	seen := map[string]bool{}
	var all []string
	add := func(d *mergedDir, s *side) error {
		for i, fd := range d.fds[:len(d.fds)-common] {
			names, err := listDir(fd)
			if err != nil {
				return err
			}
			for _, n := range names {
				if d.marked && d.layers[i] == 0 {
					n = named(n)
				}
				if n != "" && !seen[n] {
					seen[n] = true
					all = append(all, n)
				}
			}
		}
		return nil
	}
	if was != nil {
		if err := add(was, c.was); err != nil {
			return nil, err
		}
	}
	if err := add(is, c.is); err != nil {
		return nil, err
	}
	if common == 0 {
		for _, n := range c.is.devicesIn(is) {
			if !seen[n] {
				all = append(all, n)
			}
		}
	}
	slices.Sort(all)
	return all, nil
}

func sameInode(a, b int) bool {
	var x, y unix.Stat_t
	return unix.Fstat(a, &x) == nil && unix.Fstat(b, &y) == nil && inodeOf(&x) == inodeOf(&y)
}

// entry compares one name.
func (c *comparer) entry(wasDir, isDir *mergedDir, name string) error {
	path := joinName(isDir.name, name)
	if slices.Contains(c.leave.Trees, path) {
		return nil
	}
	is, err := c.is.node(isDir, name)
	defer is.close()
	gone := errors.Is(err, unix.ENOENT)
	if err != nil && !gone {
		return fmt.Errorf("look at /%s: %w", path, err)
	}
	was, missing := node{}, true
	if wasDir != nil {
		was, err = c.was.node(wasDir, name)
		defer was.close()
		missing = errors.Is(err, unix.ENOENT)
		if err != nil && !missing {
			return fmt.Errorf("look at /%s: %w", path, err)
		}
	}
	alone := slices.Contains(c.leave.Alone, path)
	switch {
	case gone && missing:
		return nil
	case gone && alone:
		return nil
	case gone:
		return c.say(Change{Kind: Deleted, Path: path})
	}
	return c.present(was, is, missing, alone, path)
}

// present is for a name that the new tree has.
func (c *comparer) present(was, is node, missing, alone bool, path string) error {
	change := Change{Kind: Changed, Path: path, file: is}
	switch {
	case alone:
		change.Kind = Same
	case missing:
		change.Kind = Added
	default:
		same, err := c.same(was, is)
		if err != nil {
			return fmt.Errorf("compare /%s: %w", path, err)
		}
		if same {
			change.Kind = Same
		}
	}
	if !is.isDir() {
		return c.file(change, alone)
	}
	if change.Kind == Same {
		c.quiet = append(c.quiet, change)
	} else if err := c.say(change); err != nil {
		return err
	}
	if err := c.dir(was.dir, is.dir); err != nil {
		return err
	}
	if n := len(c.quiet); n > 0 && c.quiet[n-1].Path == path {
		c.quiet = c.quiet[:n-1]
	}
	return nil
}

// file tells of what is no directory. Of one with several names all are told of
// when one has changed: else a reader would make two files of it.
func (c *comparer) file(change Change, alone bool) error {
	if alone {
		return nil
	}
	several := change.file.st.Nlink > 1 && c.links != nil
	inode := inodeOf(&change.file.st)
	if c.survey && several {
		c.links[inode] = c.links[inode] || change.Kind != Same
	}
	if change.Kind == Same && !(several && c.links[inode]) {
		return nil
	}
	return c.say(change)
}

func (c *comparer) say(change Change) error {
	if c.survey {
		return nil
	}
	for _, d := range c.quiet {
		if err := c.each(d); err != nil {
			return err
		}
	}
	c.quiet = c.quiet[:0]
	return c.each(change)
}

// IsOwn says whether a change is one in itself, and is not told of for others'.
func (c Change) IsOwn() bool { return c.Kind != Same }

// clean is a path as Leave wants it.
func clean(p string) string { return strings.Trim(p, "/") }
