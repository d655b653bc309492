package spec

import (
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestSystemd(t *testing.T) {
	const rtmin3 = 37
	for _, tt := range []struct {
		systemd, args, user, image string
		change                     func(*Options)
		want                       bool
		signal                     int
	}{
		{args: "/sbin/init", want: true, signal: rtmin3},
		{args: "/usr/sbin/init x", want: true, signal: rtmin3},
		{args: "/usr/lib/systemd/systemd", want: true, signal: rtmin3},
		{args: "systemd --user", want: true, signal: rtmin3},
		{args: "/bin/sh -c /sbin/init", want: true, signal: rtmin3},
		{systemd: "true", args: "/sbin/init", want: true, signal: rtmin3},
		{systemd: "always", args: "/bin/sh", want: true, signal: rtmin3},
		{systemd: "false", args: "/sbin/init", signal: int(syscall.SIGTERM)},
		{args: "/bin/sh -c init", signal: int(syscall.SIGTERM)},
		{args: "/opt/init", signal: int(syscall.SIGTERM)},
		{args: "/sbin/init", user: "HUP", want: true, signal: int(syscall.SIGHUP)},
		{args: "/sbin/init", image: "USR1", want: true, signal: int(syscall.SIGUSR1)},
		{args: "/sbin/init", change: func(o *Options) { o.Init = true }, signal: int(syscall.SIGTERM)},
		{args: "/sbin/init", change: func(o *Options) { o.PID = "host" }, signal: int(syscall.SIGTERM)},
	} {
		in := goldens()["default"]
		in.Image.Entrypoint, in.Image.StopSignal = nil, tt.image
		in.Options.Args, in.Options.Systemd, in.Options.StopSignal = strings.Fields(tt.args), tt.systemd, tt.user
		host := *in.Host.(*fakeHost)
		host.cgroup = true
		in.Host = &host
		if tt.change != nil {
			tt.change(&in.Options)
		}
		res, err := Generate(in)
		if err != nil {
			t.Fatalf("%+v: %v", tt, err)
		}
		if res.Systemd != tt.want || res.StopSignal != tt.signal {
			t.Errorf("%q %s: systemd %v, stopped by %d", tt.systemd, tt.args, res.Systemd, res.StopSignal)
		}
		uuid := slices.ContainsFunc(res.Spec.Process.Env, func(e string) bool { return strings.HasPrefix(e, "container_uuid=") })
		writable, tmpfs := false, 0
		for _, m := range res.Spec.Mounts {
			if m.Type == "cgroup" {
				writable = slices.Contains(m.Options, "rw")
			}
			if m.Type == "tmpfs" && slices.Contains([]string{"/run", "/run/lock", "/tmp", "/var/log/journal"}, m.Destination) {
				tmpfs++
			}
		}
		if uuid != tt.want || writable != tt.want || (tmpfs == 4) != tt.want {
			t.Errorf("%q %s: container_uuid %v, cgroup writable %v, %d tmpfs", tt.systemd, tt.args, uuid, writable, tmpfs)
		}
	}
}
