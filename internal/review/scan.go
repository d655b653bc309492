package review

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"unicode/utf8"

	"coracle/images/layer"

	"golang.org/x/sys/unix"
)

// maxDepth bounds the directories that are open at once. A payload may nest them
// as it likes; what is deeper is refused, and goes with a discard.
const maxDepth = 200

const notHere = "its content is not in the sandbox's layer"

// Scan compares what the sandbox sees with what the host has now. Parents stand
// before what is in them. Files that were only touched are no changes.
func (s *Sandbox) Scan(ctx context.Context) ([]Change, error) {
	all, _, err := s.scan(ctx)
	return all, err
}

func (s *Sandbox) scan(ctx context.Context) ([]Change, *Index, error) {
	index, err := s.readIndex()
	if err != nil {
		return nil, nil, err
	}
	j, err := s.readJournal()
	if err != nil {
		return nil, nil, err
	}
	now := &Index{Version: Version}
	var out []Change
	for i, o := range s.Overlays {
		c := s.scanner(ctx, i)
		c.resuming = j != nil
		if j != nil && !j.KeepSetID {
			c.bits = 0o1777
		}
		if index != nil {
			c.index = &index.Overlays[i]
		}
		if c.marks, err = s.readMarks(i); err != nil {
			return nil, nil, err
		}
		if err := c.run(unix.AT_FDCWD, s.UpperDir(i), o); err != nil {
			return nil, nil, err
		}
		out = append(out, c.out...)
		now.Overlays = append(now.Overlays, IndexOverlay{Was: c.was})
	}
	return out, now, nil
}

// ScanInMemory is Scan for layers that are on the tmpfs and are to stay there: see Carry.
func (s *Sandbox) ScanInMemory(ctx context.Context, scratch *os.File, uppers []string) ([]Change, error) {
	var out []Change
	for i, upper := range uppers {
		c := s.scanner(ctx, i)
		if err := c.run(int(scratch.Fd()), upper, s.Overlays[i]); err != nil {
			return nil, err
		}
		out = append(out, c.out...)
	}
	return out, nil
}

func (s *Sandbox) scanner(ctx context.Context, i int) *scanner {
	return &scanner{ctx: ctx, since: s.Created.UnixNano(), root: s.Overlays[i].Path, overlay: i, was: map[string]Print{}, bits: 0o7777}
}

// scanner looks at one overlay.
type scanner struct {
	ctx     context.Context // of one scan: the walk is recursive
	since   int64           // when the sandbox began
	index   *IndexOverlay   // nil: it was killed
	root    string
	overlay int
	mount   uint64
	marks   marks
	out     []Change
	// After an apply that was interrupted some of the host's files are as it made them:
	// without set-id bits, and directories with other permissions for the time being.
	resuming bool
	bits     uint32
	was      map[string]Print
}

// place is a directory of both sides; lower is -1 where the host has none there.
type place struct {
	path         string
	upper, lower int
	opaque       bool
	depth        int
}

// run compares the directory upper, in the one that is open as at, with the host's.
func (c *scanner) run(at int, upper string, o Overlay) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("compare the sandbox's %s with the host's: %w", o.Path, err)
		}
	}()
	up, err := openat(at, upper, listable)
	if err != nil {
		return fmt.Errorf("open its changes: %w", err)
	}
	defer unix.Close(up)
	low, err := openat(unix.AT_FDCWD, o.Path, listable)
	if err != nil {
		return err
	}
	defer unix.Close(low)
	have, err := look(up, "")
	if err != nil {
		return err
	}
	host, err := look(low, "")
	if err != nil {
		return err
	}
	if o.Inode != 0 && host.st.Ino != o.Inode {
		return errors.New("it is another directory than the sandbox saw")
	}
	c.mount = host.mount
	p := place{path: ".", upper: up, lower: low, opaque: c.marks.isOpaque(".", up)}
	if err := c.directory(".", have, host, &p); err != nil {
		return err
	}
	return c.dir(p)
}

