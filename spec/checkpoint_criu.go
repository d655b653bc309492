package spec

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	criu "github.com/checkpoint-restore/go-criu/v8"
	"golang.org/x/sys/unix"
)

// dump is a pair of directories that CRIU works with.
type dump struct {
	images, work *os.File
	log          string
}

func openDump(o CheckpointOptions, log string, write bool) (*dump, error) {
	if _, err := exec.LookPath("criu"); err != nil {
		return nil, fmt.Errorf("checkpoint and restore need CRIU: %w", err)
	}
	if o.WorkPath == "" {
		o.WorkPath = o.ImagePath
	}
	for _, dir := range []string{o.ImagePath, o.WorkPath} {
		if !write && dir == o.ImagePath {
			continue
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the directory of the checkpoint: %w", err)
		}
	}
	d := &dump{log: log}
	var err error
	if d.images, err = openImages(o.ImagePath); err != nil {
		return nil, fmt.Errorf("open the checkpoint: %w", err)
	}
	if d.work, err = openImages(o.WorkPath); err != nil {
		d.images.Close()
		return nil, fmt.Errorf("open the directory of CRIU's logs: %w", err)
	}
	// What an earlier attempt said is no reason of this one.
	if err := os.Remove(filepath.Join(d.work.Name(), log)); err != nil && !errors.Is(err, os.ErrNotExist) {
		d.close()
		return nil, fmt.Errorf("remove CRIU's old log: %w", err)
	}
	return d, nil
}

// openImages opens a directory. CRIU reopens the descriptor through our
// /proc/PID/fd, so it need not be inherited.
func openImages(dir string) (*os.File, error) {
	return os.OpenFile(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

func (d *dump) close() {
	d.images.Close()
	d.work.Close()
}

// explain adds to an error what CRIU wrote about it: the first errors of its
// log, else its first lines, and where the rest is.
func (d *dump) explain(err error) error {
	if err == nil {
		return nil
	}
	path := filepath.Join(d.work.Name(), d.log)
	data, rerr := readSmall(path)
	if rerr != nil {
		return fmt.Errorf("criu: %w (it left no log: %v)", err, rerr) //nolint:errorlint // the first is the cause
	}
	return fmt.Errorf("criu: %w: %s (log: %s)", err, firstErrors(string(data)), path)
}

func firstErrors(log string) string {
	const most = 3
	var first, failed []string
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, "Error (") && len(failed) < most {
			failed = append(failed, line)
		}
		if line != "" && len(first) < most {
			first = append(first, line)
		}
	}
	if len(failed) > 0 {
		return strings.Join(failed, "; ")
	}
	return strings.Join(first, "; ")
}

// notices are what CRIU tells on its way.
type notices struct {
	criu.NoNotify
	born     func(pid int) error // the first process is there, alone and before its namespaces
	restored func(pid int) error // all is there and does not run yet
}

func (n *notices) SetupNamespaces(pid int32) error {
	if n.born == nil {
		return nil
	}
	return n.born(int(pid))
}

func (n *notices) PostRestore(pid int32) error {
	if n.restored == nil {
		return nil
	}
	return n.restored(int(pid))
}
