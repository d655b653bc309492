package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"coracle/netns"
	"coracle/spec"
)

// portsAnswer is what became of a request for ports.
type portsAnswer struct {
	Ports       []netns.Port // as they were taken or given back
	Error, Help string
}

// Publish has a running container's ports reached by ports of the host, until it
// ends, and says which; the words are those of --publish. It is all of them or none.
func (e *Engine) Publish(name string, words []string) ([]string, error) {
	return e.changePorts(name, "publish", words)
}

// Unpublish undoes that, and a --publish.
func (e *Engine) Unpublish(name string, words []string) ([]string, error) {
	return e.changePorts(name, "unpublish", words)
}

func (e *Engine) changePorts(name, op string, words []string) ([]string, error) {
	c, err := e.find(name)
	if err != nil {
		return nil, err
	}
	if _, err := netns.ParsePorts(words); err != nil {
		return nil, hinted("", err)
	}
	what := op + " ports of container " + c.Name
	if !c.Running() {
		return nil, &Error{Op: what, Err: spec.ErrNotRunning, Help: "coracle start " + c.Name}
	}
	return e.askNetwork(c, what, op, words)
}

// askNetwork has a container's monitor change its network.
func (e *Engine) askNetwork(c Container, what, op string, words []string) ([]string, error) {
	conn, _, err := e.knock(c.ID, doorRequest{Op: op, Ports: words})
	if errors.Is(err, errNoMonitor) {
		return nil, &Error{Op: what, Err: errors.New("it runs in the foreground, where nobody can be asked"), Help: "start it with --detach"}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer conn.Close()
	kind, data, err := readFrame(conn, make([]byte, 1+frameSize))
	var a portsAnswer
	switch {
	case err != nil:
	case kind != framePorts:
		err = fmt.Errorf("its monitor answers with a %q", kind)
	default:
		err = json.Unmarshal(data, &a)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if a.Error != "" {
		return nil, &Error{Err: errors.New(a.Error), Help: a.Help}
	}
	var out []string
	for _, p := range a.Ports {
		out = append(out, fmt.Sprintf("%d/%s -> %s", p.Container, p.Protocol, p.Address()))
	}
	return out, nil
}

// answerPorts is the monitor's side.
func (m *monitor) answerPorts(conn *os.File, r doorRequest) {
	defer conn.Close()
	var a portsAnswer
	var err error
	switch r.Op {
	case "publish":
		a.Ports, err = m.publish(r.Ports)
	case "unpublish":
		a.Ports, err = m.unpublish(r.Ports)
	default:
		err = m.changeNetworks(r)
	}
	if err != nil {
		a.Error = err.Error()
		var h interface{ Hint() string }
		if errors.As(err, &h) {
			a.Help = h.Hint()
		}
	}
	said, err := json.Marshal(a)
	if err == nil {
		_ = conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
		_, _ = conn.Write(append([]byte{framePorts}, said...))
	}
}

// carrier is the driver, with its lock held until done is called.
func (m *monitor) carrier() (d netns.Driver, done func(), err error) {
	m.netMu.Lock()
	switch {
	case m.net == nil:
		why, help := noPorts(m.o.Network)
		err = &Error{Op: "ports of container " + m.box.Name, Err: errors.New(why), Help: help}
	case m.net.driver == nil:
		err = fmt.Errorf("container %s: %w", m.box.Name, spec.ErrNotRunning)
	default:
		return m.net.driver, m.netMu.Unlock, nil
	}
	m.netMu.Unlock()
	return nil, nil, err
}

func (m *monitor) publish(words []string) ([]netns.Port, error) {
	ports, err := netns.ParsePorts(words)
	if err != nil {
		return nil, hinted("", err)
	}
	d, done, err := m.carrier()
	if err != nil {
		return nil, err
	}
	defer done()
	var taken []netns.Port
	for _, p := range ports {
		bound, err := d.Publish(p)
		if err != nil {
			for _, t := range taken {
				d.Unpublish(t)
			}
			return nil, m.e.explainListen(err)
		}
		taken = append(taken, bound)
	}
	return taken, m.recordPorts(append(slices.Clone(m.box.Ports), taken...))
}

// unpublish takes what is published; a word without a port of the host means all that
// lead to the container's.
func (m *monitor) unpublish(words []string) ([]netns.Port, error) {
	asked, err := netns.ParsePorts(words)
	if err != nil {
		return nil, hinted("", err)
	}
	d, done, err := m.carrier()
	if err != nil {
		return nil, err
	}
	defer done()
	rest := slices.Clone(m.box.Ports)
	var gone []netns.Port
	for _, p := range asked {
		n := len(gone)
		rest = slices.DeleteFunc(rest, func(q netns.Port) bool {
			if q.Container != p.Container || q.Protocol != p.Protocol || p.Host != 0 && p.Host != q.Host || p.HostIP.IsValid() && p.HostIP != q.HostIP {
				return false
			}
			gone = append(gone, q)
			return true
		})
		if len(gone) == n {
			return nil, &Error{Op: "unpublish " + fmt.Sprintf("%d/%s", p.Container, p.Protocol) + " of container " + m.box.Name, Err: errors.New("it is not published"), Help: "see what is: coracle port " + m.box.Name}
		}
	}
	for _, p := range gone {
		d.Unpublish(p)
	}
	return gone, m.recordPorts(rest)
}

// recordPorts writes down what is published now, for those who list it.
func (m *monitor) recordPorts(ports []netns.Port) error {
	m.box.Ports = ports
	_, err := m.e.rewrite(m.id, false, func(c *Container) { c.Ports = ports })
	return err
}
