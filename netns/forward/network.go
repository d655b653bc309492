package forward

import (
	"os"

	"coracle/netns"
)

// Network is the netns.Driver of a network that was there before: ports, and
// nothing else.
type Network struct{ *Ports }

var _ netns.Driver = Network{}

// NewNetwork knows no addresses: services are reached by the loopback.
func NewNetwork() *Network { return &Network{New(netns.Config{})} }

// Attach has nothing to do.
func (Network) Attach(device *os.File) error {
	if device != nil {
		return device.Close()
	}
	return nil
}

// Close gives the ports back.
func (n Network) Close() error {
	n.Ports.Close()
	return nil
}
