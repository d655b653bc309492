package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"coracle/internal/hire"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// begin does what the orders say until the container can be started.
func (m *monitor) begin(ctx context.Context) error {
	conn := m.conn
	if conn.Lock == nil {
		return conn.Err
	}
	o := conn.First
	e, err := Open(Config{Root: o.Root, RunRoot: o.RunRoot, StorageDriver: o.Driver, Warn: m.warn})
	if err != nil {
		return err
	}
	ready := &run{e: e, id: o.ID, stub: func() (*os.File, error) { return nil, os.ErrClosed }}
	defer ready.close() // what is not taken over
	failed := conn.Err
	if failed == nil {
		failed = conn.Begin(ctx, false)
	}
	ready.newborn, ready.early = conn.Begun.Newborn, &early{note: conn.Note, cgroup: conn.Begun.Cgroup}
	for err == nil && !o.Go {
		o, err = conn.Next()
	}
	if err == nil {
		err = m.make(e, ready)
	}
	if err != nil {
		return err
	}
	if failed != nil { // said now, when it is known what was asked for
		failed = explainLimit(m.o.Options, failed)
		m.notStarted(failed)
		m.run.close()
		return failed
	}
	if files := conn.Files(); o.Client && len(files) > 0 {
		m.hub.join(files[0], attachRequest{Stdin: m.o.Interactive})
	}
	return nil
}

// make reads what the container was made from, and holds it from then on.
func (m *monitor) make(e *Engine, ready *run) error {
	id := ready.id
	c, err := readRecord(e.containerDir(id))
	if err != nil {
		return fmt.Errorf("start the container: %w", err)
	}
	b := &box{Container: c, e: e, dir: e.containerDir(id), rt: e.runtime(e.ownRunDir(id)), lock: m.conn.Lock}
	hire.Rename(b.Name)
	// What Go says when it crashes, and what else nobody is there to hear.
	if said, err := os.OpenFile(filepath.Join(b.dir, monitorLog), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err == nil {
		_ = unix.Dup3(int(said.Fd()), 2, 0)
		said.Close()
	}
	if err := e.makeRunRoot(); err != nil {
		return err
	}
	p, err := e.readBlueprint(id)
	if err != nil {
		return err
	}
	m.run = e.rebuild(b, p)
	m.run.stub = sync.OnceValues(userns.OpenStub)
	_ = m.run.openReport() // tried again, and told, when there is something to report
	if m.hub, err = newHub(b, m.o, m.warn); err != nil {
		return err
	}
	m.told = m.hub.tell
	if m.health != nil {
		m.checker = &checker{m: m, check: *m.health}
	}
	if m.door, err = openDoor(e, id, m); err != nil {
		return err
	}
	m.newborn, m.early = ready.newborn, ready.early
	ready.newborn, ready.early = nil, nil
	return nil
}
