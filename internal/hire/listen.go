package hire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"coracle/cgroupv2"
	"coracle/internal/begin"

	"golang.org/x/sys/unix"
)

// Order is what a monitor is told: to go, and, where its container is yet to be
// made, what it can begin with before that. The first one says which container it is,
// and comes with the lock; the one that lets it go with the socket of a Client.
type Order struct {
	Root, RunRoot, Driver string      `json:",omitempty"`
	ID                    string      `json:",omitempty"`
	Note                  *begin.Note `json:",omitempty"` // for the file that is locked
	Plan                  *begin.Plan `json:",omitempty"`
	Go                    bool        `json:",omitempty"`
	Client                bool        `json:",omitempty"` // somebody is attached already
}

// ErrNoOrder is a command that has ended, or does without its monitor.
var ErrNoOrder = errors.New("no order came")

// Hearer is a monitor's end, with what it has heard and done so far.
type Hearer struct {
	*Conn
	First Order
	Note  begin.Note // as it stands in Lock
	Lock  *os.File
	Begun begin.Begun
	Err   error // of all that

	orders *bufio.Reader
}

// heard has the Hearer of this process, if it is a monitor.
var heard chan *Hearer

// Listen is for a monitor: it returns once its first order came and is carried out as
// far as that goes without systemd, which has happened while the program got ready.
func Listen() *Hearer { return <-heard }

// listenEarly waits until the first process is there: what this program is initialised
// with then takes its time beside newuidmap's work, and not before that, from the command.
func listenEarly() {
	heard = make(chan *Hearer, 1)
	h := &Hearer{Conn: begun()}
	h.Err = h.begin()
	h.Begun.Newborn.AwaitBirth()
	heard <- h
}

func (h *Hearer) begin() (err error) {
	h.orders = bufio.NewReader(h)
	if h.First, err = h.Next(); err != nil {
		return err
	}
	files := h.Files()
	if len(files) == 0 || h.First.Note == nil {
		return errors.New("start the container: its lock was not handed over")
	}
	h.Lock, h.files = files[0], files[1:]
	h.Note = *h.First.Note
	h.Note.Launcher = begin.Self()
	if err := h.Note.Write(h.Lock); err != nil {
		return err
	}
	err = h.Begin(context.Background(), true)
	if errors.Is(err, cgroupv2.ErrNoBus) {
		return nil
	}
	h.First.Plan = nil
	return err
}

// Begin carries out the plan of the first order, which is there no more once that was
// done.
func (h *Hearer) Begin(ctx context.Context, noSystemd bool) (err error) {
	if h.First.Plan == nil {
		return nil
	}
	p := *h.First.Plan
	p.NoSystemd = noSystemd
	h.Begun, err = p.Begin(ctx, func(path string) error {
		h.Note.Cgroup = path
		return h.Note.Write(h.Lock)
	})
	return err
}

// Next waits for an order.
func (h *Hearer) Next() (o Order, err error) {
	err = ReadLine(h.orders, &o)
	if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
		return o, ErrNoOrder
	}
	if err != nil {
		return o, fmt.Errorf("read what the monitor is to do: %w", err)
	}
	return o, nil
}
