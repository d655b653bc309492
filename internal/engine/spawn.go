package engine

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"coracle/internal/begin"
	"coracle/internal/hire"
)

// report lines are what a monitor says until its container runs: warnings, and
// then one line that says that it does, or why not.
type reportLine struct {
	Warning string `json:",omitempty"`
	Hint    string `json:",omitempty"`
	Error   string `json:",omitempty"`
	Code    int    `json:",omitempty"` // with Error: the exit code
	PID     int    `json:",omitempty"`
}

// hired is the monitor of a container that b holds.
type hired struct {
	*hire.Monitor
	b    *box
	told bool // it has the lock, too
}

// hire gives the container a monitor, which ends if it is not told to go: so it
// can get ready while there is still something to be done.
func (b *box) hire() (*hired, error) {
	m, err := hire.New()
	if err != nil {
		return nil, err
	}
	return &hired{Monitor: m, b: b}, nil
}

// tell gives an order.
func (h *hired) tell(o hire.Order, files ...*os.File) error {
	b := h.b
	if !h.told {
		o.Root, o.RunRoot, o.Driver, o.ID = b.e.root, b.e.runRoot, b.e.driver, b.ID
		o.Note = &begin.Note{Dir: b.e.ownRunDir(b.ID), Image: b.ImageID.String()}
		files = append([]*os.File{b.lock}, files...)
	}
	err := h.Tell(o, files...)
	if err != nil {
		return fmt.Errorf("tell the monitor of container %s what to do: %w", b.Name, err)
	}
	h.told = true
	return nil
}

// dismiss lets a monitor go that is not needed, and waits until it has given back
// what it made.
func (h *hired) dismiss() {
	if h != nil {
		h.Dismiss()
	}
}

// spawn starts the container that b holds, under a monitor, and returns once
// its payload runs. The monitor has the lock then. client is a socket of somebody
// who is to see all of its output, or nil.
func (e *Engine) spawn(b *box, client *os.File) error {
	h, err := b.hire()
	if err != nil {
		b.lock.Close()
		return err
	}
	return e.order(h, client)
}

// order is spawn with a monitor that was hired before.
func (e *Engine) order(h *hired, client *os.File) error {
	defer h.b.lock.Close() // the monitor's copy stays
	o, files := hire.Order{Go: true}, []*os.File(nil)
	if client != nil {
		o.Client, files = true, []*os.File{client}
	}
	unsaid := h.tell(o, files...)
	err := e.started(h.b, h)
	if err == nil {
		h.Release()
		return nil
	}
	h.Dismiss()
	if unsaid != nil && errors.Is(err, errNoWord) {
		return unsaid
	}
	return err
}

var errNoWord = errors.New("its monitor ended without a word")

// started reads a monitor's reports.
func (e *Engine) started(b *box, reports io.Reader) error {
	lines := bufio.NewReader(reports)
	for {
		var l reportLine
		err := hire.ReadLine(lines, &l)
		switch {
		case err != nil:
			return &Error{Op: "start container " + b.Name, Err: errNoWord, Help: "was it killed, or is there no memory left? see dmesg"}
		case l.Error != "":
			return &Error{Err: errors.New(l.Error), Help: l.Hint, Code: l.Code}
		case l.Warning != "":
			e.warn(l.Warning, l.Hint)
		default:
			b.PID = l.PID
			return nil
		}
	}
}
