package sandbox

import (
	"net"
	"strconv"

	"coracle/internal/denial"
)

// openLoopback is what --loopback allow means.
const openLoopback = "its programs can then talk to each other, and serve what they like"

// hostLoopback is for a port that the host listens at, which is tried on the sandbox's own
// loopback.
func hostLoopback(port string) denial.Denial {
	return denial.Denial{Kind: denial.Network, What: "the host's port " + port, Action: denial.Connect, Wall: denial.NoNetwork, Count: 1,
		Why: "127.0.0.1 is the sandbox's own loopback, not the host's", Flag: "--allow-net host:" + port,
		Danger: "services on the host's loopback often trust whoever reaches them; and the command must ask for 10.0.2.2 in the place of 127.0.0.1"}
}

// JudgeAbstract is for a socket without a path that only the host's network has.
func JudgeAbstract(name string) denial.Denial {
	return denial.Denial{Kind: denial.Socket, What: "@" + name, Action: denial.Connect, Wall: denial.NoNetwork, Why: "names of sockets without a path are those of its own network", Count: 1}
}

// JudgeDial says what becomes of a connection, or of listening: false where nothing of the
// sandbox's stands against it, or where the network itself will tell. Explain asks that.
func (pl *Plan) JudgeDial(dial denial.Dial, explain func() (why, flag string)) (denial.Denial, bool) {
	port := strconv.Itoa(int(dial.Port))
	closed := pl.Network.Loopback == DenyLoopback
	switch {
	case dial.Listen:
		return pl.judgeListen(dial)
	case dial.IP == "":
		return hostLoopback(port), true
	case dial.Own:
		return ownLoopback("port "+port+" of its own loopback", denial.Connect, denial.NoNetwork), closed
	case pl.Network.Mode == NoNetwork:
		return noNetwork(dial.IP, port, dial.Port == 53), true
	case !closed || !dial.TCP || !pl.ClosesPort(dial.Port):
		return denial.Denial{}, false
	}
	why, flag := explain()
	d := denial.Denial{Kind: denial.Network, What: "tcp to " + net.JoinHostPort(dial.IP, port), Action: denial.Connect, Wall: denial.Landlock, Why: why, Flag: flag, Count: 1}
	if d.Why == "" {
		d.Why = "no rule is about port " + port
	}
	return d, true
}

// judgeListen is for bind(2): Landlock refuses it for TCP, and a private network the
// loopback's address. Without any address the kernel lets it pass, and nobody can connect.
func (pl *Plan) judgeListen(dial denial.Dial) (denial.Denial, bool) {
	wall := denial.NoNetwork
	if dial.TCP && pl.ClosesBind() {
		wall = denial.Landlock
	}
	what := "listening"
	if dial.Port != 0 {
		what += " at port " + strconv.Itoa(int(dial.Port))
	}
	return ownLoopback(what, denial.Listen, wall), wall == denial.Landlock || dial.Own && pl.Network.Loopback == DenyLoopback && pl.Network.Mode == PrivateNetwork
}

func ownLoopback(what, action, wall string) denial.Denial {
	return denial.Denial{Kind: denial.Network, What: what, Action: action, Wall: wall, Count: 1,
		Why: "its own loopback is closed (--loopback deny)", Flag: "--loopback allow", Danger: openLoopback}
}

// noNetwork is for an internet address in a sandbox without a network.
func noNetwork(host string, port string, dns bool) denial.Denial {
	d := denial.Denial{Kind: denial.Network, What: host + " port " + port, Action: denial.Connect, Wall: denial.NoNetwork, Why: "there is no network", Count: 1}
	if dns {
		d.What, d.Action, d.Flag = "names", denial.Resolve, "--allow-net NAME"
		d.Why = "there is no network, and nobody to ask for a name's address"
		return d
	}
	d.Flag = "--allow-net " + net.JoinHostPort(host, port)
	return d
}
