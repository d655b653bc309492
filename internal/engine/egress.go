package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"coracle/netns"
	"coracle/netns/egress"
	"coracle/netns/pcap"

	"golang.org/x/sys/unix"
)

// EgressOptions say whom a container may talk to, and where it is written down.
type EgressOptions struct {
	AllowNet     []string `json:",omitempty"` // --allow-net
	DenyNet      []string `json:",omitempty"` // --deny-net
	AllowNetFile string   `json:",omitempty"` // --allow-net-file
	NetLog       string   `json:",omitempty"` // --net-log
	Pcap         string   `json:",omitempty"` // --pcap
}

// flag is the first of the flags that are given, "" for none.
func (o EgressOptions) flag() string {
	switch {
	case len(o.AllowNet) > 0:
		return "--allow-net " + o.AllowNet[0]
	case len(o.DenyNet) > 0:
		return "--deny-net " + o.DenyNet[0]
	case o.AllowNetFile != "":
		return "--allow-net-file " + o.AllowNetFile
	case o.NetLog != "":
		return "--net-log " + o.NetLog
	case o.Pcap != "":
		return "--pcap " + o.Pcap
	}
	return ""
}

func (o EgressOptions) ruled() bool {
	return len(o.AllowNet)+len(o.DenyNet) > 0 || o.AllowNetFile != ""
}

// refuseEgress is for a container whose network does not pass through this process:
// nobody would see to the rules.
func refuseEgress(o RunOptions) error {
	flag := o.flag()
	if flag == "" {
		return nil
	}
	why := "nothing sees what goes through --network " + o.Network
	if strings.HasPrefix(o.Network, ofContainer) {
		return &Error{Op: flag, Err: errors.New("the container has the network of another"), Help: "give it to that container"}
	}
	if o.Network == "none" {
		why = "the container has no network"
	}
	return &Error{Op: flag, Err: errors.New(why), Help: "leave --network out, or use --network builtin"}
}

// checkEgress finds out before anything is made that rules or files cannot be.
func checkEgress(o RunOptions) error {
	if o.flag() == "" {
		return nil
	}
	if !named(o.Network) || o.ruled() {
		if _, err := planNetwork(o); err != nil {
			return err
		}
	}
	for _, f := range [][2]string{{"--net-log", o.NetLog}, {"--pcap", o.Pcap}} {
		if err := checkWritable(f[1]); err != nil {
			return &Error{Op: f[0] + " " + f[1], Err: err, Help: "name a file in a directory that is there and yours"}
		}
	}
	return nil
}

// planEgress reads the rules; none are nil. It opens the host's loopback in c where
// one is about that.
func planEgress(o RunOptions, c *netns.Config) (*egress.Rules, error) {
	if !o.ruled() {
		return nil, nil
	}
	if len(o.DNS) > 0 {
		return nil, &Error{Op: "--dns " + o.DNS[0], Err: errors.New("with egress rules the container's own name server is the only one that can be asked"), Help: "leave it out"}
	}
	list, err := readRules(o)
	if err != nil {
		return nil, hinted("", err)
	}
	if c.HostLoopback { // it was opened by the network's option: that is a rule, too
		host, _ := egress.ParseRule("host", "--network "+o.Network, false)
		list = append(list, host)
	}
	rules, err := egress.NewRules(list, len(o.AllowNet) > 0 || o.AllowNetFile != "", c.IPv4, c.IPv6)
	if err != nil {
		return nil, hinted("", err)
	}
	// The gate decides about each port. A file may open some later.
	c.HostLoopback = rules.OpensHost() || o.AllowNetFile != ""
	return rules, nil
}

