package egress

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// networks are what they say, read when they are first asked for: nothing of it is
// done at the start of commands that ask nothing.
type networks struct {
	words []string
	once  sync.Once
	list  []netip.Prefix
}

func (n *networks) all() []netip.Prefix {
	n.once.Do(func() {
		for _, w := range n.words {
			n.list = append(n.list, netip.MustParsePrefix(w))
		}
	})
	return n.list
}

// unreachable are the networks that netns.Refused is about.
var unreachable = networks{words: []string{"0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "::1/128", "ff00::/8", "fe80::/10"}}

// specials are networks that a name in the world has no business in: private ones,
// those of one link (with the metadata services of clouds), of providers (RFC 6598),
// and ways to write an IPv4 address in IPv6 (RFC 4291, 6052, 3056, 4380), which lead
// there again. Source: the IANA's special-purpose address registries. The networks of
// documentation are not among them: nobody is there.
var specials = networks{words: []string{
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15",
	"fc00::/7", "fec0::/10", "::/8", "2002::/16", "2001::/32",
}}

// hostAddrs are the addresses of the host's interfaces, looked at anew every few
// seconds: what listens on all of them thinks of its neighbours, not of containers.
type hostAddrs struct {
	list func() ([]net.Addr, error)

	mu      sync.Mutex
	checked time.Time
	known   map[netip.Addr]bool
}

const hostAddrsAge = 5 * time.Second

func (h *hostAddrs) has(a netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known == nil || time.Since(h.checked) > hostAddrsAge {
		if list, err := h.list(); err == nil {
			h.known = map[netip.Addr]bool{}
			for _, l := range list {
				if p, err := netip.ParsePrefix(l.String()); err == nil {
					h.known[p.Addr().Unmap().WithZone("")] = true
				}
			}
			h.checked = time.Now()
		}
	}
	return h.known[a]
}

// special is the special network that an address is in; the host's own addresses are
// networks of one. The zero Prefix: it is a public one.
func (h *hostAddrs) special(a netip.Addr) netip.Prefix {
	if h.has(a) {
		return netip.PrefixFrom(a, a.BitLen())
	}
	for _, p := range specials.all() {
		if p.Contains(a) {
			return p
		}
	}
	return netip.Prefix{}
}
