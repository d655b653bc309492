package layer

import (
	"context"
	"coracle/internal/plainfile"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Client is the launcher's side of a stage. It may be used by many goroutines;
// requests run side by side.
type Client struct {
	w    wire
	once sync.Once
	done chan struct{} // closed when the stage is gone

	mu    sync.Mutex
	last  uint64
	calls map[uint64]*pendingCall // nil once the stage is gone
}

// pendingCall is a request that waits for its reply.
type pendingCall struct {
	reply    chan message
	progress func(int64)
}

var _ Stage = (*Client)(nil)

// NewClient speaks to a stage over its socket (see StoreMain), which it takes
// over. Start must be called first, once the id maps are written.
func NewClient(conn *os.File) *Client {
	c := &Client{done: make(chan struct{}), calls: make(map[uint64]*pendingCall)}
	c.w.fd, _ = plainfile.Retry(func() (int, error) { return unix.FcntlInt(conn.Fd(), unix.F_DUPFD_CLOEXEC, 3) })
	conn.Close()
	_ = unix.SetNonblock(c.w.fd, false) // if this fails, so does the first message
	go c.read()
	return c
}

// read hands out replies until the stage is gone, and then tells all who wait.
func (c *Client) read() {
	for {
		m, fds, err := c.w.receive()
		closeAll(fds) // none is expected
		if err != nil {
			break
		}
		c.mu.Lock()
		call := c.calls[m.ID]
		if m.Done {
			delete(c.calls, m.ID)
		}
		c.mu.Unlock()
		switch {
		case call == nil:
		case m.Done:
			call.reply <- m // has room for the one
		case call.progress != nil:
			call.progress(m.Read)
		}
	}
	c.mu.Lock()
	c.calls = nil
	c.mu.Unlock()
	close(c.done)
}

// Close ends the stage. Its process exits by itself; waiting for it is up to
// whoever started it.
func (c *Client) Close() error {
	c.once.Do(func() {
		// A sender may be stuck with the lock held, so this wakes it and the
		// reader before anything is waited for.
		_ = unix.Shutdown(c.w.fd, unix.SHUT_RDWR) // fails only when the stage is gone already
		<-c.done
		c.w.wmu.Lock() // nobody writes to a descriptor that is closed
		defer c.w.wmu.Unlock()
		unix.Close(c.w.fd)
		c.w.fd = -1
	})
	return nil
}

// Start tells the stage that its id maps have been written and which directory
// is the store's root: the stage becomes uid and gid 0 of its namespace and
// chroots there. It returns once the stage is ready. root is not closed.
func (c *Client) Start(ctx context.Context, root *os.File) error {
	return c.call(ctx, opStart, nil, nil, nil, root)
}

// Unpack implements Stage.
func (c *Client) Unpack(ctx context.Context, r Request) (res Result, err error) {
	err = c.call(ctx, opUnpack, r, &res, r.Progress, r.Blob, r.Lender)
	return res, err
}

// Finish implements Stage.
func (c *Client) Finish(ctx context.Context, r FinishRequest) error {
	return c.call(ctx, opFinish, r, nil, nil)
}

// Remove implements Stage.
func (c *Client) Remove(ctx context.Context, dir string) error {
	return c.call(ctx, opRemove, dir, nil, nil)
}

// Call sends a message to a handler that was given to StoreMain. out may be nil.
func (c *Client) Call(ctx context.Context, op string, in, out any) error {
	return c.call(ctx, op, in, out, nil)
}

// CallFile is Call with a descriptor, which the handler finds with HandedFile.
func (c *Client) CallFile(ctx context.Context, op string, in, out any, file *os.File) error {
	return c.call(ctx, op, in, out, nil, file)
}

// call sends a request and waits for its reply, also after it was cancelled:
// only then is it sure that the stage has stopped writing.
func (c *Client) call(ctx context.Context, op string, in, out any, progress func(int64), files ...*os.File) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	p := &pendingCall{reply: make(chan message, 1), progress: progress}
	id, err := c.register(p)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := c.w.send(message{ID: id, Op: op, Body: body}, files...); err != nil {
		c.forget(id)
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EBADF) {
			err = ErrStageGone
		}
		return fmt.Errorf("%s: %w", op, err)
	}
	cancelled := ctx.Done()
	for {
		select {
		case m := <-p.reply:
			return m.result(out)
		case <-c.done:
			select {
			case m := <-p.reply: // it came just before
				return m.result(out)
			default:
				return fmt.Errorf("%s: %w", op, ErrStageGone)
			}
		case <-cancelled:
			cancelled = nil
			_ = c.w.send(message{ID: id, Op: opCancel}) // if it is gone, c.done tells
		}
	}
}

func (c *Client) register(p *pendingCall) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		return 0, ErrStageGone
	}
	c.last++
	c.calls[c.last] = p
	return c.last, nil
}

func (c *Client) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, id)
}

// result takes a reply apart.
func (m *message) result(out any) error {
	if out != nil && len(m.Body) > 0 {
		if err := json.Unmarshal(m.Body, out); err != nil {
			return fmt.Errorf("read the store process's reply: %w", err)
		}
	}
	if m.Err != nil {
		return m.Err.error()
	}
	return nil
}
