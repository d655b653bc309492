package cgroupv2

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	systemdName    = "org.freedesktop.systemd1"
	systemdPath    = dbus.ObjectPath("/org/freedesktop/systemd1")
	systemdManager = systemdName + ".Manager."
	// busPatience bounds one exchange with systemd, jobs included.
	busPatience = 30 * time.Second
)

// busAddress is a socket where a systemd manager may listen: its own, or a bus
// that leads to it.
type busAddress struct {
	socket string // a path, or @name
	own    bool   // no bus between: no Hello, no matches
}

// busAddresses are the places to try, in order. The manager's own socket
// is nearest and needs no bus daemon (dbus-user-session), but is only for its
// user; within a user namespace too, for the kernel tells it who we are.
func busAddresses(user bool, uid int, getenv func(string) string) []busAddress {
	if !user {
		return []busAddress{{"/run/systemd/private", true}, {"/run/dbus/system_bus_socket", false}}
	}
	var out []busAddress
	runtime := getenv("XDG_RUNTIME_DIR")
	if runtime == "" {
		runtime = fmt.Sprintf("/run/user/%d", uid)
	}
	out = append(out, busAddress{runtime + "/systemd/private", true})
	for address := range strings.SplitSeq(getenv("DBUS_SESSION_BUS_ADDRESS"), ";") {
		options, ok := strings.CutPrefix(address, "unix:")
		if !ok {
			continue // tcp, autolaunch: no systemd is behind those
		}
		for option := range strings.SplitSeq(options, ",") {
			key, v, _ := strings.Cut(option, "=")
			v, err := url.PathUnescape(v)
			if err != nil {
				continue
			}
			switch key {
			case "path":
				out = append(out, busAddress{v, false})
			case "abstract":
				out = append(out, busAddress{"@" + v, false})
			}
		}
	}
	return append(out, busAddress{runtime + "/bus", false})
}

// systemd is a connection to one manager.
type systemd struct {
	conn *dbus.Conn
	ctx  context.Context
	own  bool
}

// dialSystemd connects to the first address that answers.
func dialSystemd(ctx context.Context, addresses []busAddress) (*systemd, error) {
	var errs error
	for _, a := range addresses {
		s, err := dialOne(ctx, a)
		if err == nil {
			return s, nil
		}
		errs = both(errs, err)
	}
	return nil, fmt.Errorf("reach systemd: %w", errs)
}

func dialOne(ctx context.Context, a busAddress) (*systemd, error) {
	var d net.Dialer
	sock, err := d.DialContext(ctx, "unix", a.socket)
	if err != nil {
		return nil, err
	}
	// The handshake knows no context; a socket that is silent ends here.
	if end, ok := ctx.Deadline(); ok {
		err = sock.SetDeadline(end)
	}
	var conn *dbus.Conn
	if err == nil {
		conn, err = dbus.NewConn(sock, dbus.WithContext(ctx))
	}
	if err != nil {
		return nil, both(err, sock.Close())
	}
	// No name: the other side takes the id that the kernel gives, which is
	// right in a user namespace too, where we do not know ours.
	err = conn.Auth([]dbus.Auth{dbus.AuthExternal("")})
	if err == nil && !a.own {
		err = conn.Hello()
	}
	if err != nil {
		return nil, both(fmt.Errorf("talk to %s: %w", a.socket, err), conn.Close())
	}
	return &systemd{conn: conn, ctx: ctx, own: a.own}, nil
}

func (s *systemd) close() { _ = s.conn.Close() }

func (s *systemd) call(method string, args ...any) *dbus.Call {
	return s.conn.Object(systemdName, systemdPath).CallWithContext(s.ctx, systemdManager+method, 0, args...)
}

func (s *systemd) get(path dbus.ObjectPath, iface, name string, into any) error {
	var v dbus.Variant
	err := s.conn.Object(systemdName, path).CallWithContext(s.ctx, "org.freedesktop.DBus.Properties.Get", 0, iface, name).Store(&v)
	if err != nil {
		return err
	}
	return v.Store(into)
}

// version is systemd's: 252 of "252.30-1~deb12u2".
func (s *systemd) version() (int, error) {
	var text string
	if err := s.get(systemdPath, systemdName+".Manager", "Version", &text); err != nil {
		return 0, fmt.Errorf("ask systemd for its version: %w", err)
	}
	text = strings.TrimLeft(text, "v")
	end := strings.IndexFunc(text, func(c rune) bool { return c < '0' || c > '9' })
	if end < 0 {
		end = len(text)
	}
	return strconv.Atoi(text[:end])
}

// job calls a method that starts a job, and waits until it is done.
func (s *systemd) job(method string, args ...any) error {
	signals := make(chan *dbus.Signal, 64)
	s.conn.Signal(signals)
	defer s.conn.RemoveSignal(signals)
	if !s.own {
		err := s.conn.AddMatchSignalContext(s.ctx, dbus.WithMatchInterface(systemdName+".Manager"), dbus.WithMatchMember("JobRemoved"))
		if err == nil {
			err = s.call("Subscribe").Err
		}
		if err != nil {
			return fmt.Errorf("listen to systemd: %w", err)
		}
	}
	var path dbus.ObjectPath
	if err := s.call(method, args...).Store(&path); err != nil {
		return err
	}
	for {
		select {
		case <-s.ctx.Done():
			return fmt.Errorf("wait for systemd's job: %w", context.Cause(s.ctx))
		case sig, ok := <-signals:
			if !ok {
				return errors.New("wait for systemd's job: it closed the connection")
			}
			// JobRemoved(id, job, unit, result)
			if sig.Name != systemdManager+"JobRemoved" || len(sig.Body) < 4 || sig.Body[1] != path {
				continue
			}
			if sig.Body[3] != "done" {
				return fmt.Errorf("systemd's job: %v", sig.Body[3])
			}
			return nil
		}
	}
}

// startScope makes the scope with its first process in it. A unit of that name
// that failed earlier is cleared away once.
func (s *systemd) startScope(name string, properties []property) error {
	type aux struct {
		Name       string
		Properties []property
	}
	start := func() error { return s.job("StartTransientUnit", name, "fail", properties, []aux{}) }
	err := start()
	if isBusError(err, "UnitExists") {
		if s.call("ResetFailedUnit", name).Err == nil {
			err = start()
		}
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	return nil
}

// stop ends a unit; one that is not there has ended.
func (s *systemd) stop(name string) error {
	err := s.job("StopUnit", name, "replace")
	if isBusError(err, "NoSuchUnit") {
		err = nil
	}
	_ = s.call("ResetFailedUnit", name).Err // most have not failed
	if err != nil {
		return fmt.Errorf("stop %s: %w", name, err)
	}
	return nil
}

// controlGroup is where the unit is in the tree: "/user.slice/…/x.scope".
func (s *systemd) controlGroup(name string) (string, error) {
	var path dbus.ObjectPath
	if err := s.call("GetUnit", name).Store(&path); err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	var group string
	if err := s.get(path, systemdName+".Scope", "ControlGroup", &group); err != nil {
		return "", fmt.Errorf("find the cgroup of %s: %w", name, err)
	}
	return group, nil
}

func isBusError(err error, name string) bool {
	var e dbus.Error
	return errors.As(err, &e) && strings.HasSuffix(e.Name, "."+name)
}

// userManager tells whether a container of ours belongs to the user's manager.
func userManager(rootless bool) bool {
	return rootless || os.Geteuid() != 0 || inUserNamespace()
}
