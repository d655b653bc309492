package netns

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Holder is who has a port of the host's.
type Holder struct {
	UID     int
	PID     int    // 0: unknown, for it is another user's
	Program string // its name, "" with it
}

// FindHolder looks for who stands in the way of p; false where nobody is seen.
// Source: proc_pid_net(5). Whose files may not be read, only the user is known of.
func FindHolder(p Port) (Holder, bool) {
	for _, family := range []string{"", "6"} {
		f, err := os.Open("/proc/net/" + p.Protocol + family)
		if err != nil {
			continue
		}
		uid, inode, ok := findSocket(bufio.NewScanner(f), p)
		f.Close()
		if ok {
			pid, program := socketOwner(inode)
			return Holder{uid, pid, program}, true
		}
	}
	return Holder{}, false
}

// findSocket reads a table of sockets until one that has the port and is open to others.
func findSocket(lines *bufio.Scanner, p Port) (uid int, inode string, ok bool) {
	const listening, unconnected = "0A", "07"
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[3] != listening && f[3] != unconnected {
			continue
		}
		addr, port, ok := parseSocket(f[1])
		both := addr == netip.IPv6Unspecified() // it may have IPv4's, too
		if !ok || port != p.Host || !both && !SameHost(addr, p.HostIP) {
			continue
		}
		if uid, err := strconv.Atoi(f[7]); err == nil {
			return uid, f[9], true
		}
	}
	return 0, "", false
}

// parseSocket reads ADDRESS:PORT, in hexadecimal; the address is in words of the
// machine's order, which is little endian on all that there are.
func parseSocket(s string) (netip.Addr, uint16, bool) {
	host, port, _ := strings.Cut(s, ":")
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.Addr{}, 0, false
	}
	b, err := hex.DecodeString(host)
	if err != nil || len(b)%4 != 0 {
		return netip.Addr{}, 0, false
	}
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	a, ok := netip.AddrFromSlice(b)
	return a.Unmap(), uint16(n), ok
}

// socketOwner is a process that has the socket open.
func socketOwner(inode string) (pid int, program string) {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*") // those that we may read
	for _, l := range links {
		if to, err := os.Readlink(l); err != nil || to != fmt.Sprintf("socket:[%s]", inode) {
			continue
		}
		dir := filepath.Dir(filepath.Dir(l))
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			continue
		}
		pid, _ = strconv.Atoi(filepath.Base(dir))
		return pid, strings.TrimSpace(string(name))
	}
	return 0, ""
}
