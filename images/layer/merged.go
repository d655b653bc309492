package layer

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// merged reads the layers below as the overlay shows them, without mounting
// them: topmost first, whiteouts and opaque directories honoured, links followed
// inside the root.
type merged struct {
	lowers []int // open roots
	// The directory that was asked for last: what is looked up comes sorted,
	// more or less.
	lastName string
	last     *mergedDir
	strict   bool // links are not followed, as the overlay itself does not when it merges
	marked   bool // the topmost is one that fuse-overlayfs writes: see marks.go
}

// mergedDir is one directory of the merged tree: those of the layers that make
// it up, topmost first.
type mergedDir struct {
	fds    []int
	layers []int  // which layer each of them is of, 0 the topmost
	name   string // without links
	marked bool   // see merged
}

func (d *mergedDir) close() {
	for _, fd := range d.fds {
		unix.Close(fd)
	}
}

// forget is for when another kind of lookup follows.
func (m *merged) forget() {
	if m.last != nil {
		m.last.close()
	}
	m.last = nil
}

func (m *merged) close() {
	m.forget()
	for _, fd := range m.lowers {
		unix.Close(fd)
	}
}

// found is what stands at a name: a directory, or something else in one layer.
type found struct {
	dir   *mergedDir // nil when it is none
	dirfd int        // where base is, otherwise; good as long as its mergedDir
	layer int        // whose it is; of a directory, whose mode and owner
	st    unix.Stat_t
}

// child looks one name up. It is ENOENT when there is none.
func (d *mergedDir) child(base string) (found, error) {
	var f found
	sub := &mergedDir{name: joinName(d.name, base), marked: d.marked}
	for i, fd := range d.fds {
		marked := d.marked && d.layers[i] == 0
		if marked && hasMark(fd, base) {
			break
		}
		var st unix.Stat_t
		err := unix.Fstatat(fd, base, &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENAMETOOLONG) {
			continue
		}
		if err != nil {
			sub.close()
			return f, err
		}
		isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
		if isWhiteoutStat(fd, base, &st) || !isDir && len(sub.fds) > 0 {
			break
		}
		if !isDir {
			return found{dirfd: fd, layer: d.layers[i], st: st}, nil
		}
		n, err := openat(fd, base, openDir, 0)
		if err != nil {
			sub.close()
			return f, err
		}
		if len(sub.fds) == 0 {
			f.st, f.layer = st, d.layers[i]
		}
		sub.fds, sub.layers = append(sub.fds, n), append(sub.layers, d.layers[i])
		if opaque(n) == "y" || marked && markedOpaque(n) {
			break
		}
	}
	if len(sub.fds) == 0 {
		return f, unix.ENOENT
	}
	f.dir = sub
	return f, nil
}

func (m *merged) root() (*mergedDir, error) {
	d := &mergedDir{name: ".", marked: m.marked}
	for i, fd := range m.lowers {
		n, err := openat(fd, ".", openDir, 0)
		if err != nil {
			d.close()
			return nil, err
		}
		d.fds, d.layers = append(d.fds, n), append(d.layers, i)
	}
	return d, nil
}

// dir resolves a directory, following links. The result is m's, and good until
// the next call.
func (m *merged) dir(name string) (*mergedDir, error) {
	if m.last != nil && m.lastName == name {
		return m.last, nil
	}
	d, err := m.next(name)
	if err != nil {
		return nil, err
	}
	m.forget()
	m.last, m.lastName = d, name
	return d, nil
}

// next goes on from the last directory where that is the parent: what is
// looked up one after the other is most often that.
func (m *merged) next(name string) (*mergedDir, error) {
	if up, base := splitName(name); m.last != nil && m.lastName == up {
		if f, err := m.last.child(base); err != nil || f.dir != nil {
			return f.dir, err
		}
	}
	steps := 0
	return m.walk(name, &steps)
}

// walk counts its steps: going up means to walk again from the root, and links
// may go up as often as they like.
func (m *merged) walk(name string, steps *int) (*mergedDir, error) {
	at, err := m.root()
	if err != nil {
		return nil, err
	}
	links := 0
	for todo := strings.Split(name, "/"); len(todo) > 0; *steps++ {
		step := todo[0]
		todo = todo[1:]
		next, target, err := m.step(at, step, steps)
		if target != "" || step == ".." {
			if links++; target != "" && links > maxLinks || *steps > maxSteps {
				err = unix.ELOOP
			}
			todo = append(strings.Split(target, "/"), todo...)
		}
		if next != nil {
			at.close()
			at = next
		}
		if err != nil {
			at.close()
			return nil, err
		}
	}
	return at, nil
}

func (m *merged) step(at *mergedDir, step string, steps *int) (next *mergedDir, target string, err error) {
	switch step {
	case "", ".":
		return nil, "", nil
	case "..":
		up, _ := splitName(at.name) // no links in it, so this does not go deeper
		next, err = m.walk(up, steps)
		return next, "", err
	}
	f, err := at.child(step)
	if err != nil || f.dir != nil {
		return f.dir, "", err
	}
	if m.strict || f.st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return nil, "", unix.ENOTDIR
	}
	if target, err = readlinkat(f.dirfd, step); err == nil && strings.HasPrefix(target, "/") {
		next, err = m.root()
	}
	return next, target, err
}

// names lists everything in the directory that is not deleted.
func (d *mergedDir) names() ([]string, error) {
	var all []string
	seen := make(map[string]bool)
	for _, fd := range d.fds {
		names, err := listDir(fd)
		if err != nil {
			return nil, err
		}
		for _, n := range names {
			if seen[n] {
				continue
			}
			seen[n] = true
			if !isWhiteout(fd, n) {
				all = append(all, n)
			}
		}
	}
	return all, nil
}
