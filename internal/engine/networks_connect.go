package engine

import (
	"errors"
	"fmt"
	"slices"
)

// ConnectNetwork makes a container part of one more network, at once if it runs, and
// whenever it starts.
func (e *Engine) ConnectNetwork(network, container, ip string, aliases []string) error {
	c, err := e.find(container)
	if err != nil {
		return err
	}
	op := fmt.Sprintf("connect container %s to network %s", c.Name, network)
	if kind, _, own := networkMode(c.Network); !named(c.Network) && (!own || kind != kindBuiltin) {
		return &Error{Op: op, Err: fmt.Errorf("it has --network %s", c.NetworkWord()), Help: "containers with --network private, or a network that containers share, can be in several"}
	}
	n, err := e.readNetwork(network)
	if err != nil {
		return hinted(op, err)
	}
	if _, ok := n.endpoint(c.ID); ok {
		return &Error{Op: op, Err: errors.New("it is connected")}
	}
	if _, _, err := e.lease(network, c.ID, ip, aliases); err != nil {
		return hinted(op, err)
	}
	if !c.Running() {
		return nil
	}
	if _, err := e.askNetwork(c, op, "join", []string{network}); err != nil {
		_, _ = e.unlease(network, c.ID)
		return err
	}
	return nil
}

// DisconnectNetwork is the opposite. The network that a container was made with stays.
func (e *Engine) DisconnectNetwork(network, container string) error {
	c, err := e.find(container)
	if err != nil {
		return err
	}
	op := fmt.Sprintf("disconnect container %s from network %s", c.Name, network)
	if c.Network == network {
		return &Error{Op: op, Err: errors.New("it was made with it"), Help: "make another container: coracle run --network …"}
	}
	n, err := e.readNetwork(network)
	if err != nil {
		return hinted(op, err)
	}
	if _, ok := n.endpoint(c.ID); !ok {
		return &Error{Op: op, Err: errors.New("it is not connected"), Help: "see who is: coracle network inspect " + network}
	}
	if c.Running() {
		if _, err := e.askNetwork(c, op, "leave", []string{network}); err != nil {
			return err
		}
	}
	_, err = e.unlease(network, c.ID)
	return err
}

// changeNetworks is the monitor's side.
func (m *monitor) changeNetworks(r doorRequest) error {
	if len(r.Ports) != 1 {
		return errors.New("one network is to be named")
	}
	n, err := m.e.readNetwork(r.Ports[0])
	if err != nil {
		return err
	}
	_, done, err := m.carrier()
	if err != nil {
		return err
	}
	defer done()
	if r.Op == "join" {
		return m.joinNetwork(n, m.net.device)
	}
	return m.leaveNetwork(n, n.Containers[m.id])
}

// NetworkNames are the networks that a container is part of.
func (e *Engine) NetworkNames(id string) []string {
	var out []string
	for _, n := range e.networksOf(id) {
		out = append(out, n.Name)
	}
	slices.Sort(out)
	return out
}
