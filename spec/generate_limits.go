package spec

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// ulimitNames are the names of getrlimit(2), in small letters and without
// RLIMIT_.
func ulimitNames() []string {
	return []string{
		"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc",
		"rss", "rtprio", "rttime", "sigpending", "stack",
	}
}

// ulimit is one --ulimit. -1 is the most that the caller may give.
type ulimit struct {
	name             string // "nofile"
	soft, hard       uint64
	softMax, hardMax bool
}

// parseUlimit reads NAME=SOFT[:HARD].
func parseUlimit(s string) (u ulimit, err error) {
	name, values, ok := strings.Cut(s, "=")
	if !ok {
		return u, bad("must be NAME=SOFT[:HARD], or host")
	}
	u.name = strings.ToLower(strings.TrimPrefix(strings.ToUpper(name), "RLIMIT_"))
	if !slices.Contains(ulimitNames(), u.name) {
		e := bad("unknown limit %q", name)
		if near := closest(u.name, ulimitNames()); near != "" {
			return u, e.hint("did you mean %s?", near)
		}
		return u, e.hint("limits are %s", strings.Join(ulimitNames(), ", "))
	}
	soft, hard, two := strings.Cut(values, ":")
	if !two {
		hard = soft
	}
	if u.soft, u.softMax, err = parseLimit(soft); err != nil {
		return u, err
	}
	if u.hard, u.hardMax, err = parseLimit(hard); err != nil {
		return u, err
	}
	if !u.hardMax && (u.softMax || u.soft > u.hard) {
		return u, bad("the soft limit %s is above the hard limit %s", soft, hard)
	}
	return u, nil
}

func parseLimit(s string) (n uint64, highest bool, err error) {
	switch s {
	case "-1", "unlimited":
		return math.MaxUint64, true, nil
	}
	n, err = strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, false, bad("%q is not a number", s).hint("-1 or unlimited is the most that you may give")
	}
	return n, false, nil
}

// rlimits sets what was asked for and nothing else: the payload inherits the
// caller's limits, which --ulimit host says aloud.
func (g *generator) rlimits() error {
	var limits []specs.POSIXRlimit
	for _, s := range g.opt.Ulimits {
		if s == "host" {
			continue
		}
		u, err := parseUlimit(s)
		if err != nil {
			return refused("--ulimit", s, err)
		}
		limit, err := g.rlimit(s, u)
		if err != nil {
			return err
		}
		// A later flag for the same limit wins.
		limits = slices.DeleteFunc(limits, func(l specs.POSIXRlimit) bool { return l.Type == limit.Type })
		limits = append(limits, limit)
	}
	g.spec.Process.Rlimits = limits
	return g.oomScore()
}

// rlimit holds a limit against the caller's own hard one, which only the
// host's root can raise.
func (g *generator) rlimit(value string, u ulimit) (specs.POSIXRlimit, error) {
	kind := "RLIMIT_" + strings.ToUpper(u.name)
	_, most, err := g.in.Host.Rlimit(kind)
	if err != nil {
		return specs.POSIXRlimit{}, refuse("--ulimit", value, "").because(err)
	}
	soft, hard := u.soft, u.hard
	if u.softMax {
		soft = most
	}
	if u.hardMax {
		hard = most
	}
	if hard > most {
		return specs.POSIXRlimit{}, refuse("--ulimit", value, "%s is above your own hard limit of %d", u.name, most).
			hint("--ulimit %s=-1 gives all you have; raising it is up to the administrator (limits.conf)", u.name)
	}
	return specs.POSIXRlimit{Type: kind, Soft: min(soft, hard), Hard: hard}, nil
}

// oomScore refuses what the kernel would: a score below one's own needs
// CAP_SYS_RESOURCE on the host.
func (g *generator) oomScore() error {
	if g.opt.OOMScoreAdj == nil {
		return nil
	}
	score := *g.opt.OOMScoreAdj
	value := strconv.Itoa(score)
	if score < -1000 || score > 1000 {
		return refuse("--oom-score-adj", value, "must be from -1000 to 1000")
	}
	data, err := g.in.Host.ReadFile("/proc/self/oom_score_adj")
	if err == nil {
		own, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err == nil && score < own {
			return refuse("--oom-score-adj", value, "below your own of %d, which only root may do", own).hint("%d or more", own)
		}
	}
	g.spec.Process.OOMScoreAdj = &score
	return nil
}