func readRules(o RunOptions) ([]egress.Rule, error) {
	var list []egress.Rule
	for _, words := range []struct {
		flag string
		deny bool
		list []string
	}{{"--allow-net", false, o.AllowNet}, {"--deny-net", true, o.DenyNet}} {
		for _, w := range words.list {
			r, err := egress.ParseRule(w, words.flag, words.deny)
			if err != nil {
				return nil, err
			}
			list = append(list, r)
		}
	}
	if o.AllowNetFile == "" {
		return list, nil
	}
	more, err := egress.ReadFile(o.AllowNetFile)
	return append(list, more...), err
}

// namesTime is how long names of rules are looked for before a start.
const namesTime = time.Second

// checkNames fails where a name of --allow-net is none, as a misspelled one. Where nobody
// answers it may be one; so may what a search domain makes whole. Names in a file are
// not looked for: they may come to be there.
func checkNames(ctx context.Context, o RunOptions, absent func(ctx context.Context, name string) bool) error {
	ctx, cancel := context.WithTimeout(ctx, namesTime)
	defer cancel()
	given := pins(o.AddHosts)
	failed := make([]bool, len(o.AllowNet))
	var asked sync.WaitGroup
	places := make(chan struct{}, 16)
	for i, word := range o.AllowNet {
		r, err := egress.ParseRule(word, "--allow-net", false)
		if err != nil {
			return hinted("", err)
		}
		name := r.Name()
		if !strings.Contains(name, ".") || slices.Contains(netns.HostNames, name) || slices.ContainsFunc(given, func(p egress.Pin) bool { return strings.EqualFold(p.Name, name) }) {
			continue
		}
		asked.Go(func() {
			places <- struct{}{}
			failed[i] = absent(ctx, name)
			<-places
		})
	}
	asked.Wait()
	if i := slices.Index(failed, true); i >= 0 {
		return &Error{Op: "--allow-net " + o.AllowNet[i], Err: errors.New("there is no such name: the host's name server says so"), Help: "if it is to come later, write it into a file: --allow-net-file FILE"}
	}
	return nil
}

// hostResolver asks as the host does.
func hostResolver() *netns.Resolver { return netns.NewResolver(netns.Config{}) }

// pins are the addresses that --add-host gives names.
func pins(words []string) []egress.Pin {
	var out []egress.Pin
	for _, w := range words {
		names, ip, ok := strings.Cut(w, ":")
		if before, after, equals := strings.Cut(w, "="); equals && !strings.Contains(before, ":") {
			names, ip, ok = before, after, true
		}
		a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(ip, "["), "]"))
		if !ok || err != nil {
			continue // host-gateway; the rest was refused
		}
		for name := range strings.SplitSeq(names, ";") {
			out = append(out, egress.Pin{Name: name, Addr: a})
		}
	}
	return out
}

// guarded is a driver that a gate and a tap can be given to.
type guarded interface {
	Guard(netns.Gate)
	Tap(netns.Tap)
	Tell(func(msg, hint string))
}

// guard is what watches over a network while it is connected.
type guard struct {
	gate    *egress.Gate // nil: nobody asks, and there are no rules
	log     *os.File
	capture *pcap.Writer
	news    *newsline
}

// guard makes what watches over the network, if anything is to.
func (r *run) guard(driver guarded) (err error) {
	g, o := &r.net.guard, r.o
	defer func() {
		if err != nil {
			_ = g.close()
		}
	}()
	if o.Pcap != "" {
		if g.capture, err = pcap.Create(o.Pcap); err != nil {
			return err
		}
		driver.Tap(g.capture)
	}
	g.news = newNewsline(r.tellUser, r.o.TTY && !r.o.Detached())
	driver.Tell(g.news.add)
	if o.NetLog != "" {
		if g.log, err = os.OpenFile(o.NetLog, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
			return fmt.Errorf("write the log of flows: %w", err)
		}
	}
	if r.net.rules == nil && o.NetLog == "" && o.Report == "" {
		return nil
	}
	options := egress.Options{Config: r.net.config, Rules: r.net.rules, Pins: pins(o.AddHosts), Search: searchDomains(o), Say: func(msg, flag string) {
		if flag != "" {
			flag += " allows it"
		}
		g.news.add(msg, flag)
	}}
	if g.log != nil {
		options.Log = g.log
	}
	g.gate = egress.New(options)
	driver.Guard(g.gate)
	r.gate.Store(g.gate)
	return nil
}

