package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Published ports, with nginx behind them.

// nginxConf serves NGINX, a directory of the host's, without a log.
const nginxConf = `daemon off; worker_processes 1; error_log /dev/null; pid /tmp/nginx.pid;
events { worker_connections 8192; }
http { access_log off; keepalive_requests 100000000; keepalive_timeout 600s; sendfile on;
  client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c; uwsgi_temp_path /tmp/d; scgi_temp_path /tmp/e;
  server { listen 8080; root /srv/www; } }
`

// podmanPort is podman's own way to publish, beside those of ours.
const podmanPort = "podman"

// publishNginx gives the port of each driver, and of podman.
func (p place) publishNginx() (map[string]int, error) {
	if err := os.WriteFile(p.join("images/nginx.conf"), []byte(nginxConf), 0o644); err != nil {
		return nil, err
	}
	if err := p.sh("mkdir -p www && echo small >www/small && head -c 10M /dev/zero >www/large"); err != nil {
		return nil, err
	}
	ports := map[string]int{}
	for i, d := range drivers {
		ports[d] = 5281 + i
		if err := p.sh(fmt.Sprintf("coracle run -d --name www-%s --network %s -p 127.0.0.1:%d:8080 -v $PWD/nginx.conf:/etc/nginx/nginx.conf:ro -v $PWD/www:/srv/www:ro host -- nginx", d, d, ports[d])); err != nil {
			return nil, err
		}
	}
	ports[podmanPort] = 5281 + len(drivers)
	if err := p.bothHaveBusybox(); err != nil {
		return nil, err
	}
	err := p.sh(strings.Join(podman("run", "-d", "--name", "www", "--network", "slirp4netns", "-p", fmt.Sprintf("127.0.0.1:%d:8080", ports[podmanPort]),
		"-v", "$PWD/nginx.conf:/etc/nginx/nginx.conf:ro", "-v", "$PWD/www:/srv/www:ro", "-v", "/etc/passwd:/etc/passwd:ro", "-v", "/etc/group:/etc/group:ro",
		"-v", "/usr:/usr:ro", "-v", "/usr/lib:/lib:ro", "-v", "/usr/lib64:/lib64:ro", "localhost/bench", "/usr/sbin/nginx", "-c", "/etc/nginx/nginx.conf"), " "))
	for _, port := range ports {
		err = firstOf(err, serves(port))
	}
	return ports, err
}

