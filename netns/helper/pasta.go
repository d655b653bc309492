package helper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// pastaArgs are its arguments. It has the addresses that the builtin network would
// have, publishes nothing by itself, and does not map the gateway to the host's
// loopback unless it is to.
func (n *Network) pastaArgs(pid int, pidFile string) []string {
	c := n.config
	args := []string{"--config-net", "--quiet", "--stderr", "--pid", pidFile,
		"--ns-ifname", c.Interface, "--mtu", bits(c.MTU), "--no-dhcp", "--no-dhcpv6", "--no-ra",
		"--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none",
		"--address", c.IPv4.Addr().String(), "--netmask", bits(c.IPv4.Bits()), "--gateway", c.Gateway4.String(), "--dns-forward", c.DNS4.String()}
	if mac := c.MAC.String(); mac != "" {
		args = append(args, "--ns-mac-addr", mac)
	}
	if c.IPv6.IsValid() {
		args = append(args, "--address", c.IPv6.Addr().String(), "--gateway", c.Gateway6.String())
	} else {
		args = append(args, "--ipv4-only")
	}
	if !c.HostLoopback {
		args = append(args, "--no-map-gw")
	}
	if os.Geteuid() == 0 { // else it becomes nobody, who may not join
		args = append(args, "--runas", "0:0")
	}
	return append(args, "--userns", fmt.Sprintf("/proc/%d/ns/user", pid), "--netns", fmt.Sprintf("/proc/%d/ns/net", pid))
}

// pasta starts pasta, which goes into the background when it is ready.
func (n *Network) pasta(p Place) error {
	dir, err := os.MkdirTemp("", "coracle-pasta-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	pidFile := filepath.Join(dir, "pid")
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	out, err := os.CreateTemp(dir, "said") // a pipe would stay open as long as it runs
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, n.path, n.pastaArgs(p.PID, pidFile)...) //nolint:gosec // a fixed program with addresses that were checked
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		words, _ := os.ReadFile(out.Name())
		return said(err, bytes.NewBuffer(words))
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("read its pid: %w", err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return errors.New("it has ended at once")
	}
	pidfd := os.NewFile(uintptr(fd), "pasta")
	stop, err := p.Guard(pidfd)
	if err != nil {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		pidfd.Close()
		return err
	}
	go n.watch(pidfd)
	n.end = func() {
		_ = unix.PidfdSendSignal(int(pidfd.Fd()), unix.SIGKILL, nil, 0)
		<-n.lost
		stop()
		pidfd.Close()
	}
	return nil
}

// watch waits for its end.
func (n *Network) watch(pidfd *os.File) {
	defer close(n.lost)
	for {
		fds := []unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
