package engine

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"coracle/userns"
)

// MonitorName is what a monitor is called in argv[0], before its container's name.
const MonitorName = "[coracle:monitor]"

// order is what a monitor is told when it is started.
type order struct {
	Root, RunRoot, Driver string
	ID                    string
	Client                bool // descriptor 6 is somebody who is attached already
}

// The descriptors that a monitor begins with.
const (
	orderFD  = 3 + iota // an order
	reportFD            // where its reports go
	lockFD              // running/ID, locked
	clientFD            // see order.Client
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

// hired is a monitor that waits for its order.
type hired struct {
	orders, reports *os.File
	client          bool
}

// hire starts a monitor for the container that b holds. It does nothing until it
// gets its order, and ends if that does not come: so it can be started while there
// is still something to be done, as long as that has b's lock. client is a socket
// of somebody who is to see all of its output, or nil.
func (e *Engine) hire(b *box, client *os.File) (*hired, error) {
	fromUs, orders, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the monitor: %w", err)
	}
	defer fromUs.Close()
	reports, toUs, err := os.Pipe()
	if err != nil {
		orders.Close()
		return nil, fmt.Errorf("start the monitor: %w", err)
	}
	defer toUs.Close()
	h := &hired{orders: orders, reports: reports, client: client != nil}
	// What we inherited is not for the monitor, which may live for months.
	if err := userns.MarkCloseExec(3); err != nil {
		h.dismiss()
		return nil, fmt.Errorf("start the monitor: %w", err)
	}
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{MonitorName + " " + b.Name}, Dir: "/",
		ExtraFiles: []*os.File{fromUs, toUs, b.lock}, SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	// What Go says when it crashes, and what else nobody is there to hear.
	if said, err := os.OpenFile(filepath.Join(b.dir, monitorLog), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err == nil {
		defer said.Close()
		cmd.Stderr = said
	}
	if client != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, client)
	}
	if err := cmd.Start(); err != nil {
		h.dismiss()
		return nil, fmt.Errorf("start the monitor: %w", err)
	}
	go func() { _ = cmd.Wait() }() // no zombie while we are attached
	return h, nil
}

// dismiss lets a monitor go that is not needed.
func (h *hired) dismiss() {
	if h != nil {
		h.orders.Close()
		h.reports.Close()
	}
}

// spawn starts the container that b holds, under a monitor, and returns once
// its payload runs. The monitor has the lock then.
func (e *Engine) spawn(b *box, client *os.File) error {
	h, err := e.hire(b, client)
	if err != nil {
		b.lock.Close()
		return err
	}
	return e.order(b, h)
}

// order is spawn with a monitor that waits for it.
func (e *Engine) order(b *box, h *hired) error {
	defer b.lock.Close() // the monitor's copy stays
	defer h.dismiss()
	if err := json.NewEncoder(h.orders).Encode(order{e.root, e.runRoot, e.driver, b.ID, h.client}); err != nil {
		return fmt.Errorf("tell the monitor what to do: %w", err)
	}
	return e.started(b, h.reports)
}

// started reads a monitor's reports.
func (e *Engine) started(b *box, reports *os.File) error {
	lines := json.NewDecoder(bufio.NewReader(reports))
	for {
		var l reportLine
		err := lines.Decode(&l)
		switch {
		case err != nil:
			return &Error{Op: "start container " + b.Name, Err: errors.New("its monitor ended without a word"), Help: "was it killed, or is there no memory left? see dmesg"}
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
