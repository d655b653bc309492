// Package helper has the drivers of networks that another program carries:
// slirp4netns and pasta. The program makes the interface in the container's network
// namespace, before anything of the container runs; published ports are ours
// (netns/forward), so that they are the same with every driver.
package helper

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"coracle/netns"
	"coracle/netns/forward"
)

// Names of the drivers are those of their programs.
const (
	Slirp4netns = "slirp4netns"
	Pasta       = "pasta"
)

// Place is where the interface is to be: a process in the network namespace, whose
// files under /proc are open to us.
type Place struct {
	PID     int
	Sockets forward.Maker
	Traffic func(in, out uint64) // hears of bytes by published ports
	// Guard sees to it that a process that is no child of ours ends with us; stop
	// ends it.
	Guard func(pidfd *os.File) (stop func(), err error)
}

// Network is a netns.Driver.
type Network struct {
	program string
	path    string
	config  netns.Config
	ports   *forward.Ports
	end     func()
	lost    chan struct{} // closed when the program has ended
}

var _ netns.Driver = (*Network)(nil)

// MissingError is a program that is not there.
type MissingError struct{ Program string }

func (e *MissingError) Error() string { return "the program " + e.Program + " is not in $PATH" }

// Hint is what to type.
func (e *MissingError) Hint() string {
	pkg := e.Program
	if pkg == Pasta {
		pkg = "passt"
	}
	return "sudo apt-get install " + pkg + ", or leave --network out: the builtin network needs no other program"
}

// New is the driver for a container with this configuration.
func New(program string, c netns.Config) (*Network, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, &MissingError{program}
	}
	return &Network{program: program, path: path, config: c, ports: forward.New(c), lost: make(chan struct{})}, nil
}

// Listen takes the ports of the host.
func (n *Network) Listen(ports []netns.Port) ([]netns.Port, error) { return n.ports.Listen(ports) }

// Publish takes one more.
func (n *Network) Publish(p netns.Port) (netns.Port, error) { return n.ports.Publish(p) }

// Unpublish gives one back.
func (n *Network) Unpublish(p netns.Port) bool { return n.ports.Unpublish(p) }

// Join has the program make the interface, and waits until it has.
func (n *Network) Join(p Place) (err error) {
	switch n.program {
	case Slirp4netns:
		err = n.slirp(p)
	default:
		err = n.pasta(p)
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", n.program, err)
	}
	n.ports.Tell(p.Traffic)
	n.ports.Serve(p.Sockets)
	return nil
}

// Attach has nothing left to do: the program has the device.
func (n *Network) Attach(device *os.File) error {
	if device != nil {
		device.Close()
		return errors.New(n.program + " makes a device of its own")
	}
	return nil
}

// Lost is closed when the program has ended.
func (n *Network) Lost() <-chan struct{} { return n.lost }

// Close ends the program.
func (n *Network) Close() error {
	n.ports.Close()
	if n.end != nil {
		n.end()
	}
	return nil
}

// startTime is how long a program may take: podman's own limit is of this order.
const startTime = 30 * time.Second

// said is an error with what the program has said.
func said(err error, out *bytes.Buffer) error {
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return fmt.Errorf("%w: %s", err, last)
	}
	return err
}

func bits(n int) string { return strconv.Itoa(n) }
