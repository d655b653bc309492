package engine

import (
	"errors"
	"fmt"
	"strings"

	"coracle/netns"
)

// ConnectNetwork makes a container part of one more network, at once if it runs, and
// whenever it starts.
func (e *Engine) ConnectNetwork(network, container string, o EndpointOptions) error {
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
	// One that runs in the foreground has no blueprint: there is nobody to ask, either.
	p, err := e.readBlueprint(c.ID)
	if err == nil && p.Options.ruled() {
		return &Error{Op: op, Err: errRules, Help: "make another container, without the rules"}
	}
	if left := p.Options.Left; left != nil && left.Subnet != n.Subnet && left.Subnet.Overlaps(n.Subnet) {
		return &Error{Op: op, Err: fmt.Errorf("%s overlaps with %s, whose name server the container asks", n.Subnet, left.Subnet), Help: "make the network without --subnet"}
	}
	if err := n.checkBeside(c.Network); err != nil {
		return hinted(op, err)
	}
	if err := checkAliases("--alias", o.Aliases); err != nil {
		return err
	}
	if _, _, err := e.lease(network, c.ID, o); err != nil {
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

// checkBeside fails where a container with this --network could not be in n, too: one
// address would mean two.
func (n Network) checkBeside(mode string) error {
	_, options, own := networkMode(mode)
	if !own {
		return nil // the networks that containers share do not overlap
	}
	c, err := netns.ParseOptions(options, "")
	if err != nil || !c.IPv4.Masked().Overlaps(n.Subnet) {
		return err
	}
	return &Error{
		Err:  fmt.Errorf("%s overlaps with the container's own network %s", n.Subnet, c.IPv4.Masked()),
		Help: "make the network without --subnet, or the container with another network of its own: --network builtin:cidr=…",
	}
}

// checkAliases fails for what nobody could ask a name server for.
func checkAliases(flag string, names []string) error {
	for _, name := range names {
		for part := range strings.SplitSeq(name, ".") {
			if part == "" || len(part) > 63 || len(name) > 253 || checkAlias(part) {
				return &Error{Op: fmt.Sprintf("%s %q", flag, name), Err: errors.New("it is no name that can be asked for"), Help: "letters, digits, hyphens and underscores, with dots between"}
			}
		}
	}
	return nil
}

// checkAlias says whether a part of a name has something in it that it cannot have.
func checkAlias(part string) bool {
	return strings.ContainsFunc(part, func(r rune) bool {
		return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// DisconnectNetwork is the opposite, also for the network that a container was made with.
func (e *Engine) DisconnectNetwork(network, container string) error {
	c, err := e.find(container)
	if err != nil {
		return err
	}
	op := fmt.Sprintf("disconnect container %s from network %s", c.Name, network)
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
	if err := e.noteLeft(c, n); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	_, err = e.unlease(network, c.ID)
	return err
}

// noteLeft writes down that the container is to start without the network that it was
// made with.
func (e *Engine) noteLeft(c Container, n Network) error {
	if c.Network != n.Name {
		return nil
	}
	p, err := e.readBlueprint(c.ID)
	if isNotFound(err) {
		return nil // it will never start again
	}
	if err != nil || p.Options.Left != nil {
		return err
	}
	left := n.leave()
	p.Options.Left = &left
	return p.write(e.containerDir(c.ID))
}
