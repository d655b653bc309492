package cgroupv2

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// busPatience bounds one exchange with systemd, jobs included.
const busPatience = 30 * time.Second

// Systemd is a connection to one of its managers, see cgroupv2/bus.
type Systemd interface {
	Version() (int, error)
	// StartScope makes the scope with its first process in it.
	StartScope(name string, properties []Property) error
	Update(name string, properties []Property) error
	// Attach moves a process into a cgroup below a unit's ("/" is the unit's own).
	Attach(name, below string, pid int) error
	Stop(name string) error                   // one that is not there has ended
	ControlGroup(name string) (string, error) // "/user.slice/…/x.scope"
	Close()
}

// Bus is how systemd is reached. main gives it: D-Bus takes the net package, whose
// initialisation, and with it that of most others, a command that needs neither
// does without.
type Bus struct {
	Dial       func(ctx context.Context, socket string, own bool) (Systemd, error)
	ParseValue func(text string) (any, error)
}

// ErrNoBus is an attempt to reach systemd without UseBus.
var ErrNoBus = errors.New("this part of the program does not talk to systemd")

var systemdBus = Bus{
	Dial:       func(context.Context, string, bool) (Systemd, error) { return nil, ErrNoBus },
	ParseValue: func(string) (any, error) { return nil, ErrNoBus },
}

// UseBus is called once, before anything else.
func UseBus(b Bus) { systemdBus = b }

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
			v, ok := unescapeAddress(v)
			if !ok {
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

// unescapeAddress reads %XX, as D-Bus addresses have it.
func unescapeAddress(s string) (string, bool) {
	parts := strings.Split(s, "%")
	out := parts[0]
	for _, p := range parts[1:] {
		if len(p) < 2 {
			return "", false
		}
		c, err := strconv.ParseUint(p[:2], 16, 8)
		if err != nil {
			return "", false
		}
		out += string([]byte{byte(c)}) + p[2:]
	}
	return out, true
}

// dialSystemd connects to the first address that answers.
func dialSystemd(ctx context.Context, addresses []busAddress) (Systemd, error) {
	var errs error
	for _, a := range addresses {
		s, err := systemdBus.Dial(ctx, a.socket, a.own)
		if err == nil {
			return s, nil
		}
		errs = both(errs, err)
	}
	return nil, fmt.Errorf("reach systemd: %w", errs)
}

// userManager tells whether a container of ours belongs to the user's manager.
func userManager(rootless bool) bool {
	return rootless || os.Geteuid() != 0 || inUserNamespace()
}
