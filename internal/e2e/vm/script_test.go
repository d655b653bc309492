package vm

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// script is one file of scripts/, as its head describes it.
type script struct {
	name, user, login string
	timeout           int // seconds
	boot              int // 1: the first
	leaves            bool
	asked             bool // it runs only when it is asked for
	with              string
}

// names are the users, root last.
var names = []string{"alice", "bob", "carol", "dave", "root"}

// plan is the script's line for guest.
func (s script) plan() string {
	leaves := "nothing"
	if s.leaves {
		leaves = "something"
	}
	return fmt.Sprintf("%s %s %s %d %d %s %s\n", s.name, s.user, s.login, s.timeout, s.boot, leaves, strings.Join(s.users(), ","))
}

// users are those of whom no other script may run meanwhile.
func (s script) users() []string {
	switch {
	case s.alone():
		return append(slices.Clone(names), "alone")
	case s.with == "nobody", s.with == "":
		return []string{s.user}
	}
	return append([]string{s.user}, strings.Fields(s.with)...)
}

// alone says that no other script may run meanwhile. What root does may be the
// whole machine's, so that one has to say that it is not.
func (s script) alone() bool { return s.with == "all" || s.user == "root" && s.with == "" }

// parseHead reads the comment at the beginning of a script.
func parseHead(name, text string) (script, error) {
	s := script{name: name, boot: 1}
	bad := func(why string) (script, error) { return script{}, fmt.Errorf("head of scripts/%s: %s", name, why) }
	for line := range strings.Lines(text) {
		comment, ok := strings.CutPrefix(line, "#")
		if !ok {
			break
		}
		key, value, _ := strings.Cut(strings.TrimSpace(comment), ": ")
		var err error
		switch key {
		case "user":
			s.user = value
		case "login":
			s.login = value
		case "timeout":
			s.timeout, err = strconv.Atoi(value)
		case "boot":
			s.boot, err = strconv.Atoi(value)
		case "with":
			s.with = value
		case "leaves":
			s.leaves = value != ""
		case "asked":
			s.asked = value != ""
		}
		if err != nil {
			return bad(key + " is not a number")
		}
	}
	return s, s.check(bad)
}

func (s script) check(bad func(string) (script, error)) error {
	var err error
	switch {
	case strings.ContainsAny(s.name, " \t\n"):
		_, err = bad("a blank in the name")
	case !slices.Contains(names, s.user):
		_, err = bad("user is none of alice, bob, carol, dave, root")
	case !slices.Contains([]string{"ssh", "su", "linger", "cron", "root"}, s.login):
		_, err = bad("login is none of ssh, su, linger, cron, root")
	case (s.login == "root") != (s.user == "root"):
		_, err = bad("root comes in as root, and nobody else")
	case s.login == "linger" && s.user != "alice":
		_, err = bad("only alice lingers")
	case s.timeout < 1 || s.timeout > 600:
		_, err = bad("timeout is not between 1 and 600")
	case s.with != "" && !slices.Contains([]string{"all", "nobody"}, s.with) && slices.ContainsFunc(strings.Fields(s.with), func(u string) bool { return u == s.user || !slices.Contains(names[:4], u) }):
		_, err = bad("with is neither all nor nobody nor others of the users")
	case s.boot < 1 || s.boot > 2:
		_, err = bad("boot is neither 1 nor 2")
	}
	return err
}

func TestHeads(t *testing.T) {
	const good = "# Shows it.\n# user: alice\n# login: ssh\n# timeout: 5\n# boot: 2\n# leaves: a container\n# with: bob carol\n# asked: it measures\ntrue\n# user: nobody\n"
	s, err := parseHead("10-x", good)
	if want := (script{"10-x", "alice", "ssh", 5, 2, true, true, "bob carol"}); err != nil || s != want {
		t.Errorf("%v, %v", s, err)
	}
	if got, want := s.plan(), "10-x alice ssh 5 2 something alice,bob,carol\n"; got != want {
		t.Errorf("%q", got)
	}
	for _, change := range [][2]string{
		{"user: alice", "user: mallory"}, {"# user: alice\n", ""}, {"login: ssh", "login: telnet"}, {"login: ssh", "login: root"},
		{"timeout: 5", "timeout: soon"}, {"timeout: 5", "timeout: 9999"}, {"# timeout: 5\n", ""}, {"boot: 2", "boot: 3"},
		{"alice\n# login: ssh", "bob\n# login: linger"}, {"with: bob", "with: alice"}, {"with: bob", "with: all"}, {"with: bob", "with: mallory"},
	} {
		if _, err := parseHead("x", strings.Replace(good, change[0], change[1], 1)); err == nil || errors.Unwrap(err) != nil {
			t.Errorf("%q for %q: %v", change[1], change[0], err)
		}
	}
}

func TestUsers(t *testing.T) {
	for _, c := range [][3]string{
		{"bob", "", "bob"}, {"bob", "alice dave", "bob alice dave"}, {"bob", "all", "alice bob carol dave root alone"},
		{"root", "", "alice bob carol dave root alone"}, {"root", "nobody", "root"}, {"root", "alice", "root alice"},
	} {
		if got := strings.Join(script{user: c[0], with: c[1]}.users(), " "); got != c[2] {
			t.Errorf("%s with %q: %s", c[0], c[1], got)
		}
	}
}
