package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Networks in user space, each in a container over the host's own root, with the
// gateway standing for the host's loopback, where the servers are. Containers of all
// drivers run for all of the group, and are measured in turn.

var drivers = []string{"builtin", "slirp4netns", "pasta"}

// Rounds and seconds of a cell: there are many.
const (
	netRounds  = 3
	netSeconds = 3
)

// netStart starts a container named NET-DRIVER for each driver.
func (p place) netStart(name, options, flags, command string) error {
	for _, d := range drivers {
		if err := p.sh(fmt.Sprintf("coracle run -d --name %s-%s --network %s:host-loopback=true,%s %s host -- %s", name, d, d, options, flags, command)); err != nil {
			return err
		}
	}
	return nil
}

// netEnd removes them.
func (p place) netEnd() error { return p.sh("coracle rm -f -a -t 0 >/dev/null") }

// serve runs a server until stop.
func serve(args ...string) (stop func(), err error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }, nil
}

// cpuSeconds are those that all processes of this run have taken: both ends, the
// monitor and the driver's program. The kernel counts them for each cgroup, with
// controllers or without.
func cpuSeconds() (float64, error) {
	data, err := os.ReadFile("/sys/fs/cgroup/cpu.stat")
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "usage_usec" {
			us, err := strconv.ParseFloat(f[1], 64)
			return us / 1e6, err
		}
	}
	return 0, fmt.Errorf("no usage_usec in cpu.stat: %w", err)
}

// iperf is what iperf3 -J tells.
type iperf struct {
	Error string
	End   struct {
		Received struct {
			Bytes float64
			Speed float64 `json:"bits_per_second"`
		} `json:"sum_received"`
		Sum struct {
			Bytes float64
			Speed float64 `json:"bits_per_second"`
			Lost  float64 `json:"lost_percent"`
		}
	}
}

// client has a container talk to a server on the host, and says what it took.
func client(container string, port int, flags ...string) (r iperf, cpu float64, err error) {
	host := "10.0.2.2"
	if strings.HasSuffix(container, "-host") {
		host = "127.0.0.1"
	}
	args := append([]string{"30", "coracle", "exec", container, "iperf3", "-J", "-c", host, "-p", strconv.Itoa(port), "-t", strconv.Itoa(netSeconds)}, flags...)
	for range 50 {
		before, err := cpuSeconds()
		if err != nil {
			return r, 0, err
		}
		r = iperf{}
		out, err := exec.Command("timeout", args...).Output()
		if jerr := json.Unmarshal(out, &r); err == nil {
			err = jerr
		}
		after, cerr := cpuSeconds()
		switch {
		case strings.Contains(r.Error, "busy"): // with the end of the one before
			time.Sleep(100 * time.Millisecond)
			continue
		case r.Error != "":
			return r, 0, fmt.Errorf("iperf3 in %s: %s", container, r.Error)
		}
		return r, after - before, errors.Join(err, cerr)
	}
	return r, 0, fmt.Errorf("iperf3 in %s: %s", container, r.Error)
}

// figures gathers those of several rounds, by program.
type figures struct {
	speed, cpu map[string][]float64
}

func newFigures() figures { return figures{map[string][]float64{}, map[string][]float64{}} }

func (f figures) add(program string, speed, cpu float64) {
	f.speed[program], f.cpu[program] = append(f.speed[program], speed), append(f.cpu[program], cpu)
	fmt.Fprintf(os.Stderr, "bench: %s %.2f\n", program, speed)
}

// rows are a line for each driver, and what builtin is to each of the others.
func (f figures) rows(cell string, programs ...string) (out []Row) {
	name := func(program string) string {
		if program == "builtin" {
			return cell + "coracle builtin"
		}
		return cell + program
	}
	ours := median(f.speed["builtin"])
	for _, p := range programs {
		r := Row{Program: name(p), Median: median(f.speed[p]), Least: least(f.speed[p]), CPU: median(f.cpu[p])}
		if p != "builtin" {
			r.RatioTo, r.Ratio = "this is builtin", ours/r.Median
		}
		out = append(out, r)
	}
	return out
}

