package ctrlog

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxFiles is the most that max-file takes, and where the search for rotated
// files ends.
const maxFiles = 1000

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
		if _, err := os.Lstat(path); isNotExist(err) {
			return files, nil // removed, or just being rotated: nothing is in the new one yet
		}
		closeAll(files)
	}
	return nil, errBusy
}

func openFiles(path string) (files []*os.File, err error) {
	var newestFirst []*os.File
	for n, gap := 0, false; n < maxFiles; n++ {
		f, err := openLog(rotated(path, n))
		switch {
		case isNotExist(err) && gap:
			n = maxFiles
		case isNotExist(err):
			gap = n > 0
		case err != nil:
			closeAll(newestFirst)
			return nil, err
		default:
			gap = false
			newestFirst = append(newestFirst, f)
		}
	}
	for i := len(newestFirst) - 1; i >= 0; i-- {
		files = append(files, newestFirst[i])
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
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
// in the row, or the oldest there is if f is no longer in it.
func following(f *os.File, path string) (*os.File, error) {
	for range lookAgain {
		at, last, gap := -1, 0, false
		for n := 0; n < maxFiles && at < 0; n++ {
			if sameFile(f, rotated(path, n)) {
				at = n
				break
			}
			if _, err := os.Lstat(rotated(path, n)); err == nil {
				last, gap = n, false
			} else if n > 0 {
				if gap {
					break
				}
				gap = true
			}
		}
		if at == 0 {
			return nil, io.EOF // it is the present one after all
		}
		next := last
		if at > 0 {
			next = at - 1
		}
		g, err := openLog(rotated(path, next))
		if isNotExist(err) && at > 1 {
			// A gap that a rotation is moving through; or one that stays.
			g, err = openLog(rotated(path, at-2))
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