// serves waits until nginx answers: published ports listen before it does.
func serves(port int) (err error) {
	for range 200 {
		var r *http.Response
		if r, err = http.Get(fmt.Sprintf("http://127.0.0.1:%d/small", port)); err == nil {
			return r.Body.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// wrk makes requests for as long as a cell lasts.
func wrk(port int, file string, connections int) (perSecond, gigabytes float64, err error) {
	out, err := exec.Command("wrk", "-t", "1", "-c", strconv.Itoa(connections), "-d", fmt.Sprintf("%ds", netSeconds), fmt.Sprintf("http://127.0.0.1:%d/%s", port, file)).CombinedOutput()
	if err != nil || strings.Contains(string(out), "Socket errors") {
		return 0, 0, fmt.Errorf("wrk: %w: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 2 && f[0] == "Requests/sec:":
			perSecond, err = strconv.ParseFloat(f[1], 64)
		case len(f) == 6 && f[1] == "requests":
			gigabytes, err = wrkSize(f[4])
		}
	}
	return perSecond, gigabytes, err
}

// wrkSize reads a size of wrk's, as 12.34MB: of 1024 each.
func wrkSize(s string) (float64, error) {
	for unit, size := range map[string]float64{"KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30} {
		if n, ok := strings.CutSuffix(s, unit); ok {
			v, err := strconv.ParseFloat(n, 64)
			return v * size / 1e9, err
		}
	}
	return 0, fmt.Errorf("read %q as a size", s)
}

// published measures nginx behind a published port of each driver's and of podman's, in turn.
func (p place) published(measure func(driver string, port int, f figures) error) (f figures, all []string, err error) {
	ports, err := p.publishNginx()
	defer func() { err = firstOf(err, p.removeAll()) }()
	if err != nil {
		return f, nil, err
	}
	f, all = newFigures(), append(slices.Clone(drivers), podmanPort)
	for range netRounds {
		for _, d := range all {
			if err := measure(d, ports[d], f); err != nil {
				return f, all, fmt.Errorf("%s: %w", d, err)
			}
		}
	}
	return f, all, nil
}

func networkRequests(p place, _ int) (Group, error) {
	g := Group{Name: "Network: requests to a published port", Unit: "requests/s", Goal: "builtin ≥ 0.8 × slirp4netns and ≥ 1 × pasta",
		Note: fmt.Sprintf("`wrk` with 50 connections against nginx in a container, published by `-p`, a file of 6 bytes, %d s, %d rounds in turn; podman: its own port forwarding", netSeconds, netRounds)}
	f, all, err := p.published(func(driver string, port int, f figures) error {
		perSecond, _, err := wrk(port, "small", 50)
		f.add(driver, perSecond, 0)
		return err
	})
	g.Rows = f.rows("", all...)
	return g, err
}

func networkDownload(p place, _ int) (Group, error) {
	g := Group{Name: "Network: bytes through a published port", Unit: "Gb/s", Goal: "none; CPU seconds per GB are reported",
		Note: fmt.Sprintf("`wrk` with 4 connections against nginx in a container, a file of 10 MiB, %d s, %d rounds in turn", netSeconds, netRounds)}
	f, all, err := p.published(func(driver string, port int, f figures) error {
		before, err := cpuSeconds()
		if err != nil {
			return err
		}
		_, gb, err := wrk(port, "large", 4)
		if err != nil {
			return err
		}
		after, err := cpuSeconds()
		f.add(driver, gb*8/netSeconds, (after-before)/gb)
		return err
	})
	g.Rows = f.rows("", all...)
	return g, err
}

// networkShort makes 2,000 connections a second, for a request each.
func networkShort(p place, _ int) (Group, error) {
	g := Group{Name: "Network: 2,000 short connections per second", Unit: "failed or late, of 2,000 each second", Goal: "none fails",
		Note: fmt.Sprintf("through a published port, one request each, for %d s, %d rounds in turn: those that failed, and those that could not be begun within the time because 200 others were open; the mean time of one is in the program's name", netSeconds, netRounds)}
	took := map[string][]float64{}
	f, all, err := p.published(func(driver string, port int, f figures) error {
		failed, millis := short(port, 2000)
		took[driver] = append(took[driver], millis)
		f.add(driver, failed, 0)
		return nil
	})
	for _, d := range all {
		name := d
		if d == "builtin" {
			name = "coracle builtin"
		}
		g.Rows = append(g.Rows, Row{Program: fmt.Sprintf("%s, %.1f ms", name, median(took[d])), Median: median(f.speed[d]), Least: least(f.speed[d])})
	}
	return g, err
}

// short says how many of a second's connections failed or were not begun in time, and
// how long the others took in the mean.
func short(port, perSecond int) (failed, millis float64) {
	var done, bad, took atomic.Int64
	var all sync.WaitGroup
	slots := make(chan struct{}, 200)
	began := time.Now()
	want := perSecond * netSeconds
	for i := range want {
		due := began.Add(time.Duration(i) * time.Second / time.Duration(perSecond))
		if wait := time.Until(due); wait > time.Millisecond {
			time.Sleep(wait)
		}
		if time.Since(began) > (netSeconds+1)*time.Second {
			bad.Add(int64(want - i))
			break
		}
		slots <- struct{}{}
		all.Add(1)
		go func() {
			defer func() { <-slots; all.Done() }()
			start := time.Now()
			if err := oneRequest(port); err != nil {
				bad.Add(1)
				return
			}
			done.Add(1)
			took.Add(int64(time.Since(start)))
		}()
	}
	all.Wait()
	return float64(bad.Load()) / netSeconds, float64(took.Load()) / float64(max(1, done.Load())) / 1e6
}

func oneRequest(port int) error {
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, "GET /small HTTP/1.0\r\n\r\n"); err != nil {
		return err
	}
	answer, err := io.ReadAll(c)
	if err == nil && !strings.HasSuffix(string(answer), "\r\n\r\nsmall\n") {
		err = fmt.Errorf("answered %q", answer)
	}
	return err
}