func networkTCP(p place, _ int) (Group, error) {
	return p.throughput(1500, "builtin ≥ 1 × slirp4netns and ≥ 1 × pasta in every cell")
}

func networkTCPLarge(p place, _ int) (Group, error) {
	return p.throughput(65520, "builtin ≥ 1 × slirp4netns and ≥ 0.9 × pasta in every cell, aim 1 ×")
}

// throughput is iperf3 with a server on the host's side.
func (p place) throughput(mtu int, goal string) (g Group, err error) {
	const port = 5297
	g = Group{Name: fmt.Sprintf("Network: TCP at MTU %d", mtu), Unit: "Gb/s", Goal: goal,
		Note: fmt.Sprintf("`iperf3` in a container to a server on the host, %d s, %d rounds in turn; CPU seconds per GB are of all that take part: both ends, the monitor, the helper program", netSeconds, netRounds)}
	stop, err := serve("iperf3", "-s", "-B", "127.0.0.1", "-p", strconv.Itoa(port))
	if err != nil {
		return g, err
	}
	defer stop()
	if err := p.netStart("tcp", fmt.Sprintf("mtu=%d", mtu), "", "sleep 4711"); err != nil {
		return g, err
	}
	defer func() { err = firstOf(err, p.netEnd()) }()
	for _, cell := range []struct {
		name  string
		flags []string
	}{
		{"sends, 1 stream: ", []string{"-P", "1"}},
		{"receives, 1 stream: ", []string{"-P", "1", "-R"}},
		{"sends, 8 streams: ", []string{"-P", "8"}},
		{"receives, 8 streams: ", []string{"-P", "8", "-R"}},
	} {
		f := newFigures()
		for range netRounds {
			for _, d := range drivers {
				r, cpu, err := client("tcp-"+d, port, cell.flags...)
				if err != nil {
					return g, err
				}
				f.add(d, r.End.Received.Speed/1e9, cpu/(r.End.Received.Bytes/1e9))
			}
		}
		g.Rows = append(g.Rows, f.rows(cell.name, drivers...)...)
	}
	return g, nil
}

// networkUDP sends datagrams at one Gb/s and counts what comes.
func networkUDP(p place, _ int) (g Group, err error) {
	const port = 5298
	g = Group{Name: "Network: UDP at 1 Gb/s", Unit: "% lost", Goal: "builtin loses no more than the others, and not half where the host's own loopback loses nothing",
		Note: fmt.Sprintf("`iperf3 -u -b 1G`, datagrams of 1,400 bytes, %d s, %d rounds in turn; host: with the host's network, without any driver; CPU seconds are for a GB that came", netSeconds, netRounds)}
	stop, err := serve("iperf3", "-s", "-B", "127.0.0.1", "-p", strconv.Itoa(port))
	if err != nil {
		return g, err
	}
	defer stop()
	if err := p.netStart("udp", "mtu=1500", "", "sleep 4711"); err != nil {
		return g, err
	}
	defer func() { err = firstOf(err, p.netEnd()) }()
	if err := p.sh("coracle run -d --name udp-host --network host host -- sleep 4711"); err != nil {
		return g, err
	}
	all := append(slices.Clone(drivers), "host")
	for _, cell := range []struct {
		name  string
		flags []string
	}{{"sends: ", nil}, {"receives: ", []string{"-R"}}} {
		f := newFigures()
		for range netRounds {
			for _, d := range all {
				r, cpu, err := client("udp-"+d, port, append([]string{"-u", "-b", "1G", "-l", "1400"}, cell.flags...)...)
				if err != nil {
					return g, err
				}
				f.add(d, r.End.Sum.Lost, cpu/(r.End.Sum.Bytes/1e9*(1-r.End.Sum.Lost/100)))
			}
		}
		rows := f.rows(cell.name, all...)
		for i := range rows {
			rows[i].RatioTo = "" // of nothing
		}
		g.Rows = append(g.Rows, rows...)
	}
	return g, nil
}
