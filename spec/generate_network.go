package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// bindFile makes a generated file and binds it over the root's.
func (g *generator) bindFile(name, destination string, data []byte) {
	if _, taken := g.mounts[destination]; taken {
		return
	}
	g.res.Files[name] = data
	options := []string{"bind", "rprivate"}
	switch account := name == "passwd" || name == "group"; {
	case g.opt.ReadOnly:
		options = append(options, "ro", "nosuid", "nodev", "noexec")
	case account && g.in.ContainerUID != 0:
		// The file belongs to the caller, who is not root inside: it must not
		// make itself root there.
		options = append(options, "ro")
	}
	_ = g.place(specs.Mount{
		Destination: destination, Type: "bind", Source: path.Join(g.in.Files, name), Options: options,
	}, fromImplied, "", "")
}

// bindShared binds a file of another container's.
func (g *generator) bindShared(source, destination string) {
	if source == "" {
		return
	}
	options := []string{"bind", "rprivate"}
	if g.opt.ReadOnly {
		options = append(options, "ro", "nosuid", "nodev", "noexec")
	}
	_ = g.place(specs.Mount{Destination: destination, Type: "bind", Source: source, Options: options}, fromImplied, "", "")
}

// etcFiles makes hosts, hostname, resolv.conf and localtime.
func (g *generator) etcFiles() error {
	if !g.opt.NoHostname {
		g.bindFile("hostname", "/etc/hostname", []byte(g.hostname+"\n"))
	}
	if err := g.hosts(); err != nil {
		return err
	}
	if err := g.resolvConf(); err != nil {
		return err
	}
	return g.localtime()
}

// hosts makes /etc/hosts. What the user added stands first: resolvers take
// the first answer.
func (g *generator) hosts() error {
	if g.in.Joined.othersNet() {
		if len(g.opt.AddHosts) > 0 {
			return refuse("--add-host", g.opt.AddHosts[0], "the container has the /etc/hosts of the one whose network it shares").hint("give it to that container")
		}
		if !g.opt.NoHosts {
			g.bindShared(g.in.Joined.Hosts, "/etc/hosts")
		}
		return nil
	}
	if g.opt.NoHosts {
		if len(g.opt.AddHosts) > 0 {
			return refuse("--add-host", g.opt.AddHosts[0], "cannot be used with --no-hosts")
		}
		return nil
	}
	var b strings.Builder
	for _, word := range g.opt.AddHosts {
		line, err := g.addHost(word)
		if err != nil {
			return refused("--add-host", word, err)
		}
		b.WriteString(line)
	}
	if !g.ownNet {
		data, err := g.in.Host.ReadFile("/etc/hosts")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read the host's /etc/hosts: %w", err)
		}
		b.Write(data)
		g.bindFile("hosts", "/etc/hosts", []byte(b.String()))
		return nil
	}
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	// Without a network the container's own name is the loopback's, so that
	// programs that look it up do not wait.
	own, address := g.hostname, "127.0.0.1"
	if t := g.in.Tun; t != nil {
		address = t.Address
		b.WriteString(t.Gateway + "\thost.containers.internal host.docker.internal\n")
	}
	if g.in.Name != "" && g.in.Name != own {
		own += " " + g.in.Name
	}
	if own != "localhost" {
		b.WriteString(address + "\t" + own + "\n")
	}
	g.bindFile("hosts", "/etc/hosts", []byte(b.String()))
	return nil
}

// addHost reads NAME[;NAME…]:IP or NAME=IP.
func (g *generator) addHost(word string) (string, error) {
	names, ip, ok := strings.Cut(word, ":")
	if before, after, equals := strings.Cut(word, "="); equals && !strings.Contains(before, ":") {
		names, ip, ok = before, after, true
	}
	if !ok || names == "" {
		return "", bad("must be NAME:ADDRESS")
	}
	if ip == "host-gateway" {
		if g.in.Tun != nil {
			return g.in.Tun.Gateway + "\t" + strings.ReplaceAll(names, ";", " ") + "\n", nil
		}
		if g.ownNet {
			return "", bad("without a network the container has no gateway to the host")
		}
		return "", bad("with the host's network there is no gateway").hint("the host is localhost")
	}
	ip = strings.TrimSuffix(strings.TrimPrefix(ip, "["), "]")
	addr, zone, err := g.in.ParseAddr(ip)
	if err != nil || zone != "" {
		return "", bad("%q is not an IP address", ip)
	}
	list := strings.Split(names, ";")
	for _, name := range list {
		if name == "" || strings.ContainsAny(name, " \t\r\n#\x00") {
			return "", bad("%q is not a host name", name)
		}
	}
	return addr + "\t" + strings.Join(list, " ") + "\n", nil
}

