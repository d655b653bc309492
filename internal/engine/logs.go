package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"coracle/internal/ctrlog"
)

// LogsOptions are those of `coracle logs`.
type LogsOptions struct {
	Since, Until string // a time, or a duration: ctrlog.ParseTime
	Tail         int    // the last lines only; < 0 is all
	Follow       bool
	Timestamps   bool
	Names        bool // where there are several: names before the lines, not ids
	Color        bool

	Stdout, Stderr io.Writer
}

// Logs writes what containers have said, each line to the stream that it was
// said on. Nothing is written if one of them has no log.
func (e *Engine) Logs(ctx context.Context, names []string, o LogsOptions) error {
	read := ctrlog.ReadOptions{
		Tail: o.Tail, Follow: o.Follow, Timestamps: o.Timestamps,
		Warn: func(msg string) { e.warn(msg, "") },
	}
	var err error
	if o.Since != "" {
		if read.Since, err = ctrlog.ParseTime(o.Since, time.Now(), true); err != nil {
			return fmt.Errorf("--since: %w", err)
		}
	}
	if o.Until != "" {
		if read.Until, err = ctrlog.ParseTime(o.Until, time.Now(), false); err != nil {
			return fmt.Errorf("--until: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var logs []ctrlog.Log
	for i, name := range names {
		c, err := e.find(name)
		if err != nil {
			return err
		}
		if err := c.readableLog(); err != nil {
			return err
		}
		l := ctrlog.Log{Driver: c.LogDriver, Path: e.logPath(c)}
		if len(names) > 1 {
			if l.Prefix = fmt.Sprintf("%.12s ", c.ID); o.Names {
				l.Prefix = c.Name + " "
			}
		}
		if o.Color {
			l.Color = logColor(i)
		}
		if o.Follow {
			l.Over = e.over(ctx, c.ID)
		}
		logs = append(logs, l)
	}
	return ctrlog.Read(ctx, logs, read, o.Stdout, o.Stderr)
}

// logPath is where a container's log is. One of its own moves with the store.
func (e *Engine) logPath(c Container) string {
	if dir, file := filepath.Split(c.LogPath); filepath.Base(dir) == c.ID {
		return filepath.Join(e.containerDir(c.ID), file)
	}
	return c.LogPath
}

// readableLog says why there is nothing to be read of a container.
func (c Container) readableLog() error {
	op := "read the log of container " + c.Name
	switch c.LogDriver {
	case "":
		return &Error{
			Op: op, Err: errors.New("it runs in the foreground, and its output went where coracle run was started"),
			Help: "with coracle run -d, or --log-driver k8s-file, a container has a log",
		}
	case ctrlog.None:
		return &Error{Op: op, Err: errors.New("it was made with --log-driver none, so nothing was kept")}
	case ctrlog.Journald:
		return &Error{
			Op: op, Err: errors.New("it is in the journal"),
			Help: "journalctl -o cat CONTAINER_ID_FULL=" + c.ID,
		}
	}
	return nil
}

// logColor is the color of the i-th container's lines, as podman's.
func logColor(i int) string {
	return fmt.Sprintf("\x1b[%dm", []int{37, 31, 33, 34, 35, 36, 32}[i%7])
}

// over gives a channel that is closed when nobody holds the container any more:
// everything has been written then.
func (e *Engine) over(ctx context.Context, id string) <-chan struct{} {
	over := make(chan struct{})
	if !e.alive(id) {
		close(over)
		return over
	}
	go func() {
		defer close(over)
		look := time.NewTicker(100 * time.Millisecond)
		defer look.Stop()
		for e.alive(id) {
			select {
			case <-look.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return over
}