// dir compares all names of a directory that both sides have, or only the sandbox.
func (c *scanner) dir(p place) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	names, err := layer.ListDir(p.upper)
	if err != nil {
		return err
	}
	if p.opaque && p.lower >= 0 {
		more, err := layer.ListDir(p.lower)
		if err != nil {
			return err
		}
		names = append(names, more...)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if err := c.entry(p, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (c *scanner) entry(p place, name string) error {
	path := join(p.path, name)
	have, err := look(p.upper, name)
	if err != nil {
		return err
	}
	var host file
	if p.lower >= 0 {
		if host, err = look(p.lower, name); err != nil {
			return err
		}
	}
	if host.there {
		c.was[key(path)] = host.print()
	}
	if have.there && c.marks.isWhiteout(path, p.upper, name, &have.st) {
		have = file{}
	}
	switch {
	case len(path) >= unix.PathMax || p.depth >= maxDepth && have.is(Directory):
		c.add(Change{Kind: Created, Path: path, have: have, Refused: "its name is too long, or it lies too deep"})
		return nil
	case !have.there && !host.there:
		return nil
	case have.is(Directory):
		return c.subdirectory(p, name, have, host)
	case c.index != nil && c.index.Done[key(path)]:
		return nil
	case !have.there:
		return c.deleted(p, name, host)
	}
	return c.file(p, name, have, host)
}

func (c *scanner) subdirectory(p place, name string, have, host file) error {
	path := join(p.path, name)
	next := place{path: path, lower: -1, depth: p.depth + 1}
	var done func()
	var err error
	if next.upper, done, err = openOwn(p.upper, name, &have, listable); err != nil {
		return err
	}
	defer done()
	if elsewhere(next.upper) {
		ch := Change{Kind: Changed, Path: path, have: have, expected: host, Refused: notHere}
		if !host.there {
			ch.Kind = Created
		}
		c.add(ch)
		return nil
	}
	// In an opaque directory the kernel marks no further ones: they hide the host's as well.
	next.opaque = p.opaque || c.marks.isOpaque(path, next.upper)
	if host.is(Directory) {
		next.lower, err = beneath(p.lower, name, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			c.add(Change{Kind: Changed, Path: path, have: have, expected: host, Conflict: "the host's cannot be looked at: " + err.Error()})
			return nil
		}
		defer unix.Close(next.lower)
	}
	if err := c.directory(path, have, host, &next); err != nil {
		return err
	}
	if next.lower < 0 && host.there {
		next.opaque = false
	}
	return c.dir(next)
}

// directory is about one itself: that it is new, in the place of something else, or
// has other permissions.
func (c *scanner) directory(path string, have, host file, p *place) error {
	ch := Change{Kind: Created, Path: path, have: have, expected: host}
	if path == "." {
		c.was[path] = host.print()
	}
	switch {
	case c.index != nil && c.index.Done[key(path)]:
		return nil
	case host.is(Directory):
		ch.Kind = Changed
		attrs, err := otherAttrs(p.upper, p.lower)
		if err != nil {
			return err
		}
		if (have.perm()^host.perm())&c.bits == 0 && !attrs {
			return nil
		}
		ch.Attrs = attrs
		if was, known := c.wasPrint(path); known && was.Mode != host.st.Mode && !c.resuming {
			ch.Conflict = "the host has changed its permissions since"
		}
	case host.there:
		ch.Kind, ch.Content = Changed, true
		ch.Conflict = c.conflict(path, have, host)
	default:
		ch.Conflict = c.conflict(path, have, host)
	}
	c.add(ch)
	return nil
}

func (c *scanner) wasPrint(path string) (Print, bool) {
	if c.index == nil {
		return Print{}, false
	}
	p, ok := c.index.Was[key(path)]
	return p, ok
}

// add completes a change.
func (c *scanner) add(ch Change) {
	ch.Root, ch.overlay = c.root, c.overlay
	if ch.Now == nil {
		ch.Now = ch.have.side()
	}
	if ch.Was == nil {
		ch.Was = ch.expected.side()
	}
	if !utf8.ValidString(ch.Path) {
		ch.PathBytes = []byte(ch.Path)
	}
	ch.Flags = append(ch.Flags, risks(c.root, ch.Path)...)
	if n := ch.Now; n != nil && n.Type == File && n.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		ch.flag(FlagSetID, "whoever runs it acts as its owner or group")
	}
	c.out = append(c.out, ch)
}
