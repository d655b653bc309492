package engine

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"coracle/internal/denial"
	"coracle/internal/sandbox"
	"coracle/netns/egress"
	"coracle/spec"
	"coracle/spec/seccomp"

	"golang.org/x/sys/unix"
)

// What of the denials is recorded (--denials).
const (
	denialsAll  = "all"
	denialsNone = "none"
)

// watch is what is seen of a sandbox's command, by a filter that asks.
type watch struct {
	mu       sync.Mutex
	denied   denial.List
	listener *denial.Listener // nil: nobody watches
	err      error
	// known are accesses by absolute names that were judged already: programs look at
	// the same ones again and again.
	known  map[denial.Access]verdict
	lesson *lesson // nil: nobody learns
}

type verdict struct {
	denial.Denial
	refused bool
}

// mostKnown bounds the verdicts that are kept.
const mostKnown = 1 << 14

func (s *boxed) checkDenials() error {
	switch s.o.Denials {
	case "", denialsAll, denialsNone:
		return nil
	}
	return &Error{Op: "--denials " + s.o.Denials, Err: errors.New("there is no such choice"), Help: "all or none"}
}

// watched says whether denials of paths and system calls are to be recorded. By itself
// that costs a run what it costs: so only where somebody asks.
func (s *boxed) watched() bool {
	return s.o.Denials == denialsAll || s.o.Denials == "" && s.o.Report != ""
}

// observe puts a filter that asks in the place of one that refuses.
func (s *boxed) observe(filter seccomp.Program, x *spec.Extra) error {
	x.Seccomp, x.SeccompFlags = filter.Filter, filter.Flags
	if !s.watched() {
		return nil
	}
	if !kernelAtLeast(5, 5) { // SECCOMP_USER_NOTIF_FLAG_CONTINUE
		if s.o.Denials == denialsAll {
			s.e.warn("what is refused is not recorded: that takes Linux 5.5", "")
		}
		return nil
	}
	watched := denial.Watched()
	if s.plan.Allow32 {
		watched = append(watched, denial.Watched386()...)
	}
	asking, err := seccomp.Observed(filter, watched)
	if err != nil {
		return &Error{Op: "--denials", Err: err, Help: "--denials none"}
	}
	if x.Seccomp, x.SeccompFlags = asking.Filter, asking.Flags; kernelAtLeast(5, 19) {
		x.SeccompFlags |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV // else a signal begins each call anew
	}
	w := &s.witnessed
	w.known = map[denial.Access]verdict{}
	if s.o.Learned != nil {
		w.lesson = &lesson{uses: map[string]*sandbox.Use{}, named: map[string]bool{}}
	}
	host := witness{}
	l := &denial.Listener{
		Filter:  filter.Filter,
		Refused: func(d seccomp.Data) { w.add(sandbox.JudgeCall(d, seccomp.Native(d), s.o.Seccomp)) },
		Tried:   func(a denial.Access) { w.tried(a, &s.plan, host) },
		Named:   func(socket string) { w.add(sandbox.JudgeAbstract(socket)) },
		Dialled: s.dialled,
		Closed:  s.plan.Network.Loopback == sandbox.DenyLoopback,
	}
	x.Observe = func(listener *os.File) {
		if w.err = l.Serve(listener); w.err != nil {
			listener.Close()
			return
		}
		w.listener = l
	}
	return nil
}

// dialled hears of each internet address.
func (s *boxed) dialled(dial denial.Dial) {
	explain := func() (why, flag string) {
		gate, ip := s.r.gate.Load(), net.ParseIP(dial.IP)
		if gate == nil || ip == nil {
			return "", ""
		}
		addr, _ := netip.AddrFromSlice(ip)
		return gate.Explain("", netip.AddrPortFrom(addr.Unmap(), dial.Port))
	}
	if d, refused := s.plan.JudgeDial(dial, explain); refused {
		s.witnessed.add(d)
	}
}

// stop comes after the command's end.
func (w *watch) stop() {
	if !w.listener.Stop() {
		w.lesson = nil // somebody still writes to it
	}
}

func (w *watch) add(d denial.Denial) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.denied.Add(d)
}

func (w *watch) tried(a denial.Access, plan *sandbox.Plan, host sandbox.Witness) {
	v, known := w.known[a]
	if !known {
		v.Denial, v.refused = plan.Judge(a, host)
		if len(w.known) < mostKnown {
			w.known[a] = v
		}
	}
	if v.refused {
		w.add(v.Denial)
	}
	if w.lesson != nil {
		w.lesson.learnt(plan, a, v.refused)
	}
}

// denials are all that were refused.
func (s *boxed) denials(flows *egress.Summary) (all []denial.Denial, further uint64) {
	w := &s.witnessed
	w.mu.Lock()
	defer w.mu.Unlock()
	if flows != nil {
		for _, f := range flows.Flows {
			if d, ok := deniedFlow(f); ok {
				w.denied.Add(d)
			}
		}
	}
	return w.denied.All()
}

// deniedFlow is what the network has refused, in the words of the rest.
func deniedFlow(f egress.Total) (denial.Denial, bool) {
	if f.Verdict != "denied" {
		return denial.Denial{}, false
	}
	d := denial.Denial{Kind: denial.Network, Action: denial.Connect, Wall: denial.NoNetwork, Why: f.Reason, Flag: f.Flag, Count: f.Count}
	switch {
	case f.Address == "" || f.Protocol == "dns":
		d.What, d.Action = f.Name, denial.Resolve
	case f.Name == "host":
		d.What = "the host's port " + strconv.Itoa(int(f.Port))
		d.Danger = "services on the host's loopback often trust whoever reaches them"
	default:
		d.What = f.Protocol + " to " + f.Address
		if f.Port != 0 {
			d.What = f.Protocol + " to " + net.JoinHostPort(f.Address, strconv.Itoa(int(f.Port)))
		}
		if f.Name != "" {
			d.What += " (" + f.Name + ")"
		}
	}
	return d, true
}

// recordDenials keeps them for coracle why.
func (s *boxed) recordDenials(rep *SandboxReport) {
	recorded := denialsAll
	if s.witnessed.listener == nil {
		if recorded = "network"; len(rep.Denials) == 0 || s.o.Denials == denialsNone {
			return
		}
	}
	id := rep.ID
	if id == "" {
		const length = 12 // as those of changes
		id = s.id[:min(length, len(s.id))]
	}
	err := denial.Save(s.e.root, denial.Record{ID: id, Command: s.o.Command, Cwd: s.facts.Cwd, Started: s.started, Recorded: recorded, Denials: rep.Denials, Further: rep.DenialsFurther})
	if err != nil {
		s.e.warn(fmt.Sprintf("keep what was refused: %v", err), "")
		return
	}
	if n := len(rep.Denials); s.o.Denials == denialsAll && n > 0 {
		s.e.warn(fmt.Sprintf("%d %s refused", n, plural(n, "thing was", "things were")), "coracle why "+id)
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// witness is the host, as the caller sees it.
type witness struct{}

func (witness) Real(name string) (string, error) { return filepath.EvalSymlinks(name) }
func (witness) Socket(name string) bool {
	var st unix.Stat_t
	return unix.Lstat(name, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK
}
func (witness) Writable(name string) bool {
	return unix.Faccessat(unix.AT_FDCWD, name, unix.W_OK, unix.AT_EACCESS) == nil && !strings.HasPrefix(name, "/proc/")
}
