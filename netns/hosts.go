package netns

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// watched is a file that is read again when it has changed.
type watched[T any] struct {
	path  string
	parse func(string) T

	mu      sync.Mutex
	checked time.Time
	info    os.FileInfo
	value   T
}

// get looks at the file at most once in a second.
func (w *watched[T]) get() T {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.checked) < time.Second {
		return w.value
	}
	w.checked = time.Now()
	info, err := os.Stat(w.path)
	if err == nil && w.info != nil && os.SameFile(info, w.info) && info.ModTime().Equal(w.info.ModTime()) && info.Size() == w.info.Size() {
		return w.value
	}
	data, _ := os.ReadFile(w.path) // without: as if it were empty, as the C library
	w.info, w.value = info, w.parse(string(data))
	return w.value
}

// ResolvConf is what a resolv.conf says (resolv.conf(5)).
type ResolvConf struct {
	Servers []netip.Addr
	Search  []string
	Options []string
}

// maxServers is the C library's MAXNS.
const maxServers = 3

// ParseResolvConf reads one. Without a server it is the host's own.
func ParseResolvConf(text string) ResolvConf {
	var c ResolvConf
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || line[0] == '#' || line[0] == ';' {
			continue
		}
		switch f[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(f[1]); err == nil && len(c.Servers) < maxServers {
				c.Servers = append(c.Servers, a)
			}
		case "search":
			c.Search = f[1:]
		case "domain":
			c.Search = f[1:2]
		case "options":
			c.Options = append(c.Options, f[1:]...)
		}
	}
	if c.Servers == nil {
		c.Servers = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	return c
}

// hosts are the names of a hosts(5) file.
type hosts struct {
	byName map[string][]netip.Addr
	byAddr map[netip.Addr]string
}

func parseHosts(text string) hosts {
	h := hosts{map[string][]netip.Addr{}, map[netip.Addr]string{}}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		a, err := netip.ParseAddr(f[0])
		if err != nil || a.Zone() != "" {
			continue
		}
		for _, name := range f[1:] {
			h.add(name, a)
		}
	}
	return h
}

func (h hosts) add(name string, a netip.Addr) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if !slices.Contains(h.byName[name], a) {
		h.byName[name] = append(h.byName[name], a)
	}
	if _, known := h.byAddr[a]; !known {
		h.byAddr[a] = name
	}
}
