package ctrlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// maxFiles is the most that max-file takes, and where the search for rotated
// files ends.
const maxFiles = 1000

// maxGap is after how many missing files there are no more.
const maxGap = 3

// A rotation renames, one file at a time; somebody who looks meanwhile may find
// a gap, or one file under two names. So it is looked again after opening.
const lookAgain = 100

var errBusy = errors.New("the log is rotated faster than it can be opened")

// openLog opens one file of a log for reading. It may be anything by now.
func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return f, nil
}

// openAll opens all files of a log, the oldest first. There may be none.
func openAll(path string) ([]*os.File, error) {
	for range lookAgain {
		files, err := openFiles(path)
		if err != nil {
			return nil, err
		}
		if len(files) == 0 || sameFile(files[len(files)-1], path) {
			return files, nil
		}
		if !exists(path) {
			return files, nil // removed, or just being rotated: nothing is in the new one yet
		}
		closeAll(files)
	}
	return nil, errBusy
}

// openFiles opens what is there now. A rotation moves files up, from the last
// to the first, while we look from the first to the last: where the two meet
// there may be nothing, or what we have already.
func openFiles(path string) (files []*os.File, err error) {
	for n, missing := 0, 0; n < maxFiles && missing < maxGap; n++ {
		f, err := openLog(rotated(path, n))
		switch {
		case isNotExist(err):
			missing++
		case err != nil:
			closeAll(files)
			return nil, err
		case len(files) > 0 && same(files[len(files)-1], f):
			f.Close()
		default:
			files, missing = append(files, f), 0
		}
	}
	slices.Reverse(files)
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func same(f, g *os.File) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := g.Stat()
	return err == nil && os.SameFile(a, b)
}

// sameFile says whether path leads to the file that is open.
func sameFile(f *os.File, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(mine, there)
}

// following opens the file that was begun after f was full: the one before it
// in the row, or the oldest there is if f is no longer in it. io.EOF: f is the
// present one after all.
func following(f *os.File, path string) (*os.File, error) {
	for range lookAgain {
		at, last := place(f, path)
		if at == 0 {
			return nil, io.EOF
		}
		next := last
		if at > 0 {
			next = at - 1
		}
		g, err := openLog(rotated(path, next))
		if isNotExist(err) && at > 1 {
			// The gap that a rotation moves down through; or one that stays.
			if g, err = openLog(rotated(path, next-1)); err == nil && exists(rotated(path, next)) {
				g.Close()
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		if at < 0 || sameFile(f, rotated(path, at)) {
			return g, nil
		}
		g.Close()
	}
	return nil, errBusy
}

// place says which of the files f is, -1 for none, and which is the last of
// those that were looked at.
func place(f *os.File, path string) (at, last int) {
	for n, missing := 0, 0; n < maxFiles && missing < maxGap; n++ {
		switch {
		case sameFile(f, rotated(path, n)):
			return n, n
		case exists(rotated(path, n)):
			last, missing = n, 0
		default:
			missing++
		}
	}
	return -1, last
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
