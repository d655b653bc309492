// Package bus talks to systemd over D-Bus for cgroupv2, which does not import it:
// what few commands need shall not be initialised by all (docs/architecture.md).
package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
)

const (
	systemdName    = "org.freedesktop.systemd1"
	systemdPath    = dbus.ObjectPath("/org/freedesktop/systemd1")
	systemdManager = systemdName + ".Manager."
)

// Property is one of org.freedesktop.systemd1.Scope; Value is a Go value as godbus
// has it, or what ParseValue gives.
type Property = struct {
	Name  string
	Value any
}

// ParseValue reads a value in GVariant's text form: 'uint64 5', "'text'".
func ParseValue(text string) (any, error) { return dbus.ParseVariant(text, dbus.Signature{}) }

// Conn is a connection to one manager.
type Conn struct {
	conn *dbus.Conn
	ctx  context.Context
	own  bool
}

// Dial connects to the socket of a manager: a path, or @name. With own there is no
// bus between: no Hello, no matches.
func Dial(ctx context.Context, socket string, own bool) (*Conn, error) {
	var d net.Dialer
	sock, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	// The handshake knows no context; a socket that is silent ends here.
	if end, ok := ctx.Deadline(); ok {
		err = sock.SetDeadline(end)
	}
	var conn *dbus.Conn
	if err == nil {
		var known *handshake
		if known, err = greet(sock); err == nil {
			conn, err = dbus.NewConn(known, dbus.WithContext(ctx))
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("talk to %s: %w", socket, err), sock.Close())
	}
	err = conn.Auth([]dbus.Auth{dbus.AuthExternal("")})
	if err == nil && !own {
		err = conn.Hello()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("talk to %s: %w", socket, err), conn.Close())
	}
	return &Conn{conn: conn, ctx: ctx, own: own}, nil
}

// Close ends the connection.
func (s *Conn) Close() { _ = s.conn.Close() }

func (s *Conn) call(method string, args ...any) *dbus.Call {
	return s.conn.Object(systemdName, systemdPath).CallWithContext(s.ctx, systemdManager+method, 0, args...)
}

func (s *Conn) get(path dbus.ObjectPath, iface, name string, into any) error {
	var v dbus.Variant
	err := s.conn.Object(systemdName, path).CallWithContext(s.ctx, "org.freedesktop.DBus.Properties.Get", 0, iface, name).Store(&v)
	if err != nil {
		return err
	}
	return v.Store(into)
}

// Version is systemd's: 252 of "252.30-1~deb12u2".
func (s *Conn) Version() (int, error) {
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
func (s *Conn) job(method string, args ...any) error {
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

// StartScope makes the scope with its first process in it. A unit of that name
// that failed earlier is cleared away once.
func (s *Conn) StartScope(name string, properties []Property) error {
	type aux struct {
		Name       string
		Properties []wireProperty
	}
	start := func() error { return s.job("StartTransientUnit", name, "fail", onWire(properties), []aux{}) }
	err := start()
	if isBusError(err, "UnitExists") {
		if s.call("ResetFailedUnit", name).Err == nil {
			err = start()
		}
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", name, named(err))
	}
	return nil
}

// Update changes a unit that is there, until the next boot.
func (s *Conn) Update(name string, properties []Property) error {
	return s.call("SetUnitProperties", name, true, onWire(properties)).Err
}

// Attach moves a process into a cgroup below the unit's, which is "/".
func (s *Conn) Attach(name, below string, pid int) error {
	return named(s.call("AttachProcessesToUnit", name, below, []uint32{uint32(pid)}).Err)
}

// Error is systemd's; its name tells callers that do not know D-Bus what it is.
type Error struct{ err dbus.Error }

func (e Error) Error() string { return e.err.Error() }
func (e Error) Unwrap() error { return e.err }

// BusName is what D-Bus calls the error: org.freedesktop.systemd1.NoSuchUnit.
func (e Error) BusName() string { return e.err.Name }

func named(err error) error {
	var e dbus.Error
	if errors.As(err, &e) {
		return Error{e}
	}
	return err
}

// wireProperty is a Property as D-Bus has it: (sv).
type wireProperty struct {
	Name  string
	Value dbus.Variant
}

func onWire(properties []Property) []wireProperty {
	var out []wireProperty
	for _, p := range properties {
		v, ok := p.Value.(dbus.Variant)
		if !ok {
			v = dbus.MakeVariant(p.Value)
		}
		out = append(out, wireProperty{p.Name, v})
	}
	return out
}

// Stop ends a unit; one that is not there has ended.
func (s *Conn) Stop(name string) error {
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

// ControlGroup is where the scope is in the tree: "/user.slice/…/x.scope". One that
// is not there (any more) has none, which is an error.
func (s *Conn) ControlGroup(name string) (string, error) {
	var group string
	err := s.get(unitPath(name), systemdName+".Scope", "ControlGroup", &group)
	if err == nil && group == "" {
		err = errors.New("it is not running")
	}
	if err != nil {
		return "", fmt.Errorf("find the cgroup of %s: %w", name, err)
	}
	return group, nil
}

// unitPath is the object of a unit, as systemd's bus_label_escape makes it: what is
// no letter, and a digit that comes first, is _ and two hexadecimal digits.
func unitPath(name string) dbus.ObjectPath {
	var b strings.Builder
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if letter || i > 0 && c >= '0' && c <= '9' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return systemdPath + "/unit/" + dbus.ObjectPath(b.String())
}

func isBusError(err error, name string) bool {
	var e dbus.Error
	return errors.As(err, &e) && strings.HasSuffix(e.Name, "."+name)
}