// searchDomains are those that the container tries.
func searchDomains(o RunOptions) []string {
	if len(o.DNSSearch) > 0 {
		return o.DNSSearch
	}
	data, _ := os.ReadFile("/etc/resolv.conf") // without: there are none
	return netns.ParseResolvConf(string(data)).Search
}

// close ends the books; the driver has been closed.
func (g *guard) close() error {
	var errs []error
	if g.gate != nil {
		g.gate.End()
	}
	if g.log != nil {
		errs = append(errs, g.log.Close())
		g.log = nil
	}
	if g.capture != nil {
		errs = append(errs, g.capture.Close())
		g.capture = nil
	}
	g.news.close()
	g.news = nil
	return errors.Join(errs...)
}

// reloadRules reads the file of rules again. With an error the old ones stay.
func (r *run) reloadRules() {
	gate := r.gate.Load()
	if gate == nil || r.o.AllowNetFile == "" {
		return
	}
	fresh, err := planNetwork(r.o)
	if err != nil {
		var h interface{ Hint() string }
		hint := ""
		if errors.As(err, &h) {
			hint = h.Hint()
		}
		r.tellUser("the egress rules stay as they were: "+err.Error(), hint)
		return
	}
	gate.Reload(fresh.rules)
}

// hungUp says whether SIGHUP came because our terminal has gone: there was one.
func (r *run) hungUp() bool { return r.hadTerminal && !haveTerminal() }

func haveTerminal() bool {
	fd, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// tellUser says something while the payload runs.
func (r *run) tellUser(msg, hint string) {
	if r.told != nil {
		r.told(msg, hint)
		return
	}
	r.e.warn(msg, hint)
}

// newsline tells the user without anybody having to wait for that: who writes to a
// pipe that nobody reads waits for ever.
type newsline struct {
	say   func(msg, hint string)
	queue chan [2]string
	over  chan struct{} // closed when nothing more comes
	done  chan struct{}
	held  bool // to the end
	begin sync.Once
}

const newsTime = time.Second // to be told in, at the end

// newNewsline makes one; held, it tells all at the end: the payload has the terminal.
func newNewsline(say func(msg, hint string), held bool) *newsline {
	return &newsline{say: say, queue: make(chan [2]string, 128), over: make(chan struct{}), done: make(chan struct{}), held: held}
}

func (n *newsline) start() { n.begin.Do(func() { go n.run() }) }

func (n *newsline) run() {
	defer close(n.done)
	for {
		select {
		case x := <-n.queue:
			n.say(x[0], x[1])
			continue
		default:
		}
		select {
		case x := <-n.queue:
			n.say(x[0], x[1])
		case <-n.over:
			if len(n.queue) == 0 {
				return
			}
		}
	}
}

func (n *newsline) add(msg, hint string) {
	select {
	case n.queue <- [2]string{msg, hint}:
		if !n.held {
			n.start()
		}
	default: // the report has it
	}
}

func (n *newsline) close() {
	if n == nil {
		return
	}
	close(n.over)
	n.start()
	select {
	case <-n.done:
	case <-time.After(newsTime):
	}
}

// checkWritable finds out that a file cannot be written; it changes nothing.
func checkWritable(path string) error {
	if path == "" {
		return nil
	}
	dir := filepath.Dir(path)
	err := unix.Access(dir, unix.W_OK|unix.X_OK)
	if st, serr := os.Stat(path); serr == nil {
		err = unix.Access(path, unix.W_OK)
		if st.IsDir() {
			err = unix.EISDIR
		}
	}
	return err
}
