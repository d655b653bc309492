package egress

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"coracle/netns"
)

// flow is a netns.Flow.
type flow struct {
	g     *Gate
	q     asked
	began time.Time

	sent, received atomic.Uint64
	closed         sync.Once

	mu      sync.Mutex
	d       decision
	called  string // what the container calls its peer by
	refused string // why it was ended, "" if it was not
	flag    string // that would have allowed it
	denied  bool   // by a rule: then none would
	stop    func()
	gone    bool // it was ended before there was a stop
}

var _ netns.Flow = (*flow)(nil)

// Check implements netns.Flow.
func (f *flow) Check() func(netns.Reader, io.Writer) error {
	d := f.decision()
	if d.check == unchecked || f.q.Protocol != netns.TCP {
		return nil
	}
	return func(in netns.Reader, out io.Writer) error {
		s := &stream{in: in, out: out, sent: f.Sent, called: f.mayBeCalled}
		if d.check == mustMatch {
			s.hidden = errors.New("it must tell whom it is for")
		}
		err := s.run(false)
		var r *refusal
		if errors.As(err, &r) {
			f.refuse(r.why)
			f.suggest()
			f.Close(nil) // written down before the container hears of it
		}
		return err
	}
}

func (f *flow) decision() decision {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.d
}

// mayBeCalled says whether the peer may be called by a name.
func (f *flow) mayBeCalled(name string) error {
	rules := f.g.current()
	f.mu.Lock()
	defer f.mu.Unlock()
	port := f.q.Addr.Port()
	by, ok := rules.name(name, port)
	switch {
	case !ok && by != nil:
		f.denied = true
		return errors.New("a rule denies that")
	case f.d.check == mustNotDeny, slices.Contains(f.d.names, name):
		f.called = name
		if by != nil {
			f.d.rule = by
		}
		return nil
	case !ok:
		f.flag = "--allow-net " + name + portWord(port)
	}
	return fmt.Errorf("this address was given for %s", strings.Join(f.d.names, ", "))
}

// refuse writes down why the flow is ended. It does so once.
func (f *flow) refuse(why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refused == "" {
		f.refused = why
	}
}

// suggest names the flag that would have allowed it: where nothing else is to blame,
// a rule by address, which asks for no name.
func (f *flow) suggest() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.flag == "" && f.d.check == mustMatch && !f.denied {
		f.flag = "--allow-net " + addrWord(f.q.Addr)
	}
}

// Datagram implements netns.Flow.
func (f *flow) Datagram(b []byte) bool {
	d := f.decision()
	if d.check == unchecked || f.q.Protocol != netns.UDP || !hidesName(b) {
		return true
	}
	f.mu.Lock()
	f.flag = "--allow-net " + addrWord(f.q.Addr)
	f.mu.Unlock()
	f.refuse(quic)
	return false
}

// decideAgain decides by other rules; the gate's lock is held.
func (f *flow) decideAgain(s *Rules) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.q
	if f.called != "" {
		q.live = []string{f.called}
		q.pinned = slices.DeleteFunc(slices.Clone(q.pinned), func(n string) bool { return n != f.called })
	}
	d := decideIn(s, q)
	if d.check == mustNotDeny && f.called != "" && s.denies(f.called, q.Addr.Port()) != nil {
		d.allowed, d.why = false, denyRule
	}
	if !d.allowed {
		f.refused, f.flag = "other rules were loaded: "+d.why, d.flag
		return false
	}
	f.d = d
	return true
}

// Revoked implements netns.Flow.
func (f *flow) Revoked(stop func()) {
	f.mu.Lock()
	f.stop = stop
	gone := f.gone
	f.mu.Unlock()
	if gone {
		go stop() // who calls us may hold a lock that stop takes
	}
}

func (f *flow) revoke() {
	f.mu.Lock()
	f.gone = true
	stop := f.stop
	f.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// Sent implements netns.Flow.
func (f *flow) Sent(n int) { f.sent.Add(uint64(max(n, 0))) }

// Received implements netns.Flow.
func (f *flow) Received(n int) { f.received.Add(uint64(max(n, 0))) }

// Close implements netns.Flow.
func (f *flow) Close(err error) { f.closed.Do(func() { f.close(err) }) }

func (f *flow) close(err error) {
	f.g.mu.Lock()
	delete(f.g.flows, f)
	f.g.mu.Unlock()
	f.mu.Lock()
	why, flag := f.refused, f.flag
	f.mu.Unlock()
	e := f.entry(allowed, "")
	if why != "" {
		e = f.entry(denied, why)
	} else {
		flag = ""
	}
	if err != nil {
		e.Error = err.Error()
	}
	f.g.record.flow(e, flag)
}

// entry is what the record says of the flow.
func (f *flow) entry(verdict, why string) Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := Entry{
		Time: f.began, Seconds: time.Since(f.began).Seconds(), Protocol: f.q.Protocol, Name: f.d.name, Address: f.q.Addr.Addr().String(), Port: f.q.Addr.Port(),
		BytesSent: f.sent.Load(), BytesReceived: f.received.Load(), Verdict: verdict, Reason: why,
	}
	if f.called != "" {
		e.Name = f.called
	}
	if f.d.rule != nil {
		e.Rule = f.d.rule.Text
	}
	return e
}
