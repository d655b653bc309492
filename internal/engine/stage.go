package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"coracle/images/layer"
	"coracle/userns"

	"golang.org/x/sys/unix"
)

// store is the stage [coracle:store]: a process in a user namespace with the
// given map, chrooted into the store. It is started by the first request.
type storeStage struct {
	ctx  context.Context
	root string
	m    userns.Map

	mu     sync.Mutex
	client *layer.Client
	child  *userns.Child
}

func (e *Engine) stage(ctx context.Context, m userns.Map) *storeStage {
	return &storeStage{ctx: ctx, root: e.root, m: m}
}

func (s *storeStage) get() (*layer.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		return s.client, nil
	}
	root, err := os.Open(s.root)
	if err != nil {
		return nil, fmt.Errorf("start the store process: %w", err)
	}
	defer root.Close()
	child, conn, err := startStage(s.ctx, layer.StageName, s.m)
	if err != nil {
		return nil, fmt.Errorf("start the store process: %w", err)
	}
	client := layer.NewClient(conn)
	if err := client.Start(s.ctx, root); err != nil {
		child.Abort()
		return nil, errors.Join(fmt.Errorf("start the store process: %w", err), client.Close())
	}
	s.client, s.child = client, child
	return client, nil
}

// startStage re-executes this program under a stage's name, as root of a new
// user and mount namespace, with a socket to it on descriptor 3.
func startStage(ctx context.Context, name string, m userns.Map) (*userns.Child, *os.File, error) {
	return startStageWith(ctx, []string{name}, m, nil)
}

// startStageWith is startStage with directories, see startSelfWith.
func startStageWith(ctx context.Context, args []string, m userns.Map, dirs []string) (*userns.Child, *os.File, error) {
	return startTalking(args[0], func(theirs *os.File) (*userns.Child, error) { return startSelfWith(ctx, m, args, theirs, dirs) })
}

// startTalking gives a process one end of a socket.
func startTalking(name string, start func(theirs *os.File) (*userns.Child, error)) (*userns.Child, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name)
	defer theirs.Close()
	child, err := start(theirs)
	if err != nil {
		ours.Close()
		return nil, nil, err
	}
	return child, ours, nil
}

func (s *storeStage) Unpack(ctx context.Context, r layer.Request) (layer.Result, error) {
	c, err := s.get()
	if err != nil {
		return layer.Result{}, err
	}
	return c.Unpack(ctx, r)
}

func (s *storeStage) Finish(ctx context.Context, r layer.FinishRequest) error {
	c, err := s.get()
	if err != nil {
		return err
	}
	return c.Finish(ctx, r)
}

func (s *storeStage) Remove(ctx context.Context, dir string) error {
	c, err := s.get()
	if err != nil {
		return err
	}
	return c.Remove(ctx, dir)
}

// Call asks one of the handlers that main gave to the stage.
func (s *storeStage) Call(ctx context.Context, op string, in, out any) error {
	c, err := s.get()
	if err != nil {
		return err
	}
	return c.Call(ctx, op, in, out)
}

// CallFile is Call with a descriptor for the handler.
func (s *storeStage) CallFile(ctx context.Context, op string, in, out any, file *os.File) error {
	c, err := s.get()
	if err != nil {
		return err
	}
	return c.CallFile(ctx, op, in, out, file)
}

// Close ends the process, if it was started, and waits for it.
func (s *storeStage) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		return nil
	}
	err := s.client.Close()
	_, _, werr := s.child.Wait()
	s.child.Close()
	s.client = nil
	return errors.Join(err, werr)
}
