package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"coracle/internal/plainfile"
	"coracle/internal/plainjson"

	"golang.org/x/sys/unix"
)

func writeJSON(path string, v any, sync bool) error {
	data, err := plainjson.Encode(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return replaceFile(path, append(data, '\n'), 0o600, sync)
}

// replaceFile replaces path in one step; with sync it survives a power cut.
func replaceFile(path string, data []byte, mode uint32, sync bool) error {
	tmp, flags := path+".tmp", unix.O_TRUNC
	if sync {
		flags |= unix.O_SYNC
	}
	err := plainfile.Write(tmp, data, mode, flags)
	if err == nil {
		err = unix.Rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
		full := errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
		if full && overwriteFile(path, data) == nil {
			return nil
		}
		return fmt.Errorf("write %s: %w", path, err)
	}
	if !sync {
		return nil
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// overwriteFile is for where there is no room for a second file: a payload that
// has filled the disk is not to hide how it ended. It writes within the blocks
// that the file has, in one call, so that a reader sees the old or the new; what
// follows a shorter JSON document are spaces.
func overwriteFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	return overwrite(f, data)
}

func overwrite(f *os.File, data []byte) error {
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, int64(len(data))); err != nil {
		return err
	}
	padded := append(slices.Clone(data), bytes.Repeat([]byte{' '}, max(0, int(st.Size())-len(data)))...)
	if _, err := f.WriteAt(padded, 0); err != nil {
		return err
	}
	return errors.Join(f.Truncate(int64(len(data))), f.Sync())
}

// createFile writes --cidfile, which must not exist.
func createFile(what, path, content string) error {
	err := plainfile.Write(path, []byte(content), 0o644, unix.O_EXCL)
	if errors.Is(err, fs.ErrExist) {
		return &Error{Op: "write the " + what, Err: fmt.Errorf("%s exists", path), Help: "remove it, or name another file"}
	}
	if err != nil {
		return fmt.Errorf("write the %s: %w", what, err)
	}
	return nil
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := plainjson.Decode(data, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