// resolvConf makes /etc/resolv.conf. Without a network the root's own stays,
// as in podman. With the host's network the host's file is right as it
// stands, systemd-resolved's stub at 127.0.0.53 included: its loopback is
// ours.
func (g *generator) resolvConf() error {
	given := append(append(append([]string{}, g.opt.DNS...), g.opt.DNSSearch...), g.opt.DNSOption...)
	if g.in.Joined.othersNet() {
		if len(given) > 0 {
			return refuse("--dns, --dns-search and --dns-option", given[0], "the container has the /etc/resolv.conf of the one whose network it shares").hint("give it to that container")
		}
		g.bindShared(g.in.Joined.ResolvConf, "/etc/resolv.conf")
		return nil
	}
	if g.ownNet && g.in.Tun == nil {
		if len(given) > 0 {
			return refuse("--dns, --dns-search and --dns-option", given[0], "without a network there is nothing to ask")
		}
		return nil
	}
	if len(g.opt.DNS) == 1 && g.opt.DNS[0] == "none" {
		return nil // podman: keep the image's
	}
	data, err := g.in.Host.ReadFile("/etc/resolv.conf")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the host's /etc/resolv.conf: %w", err)
	}
	if g.in.Tun != nil {
		data = throughTun(data, g.in.Tun)
	}
	if len(given) > 0 {
		if data, err = g.customResolvConf(data); err != nil {
			return err
		}
	}
	g.bindFile("resolv.conf", "/etc/resolv.conf", data)
	return nil
}

// throughTun has the network's own server asked, which asks those of the host.
func throughTun(host []byte, t *Tun) []byte {
	var b strings.Builder
	for line := range strings.Lines(string(host)) {
		switch word, _, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(line, "\t", " ")), " "); word {
		case "search", "domain", "options", "sortlist":
			b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	return []byte(b.String() + t.ResolvConf)
}

// customResolvConf replaces each kind of line that a flag was given for.
func (g *generator) customResolvConf(host []byte) ([]byte, error) {
	var b strings.Builder
	servers, search, options := g.opt.DNS, g.opt.DNSSearch, g.opt.DNSOption
	for _, s := range servers {
		if _, _, err := g.in.ParseAddr(s); err != nil {
			return nil, refuse("--dns", s, "not an IP address")
		}
	}
	for _, s := range append(append([]string{}, search...), options...) {
		if s == "" || strings.ContainsAny(s, " \t\r\n\x00") {
			return nil, refuse("--dns-search or --dns-option", s, "must be one word")
		}
	}
	if len(search) == 1 && search[0] == "." {
		search = []string{} // docker and podman: no search list at all
	}
	if len(search) > 0 {
		b.WriteString("search " + strings.Join(search, " ") + "\n")
	}
	for _, s := range servers {
		b.WriteString("nameserver " + s + "\n")
	}
	if len(options) > 0 {
		b.WriteString("options " + strings.Join(options, " ") + "\n")
	}
	for line := range strings.Lines(string(host)) {
		word, _, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(line, "\t", " ")), " ")
		switch {
		case word == "nameserver" && servers == nil,
			(word == "search" || word == "domain") && search == nil,
			word == "options" && options == nil,
			word == "sortlist":
			b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	return []byte(b.String()), nil
}

// localtime copies a zone file, so that the image needs no zone database.
func (g *generator) localtime() error {
	zone := g.opt.TZ
	if zone == "" {
		return nil
	}
	file := "/etc/localtime"
	if zone != "local" {
		if path.IsAbs(zone) || path.Clean(zone) != zone || zone == ".." || strings.HasPrefix(zone, "../") {
			return refuse("--tz", zone, "not the name of a time zone").hint("names are like Europe/Berlin; local is the host's own")
		}
		file = "/usr/share/zoneinfo/" + zone
	}
	data, err := g.in.Host.ReadFile(file)
	if err != nil {
		return refuse("--tz", zone, "").because(err).hint("the host's zones are in /usr/share/zoneinfo")
	}
	if !strings.HasPrefix(string(data), "TZif") {
		return refuse("--tz", zone, "%s is not a time zone file", file)
	}
	g.bindFile("localtime", "/etc/localtime", data)
	return nil
}
