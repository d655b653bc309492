package helper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// Descriptors of slirp4netns: what follows the standard streams.
const (
	slirpExit = 3 + iota
	slirpReady
)

// slirpArgs are its arguments. The namespaces are those of a process: with descriptors
// of them (--netns-type=path) its sandbox is for root only, who need not join the user
// namespace a second time.
func (n *Network) slirpArgs(pid int) []string {
	c := n.config
	args := []string{"--configure", "--enable-sandbox", "--mtu=" + bits(c.MTU), "--cidr=" + c.IPv4.Masked().String(),
		fmt.Sprintf("--exit-fd=%d", slirpExit), fmt.Sprintf("--ready-fd=%d", slirpReady)}
	if mac := c.MAC.String(); mac != "" {
		args = append(args, "--macaddress="+mac)
	}
	if c.IPv6.IsValid() {
		args = append(args, "--enable-ipv6")
	}
	if !c.HostLoopback {
		args = append(args, "--disable-host-loopback")
	}
	return append(args, bits(pid), c.Interface)
}

// slirp starts slirp4netns, which ends when we do: it holds the other end of a pipe.
func (n *Network) slirp(p Place) error {
	exitR, exitW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer exitR.Close()
	readyR, readyW, err := os.Pipe()
	if err != nil {
		exitW.Close()
		return err
	}
	defer readyR.Close()
	var out bytes.Buffer
	cmd := exec.CommandContext(context.Background(), n.path, n.slirpArgs(p.PID)...) //nolint:gosec // a fixed program with addresses that were checked
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.ExtraFiles = []*os.File{exitR, readyW}
	err = cmd.Start()
	readyW.Close()
	if err != nil {
		exitW.Close()
		return err
	}
	go func() {
		_ = cmd.Wait()
		close(n.lost)
	}()
	n.end = func() {
		exitW.Close()
		select {
		case <-n.lost:
		case <-time.After(time.Second): // it does not hear
			_ = cmd.Process.Kill()
			<-n.lost
		}
	}
	_ = readyR.SetReadDeadline(time.Now().Add(startTime))
	var b [1]byte
	if _, err := readyR.Read(b[:]); err != nil {
		n.end()
		return said(errors.New("it has not come up"), &out)
	}
	return nil
}
