package spec

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// defaultStopTimeout is docker's and podman's.
const defaultStopTimeout = 10 * time.Second

// metadata takes labels, annotations, exposed ports, and how to stop.
func (g *generator) metadata() error {
	if err := g.labels(); err != nil {
		return err
	}
	if err := g.expose(); err != nil {
		return err
	}
	if err := g.stop(); err != nil {
		return err
	}
	// image-spec, conversion.md: what the image says goes to annotations, its
	// labels over those; what the user says stands above both. Only labels of
	// image-spec's own are taken: runtimes obey annotations (crun's
	// run.oci.hooks.stdout writes a file of the host), and an image is not to
	// give them orders. All labels are in Result.
	if len(g.in.Image.ExposedPorts) > 0 {
		g.annotate("org.opencontainers.image.exposedPorts", strings.Join(slices.Sorted(maps.Keys(g.in.Image.ExposedPorts)), ","))
	}
	for key, value := range g.in.Image.Labels {
		if strings.HasPrefix(key, "org.opencontainers.image.") {
			g.annotate(key, value)
		}
	}
	for _, word := range g.opt.Annotations {
		key, value, ok := strings.Cut(word, "=")
		if !ok || key == "" {
			return refuse("--annotation", word, "must be NAME=VALUE")
		}
		g.annotate(key, value)
	}
	return nil
}

func (g *generator) annotate(key, value string) {
	if g.spec.Annotations == nil {
		g.spec.Annotations = make(map[string]string)
	}
	g.spec.Annotations[key] = value
}

// labels merges the image's, --label-file and --label; NAME alone has an
// empty value.
func (g *generator) labels() error {
	all := maps.Clone(g.in.Image.Labels)
	if all == nil {
		all = make(map[string]string)
	}
	for _, file := range g.opt.LabelFiles {
		data, err := g.readHost(file)
		if err != nil {
			return refuse("--label-file", file, "").because(err)
		}
		for line := range strings.Lines(string(data)) {
			line = strings.TrimLeft(strings.TrimRight(line, "\r\n"), " \t")
			if line == "" || line[0] == '#' {
				continue
			}
			if err := label(all, line); err != nil {
				return refused("--label-file", file, err)
			}
		}
	}
	for _, word := range g.opt.Labels {
		if err := label(all, word); err != nil {
			return refused("--label", word, err)
		}
	}
	if len(all) > 0 {
		g.res.Labels = all
	}
	return nil
}

func label(all map[string]string, word string) error {
	key, value, _ := strings.Cut(word, "=")
	if key == "" {
		return bad("%q has no name", word)
	}
	all[key] = value
	return nil
}

// expose collects the ports; nothing listens for them yet.
func (g *generator) expose() error {
	ports := make(map[string]bool)
	for p := range g.in.Image.ExposedPorts {
		if canonical, err := parsePort(p); err == nil { // an image's nonsense is not the user's error
			ports[canonical] = true
		}
	}
	for _, word := range g.opt.Expose {
		p, err := parsePort(word)
		if err != nil {
			return refused("--expose", word, err)
		}
		ports[p] = true
	}
	if len(ports) > 0 {
		g.res.Ports = slices.Sorted(maps.Keys(ports))
	}
	return nil
}

// parsePort reads PORT[-PORT][/PROTOCOL].
func parsePort(s string) (string, error) {
	numbers, protocol, given := strings.Cut(s, "/")
	protocol = strings.ToLower(protocol)
	if !given {
		protocol = "tcp"
	}
	if !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) {
		return "", bad("unknown protocol %q", protocol).hint("protocols are tcp, udp and sctp")
	}
	first, last, isRange := strings.Cut(numbers, "-")
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := a, error(nil)
	if isRange {
		b, errB = strconv.ParseUint(last, 10, 16)
	}
	if errA != nil || errB != nil || a == 0 || b < a {
		return "", bad("%q is not a port or a range of ports", numbers)
	}
	return numbers + "/" + protocol, nil
}

func (g *generator) stop() error {
	flag, name := "--stop-signal", g.opt.StopSignal
	if name == "" {
		flag, name = "the image's stop signal", g.in.Image.StopSignal
	}
	if name == "" && g.res.Systemd {
		name = systemdStop
	}
	g.res.StopSignal = int(syscall.SIGTERM)
	if name != "" {
		n, err := ParseSignal(name)
		if err != nil {
			return refused(flag, name, err)
		}
		g.res.StopSignal = n
	}
	g.annotate("org.opencontainers.image.stopSignal", strconv.Itoa(g.res.StopSignal))
	g.res.StopTimeout = defaultStopTimeout
	if t := g.opt.StopTimeout; t != nil {
		if *t < -1 || int64(*t) > int64(1<<63-1)/int64(time.Second) {
			return refuse("--stop-timeout", strconv.Itoa(*t), "must be seconds, or -1 for ever")
		}
		g.res.StopTimeout = time.Duration(*t) * time.Second
	}
	return nil
}
