package engine

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// diff is the stage's part of Diff. The first of its directories is the
// container's layer, the others are below; files are the pipe for the answer.
func (s *filesStage) diff(r diffRequest, files []*os.File) error {
	if len(files) != 1 || s.dirs < 2 {
		return errors.New("diff takes a pipe, a layer, and what is below")
	}
	upper, lower := firstDir, firstDir+1
	if r.Lower != nil {
		s.byDescriptor(r.Lower, 1)
		below := filesStage{root: -1}
		if err := below.open(r.Lower, nil); err != nil {
			return err
		}
		lower = below.root
	}
	out := bufio.NewWriterSize(files[0], packBuffer)
	d := &differ{enc: json.NewEncoder(out), lower: lower, marked: r.Marked}
	if err := d.dir(upper, "", true, d.opaque(upper)); err != nil {
		return err
	}
	return out.Flush()
}

// differ walks through an overlay's upper directory. What it has is added where
// nothing is below, else changed; what it hides is deleted.
type differ struct {
	enc    *json.Encoder
	lower  int
	marked bool
	quiet  []string // directories on the way that are as they were, unless something in them is not
}

func (d *differ) say(kind, path string) error {
	for _, dir := range d.quiet {
		if err := d.enc.Encode(Change{"C", dir}); err != nil {
			return err
		}
	}
	d.quiet = nil
	return d.enc.Encode(Change{kind, path})
}

// dir walks through a directory. below says that what is below shows through,
// or would, were it not opaque.
func (d *differ) dir(fd int, at string, below, opaque bool) error {
	names, err := namesIn(fd)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	if below && opaque {
		if err := d.hidden(at, names); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := d.entry(fd, at, name, below, opaque); err != nil {
			return err
		}
	}
	return nil
}

func (d *differ) entry(dir int, at, name string, below, opaque bool) error {
	const mark = ".wh."
	if hides, ok := strings.CutPrefix(name, mark); ok && d.marked {
		if strings.HasPrefix(hides, mark) || !below || opaque {
			return nil // it is about the directory itself, or hides nothing
		}
		return d.deleted(at + "/" + hides)
	}
	path := at + "/" + name
	fd, err := openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil // gone meanwhile
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if d.whiteout(fd, &st) {
		if !below || opaque {
			return nil // hidden has said so
		}
		return d.deleted(path)
	}
	var was unix.Stat_t
	if below {
		was = d.below(path)
	}
	isDir, wasDir, opaque := st.Mode&unix.S_IFMT == unix.S_IFDIR, was.Mode&unix.S_IFMT == unix.S_IFDIR, opaque || d.opaque(fd)
	switch {
	case was.Mode == 0:
		err = d.say("A", path)
	case isDir && wasDir && was.Mode == st.Mode && was.Uid == st.Uid && was.Gid == st.Gid && was.Mtim == st.Mtim:
		d.quiet = append(d.quiet, path)
	default:
		err = d.say("C", path)
	}
	if err != nil || !isDir {
		return err
	}
	err = d.dir(fd, path, wasDir, opaque)
	if n := len(d.quiet); n > 0 && d.quiet[n-1] == path {
		d.quiet = d.quiet[:n-1]
	}
	return err
}

func (d *differ) deleted(path string) error {
	if was := d.below(path); was.Mode == 0 {
		return nil // made and removed again
	}
	return d.say("D", path)
}

// hidden tells what an opaque directory hides and has not itself.
func (d *differ) hidden(at string, has []string) error {
	fd, err := openat2(d.lower, strings.TrimPrefix(at, "/"), unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return nil //nolint:nilerr // nothing is there
	}
	defer unix.Close(fd)
	names, err := namesIn(fd)
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	own := make(map[string]bool, len(has))
	for _, name := range has {
		own[name] = true
	}
	for _, name := range names {
		if own[name] {
			continue
		}
		if err := d.deleted(at + "/" + name); err != nil {
			return err
		}
	}
	return nil
}

// below is what is at a path below; its mode is 0 for nothing.
func (d *differ) below(path string) (st unix.Stat_t) {
	fd, err := openat2(d.lower, strings.TrimPrefix(path, "/"), unix.O_PATH|unix.O_NOFOLLOW, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return st
	}
	defer unix.Close(fd)
	if unix.Fstat(fd, &st) != nil || d.whiteout(fd, &st) {
		return unix.Stat_t{}
	}
	return st
}

// whiteout says whether a file stands for one that was deleted.
func (d *differ) whiteout(fd int, st *unix.Stat_t) bool {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		return st.Rdev == 0
	case unix.S_IFREG:
		return st.Size == 0 && attribute(fd, "user.overlay.whiteout") != ""
	}
	return false
}

// opaque says whether a directory hides what is below.
func (d *differ) opaque(fd int) bool {
	if attribute(fd, "user.overlay.opaque") == "y" {
		return true
	}
	if !d.marked {
		return false
	}
	var st unix.Stat_t
	return attribute(fd, "user.fuseoverlayfs.opaque") == "y" || unix.Fstatat(fd, ".wh..wh..opq", &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

func attribute(fd int, name string) string {
	var b [16]byte
	n, err := unix.Getxattr("/proc/self/fd/"+strconv.Itoa(fd), name, b[:])
	if err != nil {
		return ""
	}
	return string(b[:n])
}
