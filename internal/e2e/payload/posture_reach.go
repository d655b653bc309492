package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// reachPostures try to get at other programs: by sockets, signals and the network.
// Addresses are of the script's own world.
func reachPostures() []posture {
	dial := func(line, name, network string, address func(f facts) string) posture {
		return posture{line, name, func(f facts) string {
			c, err := net.DialTimeout(network, address(f), 3*time.Second)
			if err != nil {
				return ""
			}
			defer c.Close()
			return "connected to " + c.RemoteAddr().String()
		}}
	}
	at := func(host string) func(facts) string {
		return func(f facts) string { return net.JoinHostPort(host, f["port"]) }
	}
	file := func(key string) func(facts) string { return func(f facts) string { return f[key] } }
	list := []posture{
		dial("20", "socket-in-tmp", "unix", file("tmpsocket")), dial("20", "socket-in-run", "unix", file("runsocket")),
		dial("20", "socket-in-other-directory", "unix", file("othersocket")), dial("20", "socket-in-project", "unix", file("cwdsocket")),
		dial("20", "abstract-socket", "unix", func(f facts) string { return "@" + f["mark"] }),
		{"21", "signal-host-process", func(f facts) string {
			pid, _ := strconv.Atoi(f["victim"])
			return got(unix.Kill(pid, unix.SIGUSR1), "sent")
		}},
		{"21", "signal-parent", func(f facts) string {
			for _, pid := range strangers() {
				comm, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
				if name := strings.TrimSpace(string(comm)); pid != 1 && name == f["tool"] && unix.Kill(pid, 0) == nil {
					return "can end " + name
				}
			}
			return ""
		}},
		dial("31", "loopback", "tcp", at("127.0.0.1")), dial("31", "loopback-6", "tcp", at("::1")), dial("31", "gateway-10.0.2.2", "tcp", at("10.0.2.2")),
		dial("32", "metadata-service", "tcp", at("169.254.169.254")), dial("32", "unspecified-0.0.0.0", "tcp", at("0.0.0.0")),
		dial("32", "mapped-loopback", "tcp", at("::ffff:127.0.0.1")), dial("32", "private-range", "tcp", at("10.9.9.9")),
		dial("33", "direct-address", "tcp", at("203.0.113.7")),
		{"36", "udp-and-quic", func(f facts) string { return datagram("203.0.113.7:" + f["port"]) }},
		{"36", "dns-to-public-resolver", func(f facts) string { return datagram("203.0.113.53:" + f["port"]) }},
		{"36", "ping", ping},
	}
	return list
}

// datagram sends one, and wants it answered.
func datagram(to string) string {
	c, err := net.Dial("udp", to)
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("anybody?")); err != nil {
		return ""
	}
	buf := make([]byte, 64)
	n, err := c.Read(buf)
	return got(err, string(buf[:n]))
}

func ping(facts) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)
	if err != nil {
		return ""
	}
	err = unix.Sendto(fd, []byte{8, 0, 0, 0, 0, 0, 0, 0}, 0, &unix.SockaddrInet4{Addr: [4]byte{203, 0, 113, 7}})
	return got(err, "sent")
}

// world listens for all that the attempts look for, says so, and stays.
//
//	world MARK PORTFILE SOCKET…
func world(args []string) error {
	for _, name := range append([]string{"@" + args[0]}, args[2:]...) {
		if _, err := net.Listen("unix", name); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return err
	}
	port := l.Addr().(*net.TCPAddr).Port
	u, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
	if err != nil {
		return err
	}
	tmp := filepath.Join(filepath.Dir(args[1]), ".port")
	if err := os.WriteFile(tmp, []byte(strconv.Itoa(port)), 0o644); err != nil {
		return err
	}
	if err := os.Rename(tmp, args[1]); err != nil {
		return err
	}
	buf := make([]byte, 64)
	for {
		n, from, err := u.ReadFromUDP(buf)
		if err != nil {
			return err
		}
		_, _ = u.WriteToUDP(buf[:n], from)
	}
}

// spawn runs its arguments as a child, as a launcher that defends nothing.
func spawn(args []string) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	for fd := 3; fd <= 20; fd++ { // those that it has been left, too
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
			break
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(fd), ""))
	}
	return cmd.Run()
}
