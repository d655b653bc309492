package egress

import (
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Entry is a flow, or a question about a name that was refused; in a report it stands
// for all that are alike.
type Entry struct {
	Time     time.Time `json:"time"`
	Protocol string    `json:"protocol"` // tcp, udp, icmp, dns
	// Name is what the container calls its peer by, or what the address was given
	// for; Address is empty for a question.
	Name    string `json:"name,omitempty"`
	Address string `json:"address,omitempty"`
	Port    uint16 `json:"port,omitempty"`
	Rule    string `json:"rule,omitempty"` // that decided, as it was typed
	Verdict string `json:"verdict"`
	Reason  string `json:"reason,omitempty"` // of a refusal
	Flag    string `json:"flag,omitempty"`   // that would allow it
	Error   string `json:"error,omitempty"`  // of the other side

	BytesSent     uint64  `json:"bytesSent"` // by the container
	BytesReceived uint64  `json:"bytesReceived"`
	Seconds       float64 `json:"seconds"`
}

const (
	allowed = "allowed"
	denied  = "denied"
)

// Summary is what a report says of the network. Flows are those to one destination
// with one verdict, together, in the order in which the first of each began.
type Summary struct {
	Flows []Total `json:"flows"`
	// Further are flows to destinations that the list has no room for.
	Further Rest `json:"further"`
}

// Rest are sums.
type Rest struct {
	Count         uint64 `json:"count"`
	BytesSent     uint64 `json:"bytesSent"`
	BytesReceived uint64 `json:"bytesReceived"`
}

// Total is an Entry's sum: Time is when the first of them began.
type Total struct {
	Entry
	Count uint64 `json:"count"`
}

const (
	// maxTotals are kept apart: a container that talks to the whole world is not to
	// fill the memory.
	maxTotals = 4096
	// maxSaid are told of: then the report has the rest.
	maxSaid = 64
	// maxLog is the most that a log of flows grows to.
	maxLog = 64 << 20
)

// record keeps the books.
type record struct {
	search []string
	say    func(msg, flag string)

	mu      sync.Mutex
	log     io.Writer
	logged  int64
	totals  map[Entry]*Total
	order   []*Total
	further Rest
	said    map[string]bool
	refused map[string]bool // names
}

func newRecord(o Options) *record {
	return &record{search: o.Search, say: o.Say, log: o.Log, totals: map[Entry]*Total{}, said: map[string]bool{}, refused: map[string]bool{}}
}

// flow writes down a flow that has ended or was refused.
func (r *record) flow(e Entry, flag string) {
	what := e.Protocol + " to " + e.Address
	if e.Port != 0 {
		what = e.Protocol + " to " + endpoint(e)
	}
	if e.Name != "" {
		what += " (" + e.Name + ")"
	}
	r.put(e, flag, what, true)
}

// question writes down a question that was refused.
func (r *record) question(e Entry, flag string) {
	what := "the name " + e.Name
	if e.Address != "" {
		what += " to be " + e.Address
	}
	r.mu.Lock()
	derived := ownSearch(e.Name, r.search, func(n string) bool { return r.refused[n] })
	if len(r.refused) < maxTotals {
		r.refused[e.Name] = true
	}
	r.mu.Unlock()
	r.put(e, flag, what, !derived)
}

func endpoint(e Entry) string {
	if e.Name == "host" {
		return "the host's port " + strconv.Itoa(int(e.Port))
	}
	return e.Address + " port " + strconv.Itoa(int(e.Port))
}

func (r *record) put(e Entry, flag, what string, tell bool) {
	e.Flag = flag
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum(e)
	r.write(e)
	if e.Verdict == denied && tell {
		r.tell(e, what)
	}
}

// sum adds to what is alike.
func (r *record) sum(e Entry) {
	key := e
	key.Time, key.Seconds, key.BytesSent, key.BytesReceived = time.Time{}, 0, 0, 0
	t := r.totals[key]
	switch {
	case t == nil && len(r.totals) >= maxTotals:
		r.further.Count++
		r.further.BytesSent += e.BytesSent
		r.further.BytesReceived += e.BytesReceived
		return
	case t == nil:
		t = &Total{Entry: key}
		t.Time = e.Time
		r.totals[key] = t
		r.order = append(r.order, t)
	}
	if e.Time.Before(t.Time) {
		t.Time = e.Time // it went on for longer than one that began after it
	}
	t.Count++
	t.BytesSent += e.BytesSent
	t.BytesReceived += e.BytesReceived
	t.Seconds += e.Seconds
}

// write writes a line; a log that cannot be written, or is full, ends.
func (r *record) write(e Entry) {
	if r.log == nil {
		return
	}
	line, err := json.Marshal(e)
	if err != nil {
		return
	}
	line = append(line, '\n')
	if r.logged += int64(len(line)); r.logged > maxLog {
		line = []byte(`{"error":"the log is full: it has 64 MiB"}` + "\n")
	}
	if _, err := r.log.Write(line); err != nil || r.logged > maxLog {
		r.log = nil
	}
}

// tell tells the user, once for each destination.
func (r *record) tell(e Entry, what string) {
	key := what
	if e.Flag != "" {
		key = e.Flag
	}
	if r.say == nil || r.said[key] || len(r.said) > maxSaid {
		return
	}
	r.said[key] = true
	if len(r.said) > maxSaid {
		r.say("the network refused more than can be told here", "")
		return
	}
	r.say("the network refused "+what+": "+e.Reason, e.Flag)
}

// Summary is all that was written down until now; flows that go on are not in it.
func (g *Gate) Summary() Summary {
	r := g.record
	r.mu.Lock()
	defer r.mu.Unlock()
	out := Summary{Flows: make([]Total, 0, len(r.order)), Further: r.further}
	for _, t := range r.order {
		out.Flows = append(out.Flows, *t)
	}
	slices.SortStableFunc(out.Flows, func(a, b Total) int { return a.Time.Compare(b.Time) })
	return out
}
